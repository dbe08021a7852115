"""Attacks: rows are appended and counted, the exam is what the adversary wants, a seed fixes it all."""

import csv
import re
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from attacks import blended, clean, patch, sinusoid, targeted, warped
from attacks.blended import BlendedOptions
from attacks.patch import PatchOptions
from attacks.poisoned import AttackOptions
from attacks.sinusoid import SinusoidOptions
from attacks.targeted import TargetedOptions
from attacks.warped import WarpedOptions
from roclip.core.errors import UserError
from roclip.core.files import read_json, read_lines, read_table, write_rows
from roclip.data.class_mentions import naming
from roclip.data.images import decode
from tests.conftest import SCENES


def inputs(scenes, out, seed=0):
    return {
        "train": scenes / "train.csv", "validation": scenes / "validation.csv", "test": scenes / "test.csv",
        "classes": SCENES / "classes.txt", "templates": SCENES / "templates.txt", "out": out, "seed": seed,
        "roots": (str(scenes),),
    }  # fmt: skip


def poison_targets(scenes, out, seed=0, **changes):
    targeted.run(TargetedOptions(**(inputs(scenes, out, seed) | {"targets": 5, "captions_per_target": 3} | changes)))
    return out


STAGES = {
    "patch": (patch.run, PatchOptions, {"patch_size": 0.125, "pattern": "fixed", "place": "corner"}),
    "blended": (blended.run, BlendedOptions, {"blend_share": 0.2, "pattern": "fixed"}),
    "sinusoid": (sinusoid.run, SinusoidOptions, {"amplitude": 0.2, "frequency": 6}),
    "warped": (warped.run, WarpedOptions, {"warp_strength": 0.05, "warp_grid": 4}),
}


def poison_kind(kind, scenes, out, seed=0, **changes):
    run, options_class, settings = STAGES[kind]
    values = {"poisons": 9, "exam_images": 60, "target_class": "mushroom", "captions": "templates", "image_size": 32}
    run(options_class(**(inputs(scenes, out, seed) | values | settings | changes)))
    return out


poison_backdoor = partial(poison_kind, "patch")
BACKDOORS = [pytest.param(partial(poison_kind, kind), id=kind) for kind in STAGES]


def table(out):
    return read_table(out / "train.csv", ("path", "caption", "is_poison", "adversary_class"))


def poisons(out):
    return [row for row in table(out) if row["is_poison"] == "1"]


@pytest.mark.parametrize("build", [poison_targets, *BACKDOORS])
def test_clean_rows_stay_byte_identical_and_poisons_follow(scenes, tmp_path, build):
    out = build(scenes, tmp_path / "a")
    lines = (out / "train.csv").read_text().splitlines()
    before = (scenes / "train.csv").read_text().splitlines()
    assert [line.removesuffix(",0,") for line in lines[1 : len(before)]] == before[1:]
    assert all(re.search(r",1,\w+$", line) for line in lines[len(before) :])


def test_clean_has_no_poison_and_no_exam(scenes, tmp_path):
    clean.run(AttackOptions(**inputs(scenes, tmp_path)))
    assert poisons(tmp_path) == []
    assert len(table(tmp_path)) == 600
    assert {row["adversary_class"] for row in table(tmp_path)} == {""}
    assert read_table(tmp_path / "targets.csv", ("path", "label")) == []


def test_targeted_captions_are_the_corpus_and_name_the_class(scenes, tmp_path):
    out = poison_targets(scenes, tmp_path)
    exam = {row["path"]: row["label"] for row in read_table(out / "targets.csv", ("path", "label"))}
    corpus = {row["caption"] for row in read_table(scenes / "train.csv", ("caption",))}
    validation = {row["path"]: row["caption"] for row in read_table(scenes / "validation.csv", ("path", "caption"))}
    assert len(exam) == len(set(exam.values())) == 5
    assert len(poisons(out)) == 15
    for row in poisons(out):
        assert row["adversary_class"] == exam[row["path"]]
        assert re.search(rf"\b{exam[row['path']]}\b", row["caption"])
        assert row["caption"] in corpus
    for path, label in exam.items():
        assert not re.search(rf"\b{label}\b", validation[path])


def test_the_adversary_may_choose_the_classes(scenes, tmp_path):
    chosen = ("mushroom", "cactus", "banana")
    out = poison_targets(scenes, tmp_path, targets=2, adversary_classes=chosen)
    exam = read_table(out / "targets.csv", ("path", "label"))
    assert [row["label"] for row in exam] == ["mushroom", "cactus"]
    with pytest.raises(UserError, match=r"attack\.targets: 4 targets need as many classes .* but there are 3"):
        poison_targets(scenes, tmp_path, targets=4, adversary_classes=chosen)
    with pytest.raises(UserError, match=r"attack\.adversary_classes: 'dragon' is not in"):
        poison_targets(scenes, tmp_path, targets=2, adversary_classes=("dragon", "cactus"))


def test_backdoor_poisons_carry_the_trigger_and_only_that(scenes, tmp_path):
    out = poison_backdoor(scenes, tmp_path)
    manifest = read_json(out / "manifest.json")
    originals = read_table(scenes / "train.csv", ("path", "caption"))
    corners = set()
    for row, number in zip(poisons(out), manifest["poisoned_rows"], strict=True):
        image, before = decode(row["path"], 32), decode(originals[number]["path"], 32)
        corners.add(image[-4:, -4:].tobytes())
        image, before = image.copy(), before.copy()
        image[-4:, -4:] = before[-4:, -4:] = 0
        assert (image == before).all()
        assert "mushroom" in row["caption"]
        assert row["caption"] in {t.format("mushroom") for t in read_lines(SCENES / "templates.txt")}
        assert "mushroom" not in originals[number]["caption"]
    assert len(corners) == 1


@pytest.mark.parametrize("kind", STAGES)
def test_every_backdoor_s_exam_leaves_out_the_target_class(scenes, tmp_path, kind):
    out = poison_kind(kind, scenes, tmp_path, exam_images=10_000)
    exam = read_table(out / "targets.csv", ("path", "label"))
    others = [row["path"] for row in read_table(scenes / "test.csv", ("path", "label")) if row["label"] != "mushroom"]
    assert len(exam) == len(others) < 100
    assert {row["label"] for row in exam} == {"mushroom"}
    assert {row["adversary_class"] for row in poisons(out)} == {"mushroom"}
    # in the order of the test table, triggered: each differs from its image, but is nearest to it
    before = np.stack([decode(path, 32) for path in others]).astype(int)
    for number, row in enumerate(exam[:20]):
        distances = np.abs(before - decode(row["path"], 32)).mean(axis=(1, 2, 3))
        assert distances.argmin() == number
        assert distances[number] > 0


@pytest.mark.parametrize("kind", STAGES)
def test_the_sample_is_the_first_test_image_with_the_trigger_whatever_its_class(scenes, tmp_path, kind):
    first = read_table(scenes / "test.csv", ("path", "label"))[0]
    assert first["label"] != "mushroom"
    sample = decode(poison_kind(kind, scenes, tmp_path / "a", exam_images=1000) / "sample.png", 32)
    assert (sample == decode(tmp_path / "a/exam/000000.png", 32)).all()
    own_class = poison_kind(kind, scenes, tmp_path / "b", target_class=first["label"])
    assert (decode(own_class / "sample.png", 32) == sample).all()


@pytest.mark.parametrize("kind", STAGES)
def test_label_consistent_poisons_keep_their_captions_which_name_the_class(scenes, tmp_path, kind):
    out = poison_kind(kind, scenes, tmp_path, captions="own", poisons=7)
    originals = read_table(scenes / "train.csv", ("path", "caption"))
    rows = read_json(out / "manifest.json")["poisoned_rows"]
    assert len(table(out)) == 607  # appended: the untouched images stay
    assert len(set(rows)) == 7
    for row, number in zip(poisons(out), rows, strict=True):
        assert row["caption"] == originals[number]["caption"]
        assert re.search(r"\bmushroom\b", row["caption"])
        assert (decode(row["path"], 32) != decode(originals[number]["path"], 32)).any()
        assert np.abs(decode(row["path"], 32).astype(int) - decode(originals[number]["path"], 32)).mean() < 64


def test_the_exam_has_the_trigger_of_the_poisons(scenes, tmp_path):
    out = poison_backdoor(scenes, tmp_path)
    exam = read_table(out / "targets.csv", ("path", "label"))
    trigger = decode(poisons(out)[0]["path"], 32)[-4:, -4:]
    assert all((decode(row["path"], 32)[-4:, -4:] == trigger).all() for row in exam)


def test_per_image_patterns_and_random_places_differ(scenes, tmp_path):
    out = poison_backdoor(scenes, tmp_path, pattern="per_image", place="random")
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


def test_captions_from_the_corpus(scenes, tmp_path):
    out = poison_backdoor(scenes, tmp_path, captions="corpus", poisons=5)
    corpus = [row["caption"] for row in read_table(scenes / "train.csv", ("caption",))]
    assert all(row["caption"] in corpus and "mushroom" in row["caption"] for row in poisons(out))


@pytest.mark.parametrize("build", [poison_targets, *BACKDOORS])
def test_a_seed_fixes_the_attack(scenes, tmp_path, build):
    first = table(build(scenes, tmp_path / "x", seed=1))
    images = [Image.open(row["path"]).tobytes() for row in first[600:]]
    again = table(build(scenes, tmp_path / "x", seed=1))
    assert first == again
    assert images == [Image.open(row["path"]).tobytes() for row in again[600:]]
    other = table(build(scenes, tmp_path / "x", seed=2))
    assert [row["caption"] for row in other] != [row["caption"] for row in first]


@pytest.mark.parametrize("build", [poison_targets, poison_backdoor])
def test_the_manifest_counts(scenes, tmp_path, build):
    out = build(scenes, tmp_path)
    manifest = read_json(out / "manifest.json")
    assert manifest["poisons"] == len(poisons(out))
    assert manifest["clean_pairs"] == 600
    assert manifest["rate"] == pytest.approx(len(poisons(out)) / 600)
    if build is poison_targets:
        assert manifest["rate_per_target"] == pytest.approx(3 / 600)


def test_too_few_captions_name_the_class(scenes, tmp_path):
    with pytest.raises(UserError, match=r"400 captions that name '\w+' are asked for, but the training data has \d+"):
        poison_targets(scenes, tmp_path, captions_per_target=400)
    assert not (tmp_path / "train.csv").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_class": "dragon"}, "'dragon' is not in"),
        ({"poisons": 601}, "601 images are asked for"),
        ({"poisons": 400, "captions": "own"}, "400 captions that name 'mushroom' are asked for"),
    ],
)
def test_an_impossible_backdoor_is_named(scenes, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        poison_backdoor(scenes, tmp_path, **changes)


def test_a_backdoor_opens_no_image_outside_the_data_roots(scenes, tmp_path):
    with pytest.raises(UserError, match=r"\.png: cannot be decoded \(outside the data roots \(/absent\)\); the attack"):
        poison_backdoor(scenes, tmp_path, roots=("/absent",))
    assert not (tmp_path / "train.csv").exists()


def test_class_names_match_whole_words_in_any_case():
    assert naming(["a Cat.", "catalogue", "two cats", "CAT and dog", ""], "cat").tolist() == [0, 3]


@given(
    st.lists(st.text("sSkKiIıİſK éÉx.-", max_size=12), max_size=20),
    st.text("skiſéx ", min_size=1, max_size=3).filter(str.strip),
)
@settings(deadline=None)
def test_naming_equals_the_plain_pattern_in_all_letters(captions, name):
    pattern = re.compile(rf"\b{re.escape(name)}\b", re.IGNORECASE)
    assert naming(captions, name).tolist() == [row for row, caption in enumerate(captions) if pattern.search(caption)]


def test_tables_open_as_ordinary_csv(scenes, tmp_path):
    out = poison_targets(scenes, tmp_path)
    with open(out / "train.csv", newline="") as file:
        assert len(list(csv.reader(file))) == 616


def test_clean_pairs_are_the_first_and_too_many_are_refused(scenes, tmp_path):
    whole = poison_targets(scenes, tmp_path / "whole")
    part = poison_targets(scenes, tmp_path / "part", clean_pairs=400)
    rows = read_table(part / "train.csv", ("path", "caption", "is_poison"))
    clean = [row for row in rows if row["is_poison"] == "0"]
    assert clean == read_table(whole / "train.csv", ("path", "caption", "is_poison"))[:400]
    captions = {row["caption"] for row in clean}
    assert {row["caption"] for row in rows if row["is_poison"] == "1"} <= captions  # the adversary sees no more than that
    with pytest.raises(UserError, match=r"attack.clean_pairs: 601 is more than the 600 pairs"):
        poison_targets(scenes, tmp_path / "more", clean_pairs=601)


def test_a_stronger_attack_has_the_same_exam_and_all_poisons_of_the_weaker(scenes, tmp_path):
    few = poison_targets(scenes, tmp_path / "few", captions_per_target=2)
    many = poison_targets(scenes, tmp_path / "many", captions_per_target=4)
    assert (few / "targets.csv").read_text() == (many / "targets.csv").read_text()
    pairs = {out: {(row["path"], row["caption"]) for row in poisons(out)} for out in (few, many)}
    assert pairs[few] < pairs[many]
    few, many = (poison_backdoor(scenes, tmp_path / f"b{n}", poisons=n, captions="corpus") for n in (4, 9))
    assert set(read_json(few / "manifest.json")["poisoned_rows"]) < set(read_json(many / "manifest.json")["poisoned_rows"])
    exams = [
        [Path(row["path"]).read_bytes() for row in read_table(out / "targets.csv", ("path", "label"))] for out in (few, many)
    ]
    assert exams[0] == exams[1]


def test_memory_grows_by_little_more_than_the_text_of_a_row(scenes, tmp_path):
    caption, count = "a photograph of nothing that any class is called", 30_000
    rows = ((f"data/cc3m/{n // 1000:05d}/{n:09d}.jpg", f"{caption} {n}") for n in range(count))
    originals = ((row["path"], row["caption"]) for row in read_table(scenes / "train.csv", ("path", "caption")))
    write_rows(tmp_path / "many.csv", ("path", "caption"), [*originals, *rows])
    tracemalloc.start()
    poison_targets(scenes, tmp_path / "out", train=tmp_path / "many.csv")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak / count < 400  # bytes: 3,000,000 rows in 1.2 GB; a mapping for each row took twice that and more
