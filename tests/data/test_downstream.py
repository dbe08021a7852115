"""Each downstream set, in a miniature of its real form: the right images in the right split under the right name."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from roclip.core.errors import UserError
from roclip.core.files import read_lines, read_table
from roclip.data import downstream
from roclip.data.downstream import LAYOUTS, READERS, DownstreamOptions, run
from roclip.data.downstream_sets import FOLDERS, absent_sets, present_sets
from roclip.evaluation.class_numbers import labels_of
from tests.conftest import ROOT
from tests.fixtures.downstream_sets import MINIATURES, TEST, TRAIN, VAL, read_colour

NO_SPLIT = "caltech101"

# class names in the order of their numbers (the first ones of sets that bring their own), images for the probe and the test as
# (class, split, number)
EXPECTED = {
    "cifar10": (
        ["airplane", "automobile"],
        [(0, 0, 0), (1, 0, 1), (1, 0, 2), (1, 0, 3), (0, 0, 4), (1, 0, 5), (1, 0, 6), (1, 0, 7), (0, 0, 8), (1, 0, 9)],
        [(1, TEST, 0), (0, TEST, 1), (1, TEST, 2)],
    ),
    "cifar100": (
        ["apple", "aquarium fish", "baby"],
        [(2, TRAIN, 0), (0, TRAIN, 1), (1, TRAIN, 2), (1, TRAIN, 3)],
        [(1, TEST, 0), (2, TEST, 1)],
    ),
    "food101": (
        ["apple pie", "baby back ribs"],
        [(label, TRAIN, n) for label in (0, 1) for n in range(3)],
        [(label, TEST, n) for label in (0, 1) for n in range(2)],
    ),
    "dtd": (
        ["banded", "zigzagged"],
        [(label, split, n) for split in (TRAIN, VAL) for n, label in enumerate((0, 1, 1))],
        [(0, TEST, 0), (1, TEST, 1), (1, TEST, 2)],
    ),
    "aircraft": (
        ["707-320", "F-16A/B"],
        [(label, split, n) for split in (TRAIN, VAL) for n, label in enumerate((1, 0, 1))],
        [(1, TEST, 0), (0, TEST, 1), (1, TEST, 2)],
    ),
    "flowers102": (
        ["pink primrose", "hard-leaved pocket orchid", "canterbury bells"],
        [(2, TRAIN, 0), (0, TRAIN, 1), (2, VAL, 0), (0, VAL, 1)],
        [(0, TEST, 0), (1, TEST, 1), (2, TEST, 2)],
    ),
    "pets": (
        ["Abyssinian", "American Bulldog"],
        [(1, TRAIN, 0), (0, TRAIN, 1), (1, TRAIN, 2)],
        [(1, TEST, 0), (0, TEST, 1), (1, TEST, 2)],
    ),
    "cars": (
        ["AM General Hummer SUV 2000", "Acura RL Sedan 2012"],
        [(1, TRAIN, 0), (0, TRAIN, 1), (1, TRAIN, 2)],
        [(1, TEST, 0), (0, TEST, 1), (1, TEST, 2)],
    ),
    "imagenet1k": (
        ["tench", "goldfish", "great white shark"],
        [(0, TRAIN, 0), (1, TRAIN, 1), (0, TRAIN, 2), (7, TRAIN, 3)],
        [(1, TEST, 0), (7, TEST, 1), (0, TEST, 2)],
    ),
}  # fmt: skip
CLASSES = {"flowers102": 102, "imagenet1k": 1000}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Makes a set's miniature and its tables; the options of the stage."""

    def make(name: str) -> DownstreamOptions:
        MINIATURES[name](tmp_path / "root", monkeypatch)
        return DownstreamOptions(root=tmp_path / "root", set=name, out=tmp_path / "out", max_bad_fraction=0.0)

    return make


def table(options: DownstreamOptions, name: str) -> list[tuple[str, str]]:
    return [(row["path"], row["label"]) for row in read_table(options.out / f"{name}.csv", ("path", "label"))]


@pytest.mark.parametrize("name", EXPECTED)
def test_every_image_stands_in_its_split_under_its_name(name, made):
    options = made(name)
    run(options)
    names, probe, test = EXPECTED[name]
    classes = read_lines(options.out / "classes.txt")
    assert classes[: len(names)] == names
    assert len(classes) == CLASSES.get(name, len(names))
    for part, images in (("probe", probe), ("test", test)):
        rows = table(options, part)
        assert Counter(read_colour(path) for path, _ in rows) == Counter(images)
        assert all(classes.index(label) == read_colour(path)[0] for path, label in rows)


@pytest.mark.parametrize("name", FOLDERS)
def test_class_names_are_unique_and_prompts_are_clips_eighty(name, made):
    options = made(name)
    run(options)
    classes = read_lines(options.out / "classes.txt")
    assert len(set(classes)) == len(classes)
    templates = read_lines(options.out / "templates.txt")
    assert len(set(templates)) == 80
    assert "itap of my {}." in templates
    assert all(template.count("{}") == 1 for template in templates)
    for part in ("probe", "test"):
        rows = read_table(options.out / f"{part}.csv", ("path", "label"))
        assert len(labels_of(options.out, rows, options.out / "classes.txt")) == len(rows) > 0
    assert not {path for path, _ in table(options, "probe")} & {path for path, _ in table(options, "test")}


def test_caltech_gives_thirty_of_each_class_to_the_probe_always_the_same_and_no_background(made):
    options = made(NO_SPLIT)
    run(options)
    classes = read_lines(options.out / "classes.txt")
    assert classes == ["off-center face", "centered face", "inline skate"]
    probe, test = table(options, "probe"), table(options, "test")
    assert Counter(label for _, label in probe) == dict.fromkeys(classes, 30)
    assert Counter(label for _, label in test) == {"off-center face": 4, "inline skate": 1, "centered face": 1}
    folders = {"off-center face": 1, "inline skate": 2, "centered face": 3}  # as the miniature counts them
    assert all(read_colour(path)[0] == folders[label] for path, label in probe + test)
    run(options)
    assert table(options, "test") == test
    # the draw is part of what the numbers mean: another one would be another test set
    assert [Path(path).name for path, label in test if label == "off-center face"] == [
        f"image_{n:04d}.jpg" for n in (7, 17, 19, 30)
    ]


def test_imagenet_s_probe_is_at_most_so_many_images(made, monkeypatch):
    options = made("imagenet1k")
    run(options)
    everything = table(options, "probe")
    monkeypatch.setattr(downstream, "IMAGENET_PROBE", 3)
    run(options)
    assert len(table(options, "probe")) == 3
    assert set(table(options, "probe")) < set(everything)
    assert len(table(options, "test")) == 3


@pytest.mark.parametrize("name", FOLDERS)
def test_a_wrong_layout_is_one_line_that_says_what_to_do(name, made):
    options = made(name)
    folder = options.root / FOLDERS[name]
    inner = folder.with_name("inner")
    folder.rename(inner)
    folder.mkdir()
    inner.rename(folder / "unpacked one folder too deep")
    with pytest.raises(UserError) as caught:
        run(options)
    message = str(caught.value)
    assert str(folder) in message
    assert "it must hold" in message or "no such file" in message
    assert "\n" not in message
    assert "download" not in message
    assert not (options.out / "test.csv").exists()
    shutil.rmtree(folder)
    with pytest.raises(UserError, match=rf"{folder}: no such folder; it must hold .*"):
        run(options)


def failure(options: DownstreamOptions) -> str | None:
    """What the stage tells a person who made a mistake; None when it runs through. Whatever else it raises is raised."""
    try:
        run(options)
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", [name for name in FOLDERS if name != NO_SPLIT])
def test_a_list_or_archive_that_is_cut_short_is_one_line(name, made):
    options = made(name)
    folder = options.root / FOLDERS[name]
    lists = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix not in (".jpg", ".jpeg")]
    messages = []
    for path in lists:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] + b"\xff\xfe")
        messages.append(failure(options))
        path.write_bytes(content)
    found = [message for message in messages if message]
    assert len(found) >= 2  # some lists are of partitions or levels that are not read
    assert all(message.startswith(str(folder)) and "\n" not in message for message in found)
    assert failure(options) is None


def test_a_class_of_caltech_with_too_few_images_is_named(made):
    options = made(NO_SPLIT)
    next((options.root / "caltech101/101_ObjectCategories/inline_skate").iterdir()).unlink()
    assert "inline_skate: 30 images (image_*.jpg); the probe takes 30, the test the rest" in failure(options)


@pytest.mark.parametrize("label", [0, 3])
def test_a_class_that_the_set_does_not_have_is_named(label, made):
    """Cars are numbered from 1: 0 must not come out as the last class, as a negative index would."""
    options = made("cars")
    path = options.root / "stanford_cars/cars_test_annos_withlabels.mat"
    rows = loadmat(path)["annotations"]
    rows[0, 1]["class"] = np.array([[label]])
    savemat(path, {"annotations": rows})
    assert f"cars_test/00002.jpg is of class {label}, and there are 2; it must hold" in failure(options)


def test_images_that_are_not_there_are_counted_against_the_limit(made, tmp_path):
    options = made("dtd")
    (options.root / "dtd/dtd/images/zigzagged/zigzagged_22.jpg").unlink()
    with pytest.raises(UserError, match=r"dtd: 1 of 3 images for the test are not there, first .*zigzagged_22.jpg; it must"):
        run(options)
    run(replace(options, max_bad_fraction=0.5))


def test_a_label_that_is_no_class_number_is_named_with_its_row(made):
    options = made("imagenet1k")
    path = options.root / "imagenet1k/validation/labels.csv"
    for wrong in ("1000", "-1", "tench", "1.0", ""):
        path.write_text(f"image,label\nimages/0.jpeg,3\nimages/1.jpeg,{wrong}\n")
        with pytest.raises(UserError, match=rf"labels.csv, row 2: the label '{wrong}' is no class number from 0 to 999"):
            run(options)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_not_unpickled_unless_its_checksum_is_right(name, made):
    options = made(name)
    trap = options.root / "trap"
    code = f"cbuiltins\nopen\n(V{trap}\nVw\ntR."  # a pickle that creates a file when it is read
    files = list((options.root / FOLDERS[name]).iterdir())
    assert len(files) == {"cifar10": 7, "cifar100": 3}[name]
    for path in files:
        content = path.read_bytes()
        path.write_text(code)
        assert f"not {name} as expected" in failure(options)
        assert not trap.exists()
        path.write_bytes(content)
    assert failure(options) is None


def test_one_list_of_sets():
    assert list(FOLDERS) == list(READERS) == list(LAYOUTS) == list(MINIATURES)
    reference = read_table(ROOT / "config/reference_results.csv", ("dataset_eval",))
    assert {row["dataset_eval"] for row in reference} - {""} == set(FOLDERS)
    assert set(EXPECTED) | {NO_SPLIT} == set(FOLDERS)


def test_absent_sets_are_left_out_or_an_error(tmp_path):
    (tmp_path / "dtd").mkdir()
    config = {"root": str(tmp_path), "sets": ["cifar10", "dtd"], "require_all": False}
    assert present_sets(config) == ["dtd"]
    assert absent_sets(config, ["dtd"]) == {"cifar10": tmp_path / "cifar-10-batches-py"}
    with pytest.raises(UserError, match=r"downstream.sets: there is no folder .*cifar-10-batches-py for 'cifar10'; put"):
        present_sets(config | {"require_all": True})
    assert present_sets({"root": "absent", "sets": [], "require_all": True}) == []
