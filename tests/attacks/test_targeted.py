"""Targeted poisoning: targets that are none of the class already, captions of the corpus, choices that do not shift."""

import csv
import re
import tracemalloc
from functools import partial

import pytest

from roclip.core.errors import UserError
from roclip.core.files import read_json, read_lines, read_table, write_rows
from tests.conftest import SCENES
from tests.fixtures import attacks
from tests.fixtures.attacks import evaluation_set, poisons

build = partial(attacks.build, "targeted")


def test_captions_are_of_the_corpus_and_name_the_class(scenes, tmp_path):
    out = build(scenes, tmp_path)
    wanted = {row["path"]: row["label"] for row in evaluation_set(out)}
    corpus = {row["caption"] for row in read_table(scenes / "train.csv", ("caption",))}
    validation = {row["path"]: row["caption"] for row in read_table(scenes / "validation.csv", ("path", "caption"))}
    assert len(wanted) == len(set(wanted.values())) == 5
    assert len(poisons(out)) == 15
    for row in poisons(out):
        assert row["adversary_class"] == wanted[row["path"]]
        assert re.search(rf"\b{wanted[row['path']]}\b", row["caption"])
        assert row["caption"] in corpus
    for path, label in wanted.items():
        assert not re.search(rf"\b{label}\b", validation[path])
    assert read_json(out / "manifest.json")["rate_per_target"] == pytest.approx(3 / 600)


def test_the_manifest_names_the_rows(scenes, tmp_path):
    out = build(scenes, tmp_path)
    clean, validation = (read_table(scenes / f"{split}.csv", ("path", "caption")) for split in ("train", "validation"))
    rows = iter(poisons(out))
    for target, judged in zip(read_json(out / "manifest.json")["targets"], evaluation_set(out), strict=True):
        assert judged == {"path": target["target"], "label": target["class"]}
        assert validation[target["validation_row"]]["path"] == target["target"]
        for row in target["caption_rows"]:
            poison = next(rows)
            assert (poison["path"], poison["caption"]) == (target["target"], clean[row]["caption"])


@pytest.mark.parametrize("kind", [kind for kind in attacks.TARGETED if kind != "near_class"])
def test_an_image_with_several_captions_is_one_target_and_of_none_of_the_classes_they_name(kind, scenes, tmp_path):
    """As in COCO's and Flickr's tables, with five rows an image; two spellings of a path are one image."""
    first = read_table(scenes / "validation.csv", ("path", "caption"))[:9]
    rows = [(path, caption) for i, row in enumerate(first) for path, caption in several(row, first[(i + 3) % 9])]
    write_rows(tmp_path / "validation.csv", ("path", "caption"), rows)
    for seed in range(4):
        out = attacks.build(kind, scenes, tmp_path / str(seed), seed, targets=6, validation=tmp_path / "validation.csv")
        targets = attacks.targets_of(out)
        images = [target["target"].replace("/./", "/") for target in targets]
        assert len(set(images)) == 6
        for image, target in zip(images, targets, strict=True):
            of_it = [(row, caption) for row, (path, caption) in enumerate(rows) if path.replace("/./", "/") == image]
            assert target["validation_row"] == of_it[0][0]
            assert not any(re.search(rf"\b{target['class']}\b", caption) for _, caption in of_it)


def several(row: dict[str, str], other: dict[str, str]) -> list[tuple[str, str]]:
    """An image with three captions, one of another image; under its path and another spelling of that."""
    folder, _, name = row["path"].rpartition("/")
    return [(row["path"], "it"), (f"{folder}/./{name}", other["caption"]), (row["path"], row["caption"])]


def test_the_adversary_may_choose_the_classes(scenes, tmp_path):
    chosen = ("mushroom", "cactus", "banana")
    out = build(scenes, tmp_path, targets=2, adversary_classes=chosen)
    assert [row["label"] for row in evaluation_set(out)] == ["mushroom", "cactus"]
    with pytest.raises(UserError, match=r"attack\.targets: 4 targets need as many classes .* but there are 3"):
        build(scenes, tmp_path, targets=4, adversary_classes=chosen)
    with pytest.raises(UserError, match=r"attack\.adversary_classes: 'dragon' is not in"):
        build(scenes, tmp_path, targets=2, adversary_classes=("dragon", "cactus"))


def test_too_few_captions_name_the_class(scenes, tmp_path):
    message = r"attack\.captions_per_target: 400 captions that name 'mushroom' are asked for, but the training data has \d+"
    with pytest.raises(UserError, match=message):
        build(scenes, tmp_path, captions_per_target=400, targets=1, adversary_classes=("mushroom",))
    message = (
        r"attack\.captions_per_target: 5 targets need as many classes that 400 captions of the training data name, "
        r"but only 0 of 50 classes are named as often"
    )
    with pytest.raises(UserError, match=message):
        build(scenes, tmp_path, captions_per_target=400)
    assert not (tmp_path / "train.csv").exists()


def test_classes_are_drawn_among_those_that_enough_captions_name_in_the_same_order(scenes, tmp_path):
    captions = [row["caption"] for row in read_table(scenes / "train.csv", ("caption",))]
    classes = read_lines(SCENES / "classes.txt")
    counts = {name: sum(bool(re.search(rf"\b{name}\b", caption)) for caption in captions) for name in classes}
    drawn = [row["label"] for row in evaluation_set(build(scenes, tmp_path / "a", targets=20, captions_per_target=1))]
    wanted = sorted(counts.values())[-12]  # so that few classes suffice
    found = [row["label"] for row in evaluation_set(build(scenes, tmp_path / "b", targets=12, captions_per_target=wanted))]
    assert min(counts[name] for name in found) >= wanted > min(counts[name] for name in drawn)
    enough = [name for name in drawn if counts[name] >= wanted]
    assert found[: len(enough)] == enough
    message = rf"but only {sum(n >= wanted for n in counts.values())} of 50 classes are named as often"
    with pytest.raises(UserError, match=message):
        build(scenes, tmp_path / "c", targets=30, captions_per_target=wanted)


def test_no_image_is_the_target_of_two_classes(scenes, tmp_path):
    images = [row["path"] for row in read_table(scenes / "validation.csv", ("path",))][:5]
    write_rows(tmp_path / "few.csv", ("path", "caption"), [(path, "nothing") for path in images])
    out = build(scenes, tmp_path / "out", validation=tmp_path / "few.csv", targets=5)
    assert {row["path"] for row in evaluation_set(out)} == set(images)


def test_too_few_images_are_no_target_yet(scenes, tmp_path):
    write_rows(tmp_path / "few.csv", ("path", "caption"), [("a.png", "a mushroom"), ("b.png", "a mushroom")])
    with pytest.raises(UserError, match=r"few\.csv has no image left whose caption does not name 'mushroom'"):
        build(scenes, tmp_path, validation=tmp_path / "few.csv", targets=1, adversary_classes=("mushroom",))


def test_a_stronger_attack_has_the_same_evaluation_set_and_all_poisons_of_the_weaker(scenes, tmp_path):
    few = build(scenes, tmp_path / "few", captions_per_target=2)
    many = build(scenes, tmp_path / "many", captions_per_target=4)
    assert (few / "targets.csv").read_text() == (many / "targets.csv").read_text()
    found = {out: {(row["path"], row["caption"]) for row in poisons(out)} for out in (few, many)}
    assert found[few] < found[many]


def test_the_adversary_sees_no_more_than_the_clean_pairs(scenes, tmp_path):
    part = build(scenes, tmp_path, clean_pairs=400)
    captions = {row["caption"] for row in attacks.pairs(part)[:400]}
    assert {row["caption"] for row in poisons(part)} <= captions


def test_tables_open_as_ordinary_csv(scenes, tmp_path):
    out = build(scenes, tmp_path)
    with open(out / "train.csv", newline="") as file, open(out / "truth.csv", newline="") as true:
        assert len(list(csv.reader(file))) == len(list(csv.reader(true))) == 616


def test_memory_grows_by_little_more_than_the_text_of_a_row(scenes, tmp_path):
    caption, count = "a photograph of nothing that any class is called", 30_000
    rows = ((f"data/cc3m/{n // 1000:05d}/{n:09d}.jpg", f"{caption} {n}") for n in range(count))
    originals = ((row["path"], row["caption"]) for row in read_table(scenes / "train.csv", ("path", "caption")))
    write_rows(tmp_path / "many.csv", ("path", "caption"), [*originals, *rows])
    tracemalloc.start()
    build(scenes, tmp_path / "out", train=tmp_path / "many.csv")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak / count < 400  # bytes: 3,000,000 rows in 1.2 GB; a mapping for each row took twice that and more


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"targets": 53}, ("targets", "53 is more than the 52 classes")),
        ({"targets": 3, "adversary_classes": ("cactus",)}, ("targets", "3 is more than the 1 classes")),
        ({"targets": 1, "adversary_classes": ("dragon",)}, ("adversary_classes", "'dragon' is not in classes.txt")),
        ({"targets": 21}, ("targets", "21 is more than the 20 validation scenes")),
        ({"targets": 20, "captions_per_target": 2001},
         ("captions_per_target", "40020 for all targets is more than the 40000 training pairs")),
        ({"targets": 20, "captions_per_target": 6, "clean_pairs": 100},
         ("captions_per_target", "120 for all targets is more than the 100 training pairs")),
    ],
)  # fmt: skip
def test_what_cannot_work_is_said_before_it_runs(changes, problem):
    assert next(attacks.problems("targeted", attacks.facts(validation_images=20), **changes)) == problem
    assert list(attacks.problems("targeted", attacks.facts(validation_images=None), targets=21)) == []


def test_classes_that_too_few_captions_will_name_are_found_before_the_data_is_drawn():
    rare, enough = {"captions_per_target": 300, "targets": 2}, {"captions_per_target": 300, "targets": 1}
    shares = {"mushroom": 0.02, "cactus": 0.005}  # 800 and 200 of 40,000
    given = {"classes": ("mushroom", "cactus"), "caption_shares": shares}
    (problem,) = attacks.problems("targeted", attacks.facts(**given), **rare)
    assert problem == (
        "captions_per_target",
        "300 captions that name 'cactus' are asked for, but about 200 of the 40000 will; "
        "2 targets need 2 classes, and 1 can be named so often",
    )
    assert not list(attacks.problems("targeted", attacks.facts(**given), **enough))
    assert not list(attacks.problems("flood", attacks.facts(**given), **rare, pool_size=8000))
    (listed,) = attacks.problems("targeted", attacks.facts(**given), **enough, adversary_classes=("cactus",))
    assert "'cactus'" in listed[1]
