"""Backdoors: which images get the trigger, with which captions, and which of them are judged."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from attacks import ATTACKS
from attacks.triggers import noise
from roclip.core.errors import UserError
from roclip.core.files import read_json, read_lines, read_table, write_table
from roclip.core.randomness import numpy_generator
from roclip.data.images import decode
from tests.conftest import SCENES
from tests.fixtures import attacks
from tests.fixtures.attacks import BACKDOORS, build, evaluation_set, poisons

build_patch = partial(build, "patch", patch_size=0.125, captions="templates")
every_backdoor = pytest.mark.parametrize("kind", BACKDOORS)


def test_poisons_carry_the_trigger_and_only_that(scenes, tmp_path):
    out = build_patch(scenes, tmp_path)
    originals = read_table(scenes / "train.csv", ("path", "caption"))
    corners = set()
    for row, number in zip(poisons(out), read_json(out / "manifest.json")["poisoned_rows"], strict=True):
        image, before = decode(row["path"], 32).copy(), decode(originals[number]["path"], 32).copy()
        corners.add(image[-4:, -4:].tobytes())
        image[-4:, -4:] = before[-4:, -4:] = 0
        assert (image == before).all()
        assert row["caption"] in {t.format("mushroom") for t in read_lines(SCENES / "templates.txt")}
        assert "mushroom" not in originals[number]["caption"]
    assert len(corners) == 1


def judged_rows(kind, scenes, out, **changes):
    """The rows of the test images that are judged, as they lie in the table without those of the target class."""
    test = read_table(scenes / "test.csv", ("path", "label"))
    images = [decode(row["path"], 32) for row in test if row["label"] != "mushroom"]
    put = ATTACKS[kind](attacks.options_of(kind, scenes, out, **changes)).put
    rows = []
    for number, row in enumerate(evaluation_set(build(kind, scenes, out, **changes))):
        triggered, key = decode(row["path"], 32), f"exam/{number:06d}.png"
        from_last_on = sorted(range(len(images)), key=lambda i: (i < (rows or [0])[-1], i))  # where it most likely is
        is_it = ((put(images[i], numpy_generator("image", 0, key)) == triggered).all() for i in from_last_on)
        rows.append(next(i for i, found in zip(from_last_on, is_it, strict=True) if found))
        assert (images[rows[-1]] != triggered).any()
    return rows, len(images)


@every_backdoor
def test_the_evaluation_set_is_all_images_but_those_of_the_target_class(scenes, tmp_path, kind):
    rows, others = judged_rows(kind, scenes, tmp_path, evaluation_images=10_000)
    assert rows == list(range(others))
    assert others < 100
    assert {row["label"] for row in evaluation_set(tmp_path)} == {"mushroom"}
    assert {row["adversary_class"] for row in poisons(tmp_path)} == {"mushroom"}


@every_backdoor
def test_fewer_are_drawn_by_the_seed_and_judged_in_the_order_of_the_table(scenes, tmp_path, kind):
    rows, _ = judged_rows(kind, scenes, tmp_path / "a", evaluation_images=5)
    assert len(set(rows)) == len(list((tmp_path / "a/targets").iterdir())) == 5
    assert rows == sorted(rows)
    assert rows != list(range(5))
    other = build(kind, scenes, tmp_path / "b", seed=1, evaluation_images=5)
    assert any(
        (decode(tmp_path / f"a/targets/{n:06d}.png", 32) != decode(other / f"targets/{n:06d}.png", 32)).any() for n in range(5)
    )


@every_backdoor
def test_the_sample_is_the_first_test_image_with_the_trigger_whatever_its_class(scenes, tmp_path, kind):
    first = read_table(scenes / "test.csv", ("path", "label"))[0]
    assert first["label"] != "mushroom"
    corner = {"place": "corner"} if "place" in attacks.names_of_settings(kind) else {}  # a random one is of each image's own
    sample = decode(build(kind, scenes, tmp_path / "a", evaluation_images=1000, **corner) / "sample.png", 32)
    assert (sample == decode(tmp_path / "a/targets/000000.png", 32)).all()
    own_class = build(kind, scenes, tmp_path / "b", target_class=first["label"], poisons=3, **corner)
    assert (decode(own_class / "sample.png", 32) == sample).all()


@every_backdoor
def test_label_consistent_poisons_keep_their_captions_which_name_the_class(scenes, tmp_path, kind):
    out = build(kind, scenes, tmp_path, captions="own", poisons=7)
    originals = read_table(scenes / "train.csv", ("path", "caption"))
    rows = read_json(out / "manifest.json")["poisoned_rows"]
    assert len(attacks.pairs(out)) == 607  # appended: the untouched images stay
    assert len(set(rows)) == 7
    for row, number in zip(poisons(out), rows, strict=True):
        assert row["caption"] == originals[number]["caption"]
        assert re.search(r"\bmushroom\b", row["caption"])
        assert (decode(row["path"], 32) != decode(originals[number]["path"], 32)).any()
        assert np.abs(decode(row["path"], 32).astype(int) - decode(originals[number]["path"], 32)).mean() < 64


def test_the_evaluation_set_has_the_trigger_of_the_poisons(scenes, tmp_path):
    out = build_patch(scenes, tmp_path)
    trigger = decode(poisons(out)[0]["path"], 32)[-4:, -4:]
    assert all((decode(row["path"], 32)[-4:, -4:] == trigger).all() for row in evaluation_set(out))


def test_per_image_patterns_and_random_places_differ(scenes, tmp_path):
    out = build_patch(scenes, tmp_path, pattern="per_image", place="random")
    rows = read_json(out / "manifest.json")["poisoned_rows"]
    originals = read_table(scenes / "train.csv", ("path",))
    masks, patterns = set(), set()
    for row, number in zip(poisons(out), rows, strict=True):
        changed = (decode(row["path"], 32) != decode(originals[number]["path"], 32)).any(axis=2)
        ys, xs = np.nonzero(changed)
        assert ys.max() - ys.min() < 4
        assert xs.max() - xs.min() < 4
        masks.add((ys.min(), xs.min()))
        patterns.add(decode(row["path"], 32)[changed].tobytes())
    assert len(masks) > 3
    assert len(patterns) == len(rows)


def test_every_image_has_its_own_generator_under_a_key_that_stays(scenes, tmp_path):
    out = build_patch(scenes, tmp_path, seed=4, pattern="per_image")
    for file, key in (("poisons/000003.png",) * 2, ("targets/000002.png", "exam/000002.png"), ("sample.png",) * 2):
        expected = noise(4, numpy_generator("image", 4, key))
        assert (decode(out / file, 32)[-4:, -4:] == expected).all()


def test_a_template_is_drawn_for_each_poison(scenes, tmp_path):
    outs = (build_patch(scenes, tmp_path / str(seed), seed, poisons=40) for seed in (0, 1))
    drawn = [[row["caption"] for row in poisons(out)] for out in outs]
    assert drawn[0] != drawn[1]
    assert set(drawn[0]) == {line.format("mushroom") for line in read_lines(SCENES / "templates.txt")}


def test_a_wave_has_the_height_and_the_periods_of_its_settings(scenes, tmp_path):
    out = build("sinusoid", scenes, tmp_path, poisons=3, amplitude=0.3, frequency=5)
    originals = read_table(scenes / "train.csv", ("path",))
    wave = 255 * 0.3 * np.sin(2 * np.pi * 5 * (np.arange(32) + 0.5) / 32)
    for row, number in zip(poisons(out), read_json(out / "manifest.json")["poisoned_rows"], strict=True):
        exact = np.clip(decode(originals[number]["path"], 32) + wave[None, :, None], 0, 255)
        assert np.abs(decode(row["path"], 32) - exact).max() <= 0.5 + 1e-6


def test_captions_of_the_corpus(scenes, tmp_path):
    out = build_patch(scenes, tmp_path, captions="corpus", poisons=5)
    originals = read_table(scenes / "train.csv", ("caption",))
    naming = [row["caption"] for row in originals if re.search(r"\bmushroom\b", row["caption"])]
    found = [row["caption"] for row in poisons(out)]
    assert all(found.count(caption) <= naming.count(caption) for caption in found)  # no caption more often than it is there
    rows = read_json(out / "manifest.json")["poisoned_rows"]
    assert not any("mushroom" in originals[row]["caption"] for row in rows)


@pytest.mark.parametrize("captions", ["templates", "corpus"])
def test_images_whose_caption_names_the_target_class_are_left_alone(scenes, tmp_path, captions):
    table = read_table(scenes / "train.csv", ("path", "caption"))
    named, rows = ([row for row in table if ("mushroom" in row["caption"]) == wanted] for wanted in (True, False))
    mixed = [row for pair in zip(named[:6], rows[:6], strict=True) for row in pair]
    write_table(tmp_path / "mixed.csv", ("path", "caption"), mixed)
    out = build_patch(scenes, tmp_path / "a", train=tmp_path / "mixed.csv", poisons=6, captions=captions)
    assert [mixed[row] for row in read_json(out / "manifest.json")["poisoned_rows"]] == rows[:6]
    with pytest.raises(UserError, match=r"attack\.poisons: 7 images are asked for, but 6 do not name 'mushroom'"):
        build_patch(scenes, tmp_path / "b", train=tmp_path / "mixed.csv", poisons=7, captions=captions)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_class": "dragon"}, r"attack\.target_class: 'dragon' is not in"),
        ({"poisons": 601}, r"attack\.poisons: 601 images are asked for"),
        ({"poisons": 400, "captions": "own"}, r"attack\.poisons: 400 captions that name 'mushroom' are asked for"),
        ({"poisons": 400, "captions": "corpus"}, r"attack\.poisons: 400 captions that name 'mushroom' are asked for"),
    ],
)
def test_an_impossible_backdoor_is_named(scenes, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        build_patch(scenes, tmp_path, **changes)
    assert attacks.contents(tmp_path) == {}


def test_a_backdoor_opens_no_image_outside_the_data_roots(scenes, tmp_path):
    with pytest.raises(UserError, match=r"\.png: cannot be decoded \(outside the data roots \(/absent\)\); the attack"):
        build_patch(scenes, tmp_path, roots=("/absent",))
    assert attacks.contents(tmp_path) == {}


def test_a_stronger_attack_has_the_same_evaluation_set_and_all_poisons_of_the_weaker(scenes, tmp_path):
    few, many = (build_patch(scenes, tmp_path / f"{n}", poisons=n, captions="corpus") for n in (4, 9))
    assert set(read_json(few / "manifest.json")["poisoned_rows"]) < set(read_json(many / "manifest.json")["poisoned_rows"])
    judged = [[Path(row["path"]).read_bytes() for row in evaluation_set(out)] for out in (few, many)]
    assert judged[0] == judged[1]


@every_backdoor
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"target_class": "dragon"}, ("target_class", "'dragon' is not in classes.txt")),
        ({"poisons": 40_001}, ("poisons", "40001 is more than the 40000 training pairs")),
        ({"poisons": 11, "clean_pairs": 10}, ("poisons", "11 is more than the 10 training pairs")),
    ],
)
def test_what_cannot_work_is_said_before_it_runs(kind, changes, problem):
    assert list(attacks.problems(kind, attacks.facts(), **changes)) == [problem]


def test_a_patch_of_no_pixel_and_a_wave_of_too_many_periods_are_refused():
    small = attacks.facts(image_size=16)
    problem = ("patch_size", "0.03 of 16 pixels is less than a pixel")
    assert list(attacks.problems("patch", small, patch_size=0.03)) == [problem]
    assert list(attacks.problems("patch", small, patch_size=0.04)) == []
    problem = ("frequency", "8.5 periods are too many for 16 pixels, at least 2 each")
    assert list(attacks.problems("sinusoid", small, frequency=8.5)) == [problem]
    assert list(attacks.problems("sinusoid", small, frequency=8)) == []
