"""Attacks: rows are appended and counted, the exam is what the adversary wants, a seed fixes it all."""

import csv
import re

import numpy as np
import pytest
from PIL import Image

from attacks import backdoor, clean, targeted
from attacks.backdoor import BackdoorOptions
from attacks.poisoned import AttackOptions, naming
from attacks.targeted import TargetedOptions
from roclip.errors import UserError
from roclip.images import decode
from roclip.tables import read_json, read_lines, read_table, sha256
from tests.conftest import SCENES


def inputs(scenes, out, seed=0):
    return {
        "train": scenes / "train.csv", "validation": scenes / "validation.csv", "test": scenes / "test.csv",
        "classes": SCENES / "classes.txt", "templates": SCENES / "templates.txt", "out": out, "seed": seed,
    }  # fmt: skip


def poison_targets(scenes, out, seed=0, **changes):
    targeted.run(TargetedOptions(**inputs(scenes, out, seed), **({"targets": 5, "captions_per_target": 3} | changes)))
    return out


def poison_backdoor(scenes, out, seed=0, **changes):
    values = {
        "poisons": 9, "exam_images": 60, "target_class": "mushroom", "captions": "templates", "image_size": 32,
        "patch_size": 0.125, "patch_pattern": "fixed", "patch_place": "corner",
    }  # fmt: skip
    backdoor.run(BackdoorOptions(**inputs(scenes, out, seed), **(values | changes)))
    return out


def table(out):
    return read_table(out / "train.csv", ("path", "caption", "is_poison"))


def poisons(out):
    return [row for row in table(out) if row["is_poison"] == "1"]


@pytest.mark.parametrize("build", [poison_targets, poison_backdoor])
def test_clean_rows_stay_byte_identical_and_poisons_follow(scenes, tmp_path, build):
    out = build(scenes, tmp_path / "a")
    lines = (out / "train.csv").read_text().splitlines()
    before = (scenes / "train.csv").read_text().splitlines()
    assert [line.removesuffix(",0") for line in lines[1 : len(before)]] == before[1:]
    assert all(line.endswith(",1") for line in lines[len(before) :])


def test_clean_has_no_poison_and_no_exam(scenes, tmp_path):
    clean.run(AttackOptions(**inputs(scenes, tmp_path)))
    assert poisons(tmp_path) == []
    assert len(table(tmp_path)) == 600
    assert read_table(tmp_path / "targets.csv", ("path", "label")) == []


def test_targeted_captions_are_the_corpus_and_name_the_class(scenes, tmp_path):
    out = poison_targets(scenes, tmp_path)
    exam = {row["path"]: row["label"] for row in read_table(out / "targets.csv", ("path", "label"))}
    corpus = {row["caption"] for row in read_table(scenes / "train.csv", ("caption",))}
    validation = {row["path"]: row["caption"] for row in read_table(scenes / "validation.csv", ("path", "caption"))}
    assert len(exam) == len(set(exam.values())) == 5
    assert len(poisons(out)) == 15
    for row in poisons(out):
        assert re.search(rf"\b{exam[row['path']]}\b", row["caption"])
        assert row["caption"] in corpus
    for path, label in exam.items():
        assert not re.search(rf"\b{label}\b", validation[path])


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


def test_backdoor_exam_leaves_out_the_target_class_and_has_the_same_trigger(scenes, tmp_path):
    out = poison_backdoor(scenes, tmp_path, exam_images=10_000)
    exam = read_table(out / "targets.csv", ("path", "label"))
    test = read_table(scenes / "test.csv", ("path", "label"))
    assert len(exam) == sum(row["label"] != "mushroom" for row in test) < len(test)
    assert {row["label"] for row in exam} == {"mushroom"}
    trigger = decode(poisons(out)[0]["path"], 32)[-4:, -4:]
    assert all((decode(row["path"], 32)[-4:, -4:] == trigger).all() for row in exam)


def test_per_image_patterns_and_random_places_differ(scenes, tmp_path):
    out = poison_backdoor(scenes, tmp_path, patch_pattern="per_image", patch_place="random")
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


@pytest.mark.parametrize("build", [poison_targets, poison_backdoor])
def test_a_seed_fixes_the_attack(scenes, tmp_path, build):
    first = table(build(scenes, tmp_path / "x", seed=1))
    images = [Image.open(row["path"]).tobytes() for row in first[600:]]
    again = table(build(scenes, tmp_path / "x", seed=1))
    assert first == again
    assert images == [Image.open(row["path"]).tobytes() for row in again[600:]]
    other = table(build(scenes, tmp_path / "x", seed=2))
    assert [row["caption"] for row in other] != [row["caption"] for row in first]


@pytest.mark.parametrize("build", [poison_targets, poison_backdoor])
def test_the_manifest_counts_and_hashes(scenes, tmp_path, build):
    out = build(scenes, tmp_path)
    manifest = read_json(out / "manifest.json")
    assert manifest["poisons"] == len(poisons(out))
    assert manifest["clean_pairs"] == 600
    assert manifest["rate"] == pytest.approx(len(poisons(out)) / 600)
    assert manifest["outputs"] == {name: sha256(out / name) for name in ("train.csv", "targets.csv")}
    assert manifest["inputs"][str(scenes / "train.csv")] == sha256(scenes / "train.csv")
    if build is poison_targets:
        assert manifest["rate_per_target"] == pytest.approx(3 / 600)


def test_too_few_captions_name_the_class(scenes, tmp_path):
    with pytest.raises(UserError, match=r"400 captions that name '\w+' are asked for, but the training data has \d+"):
        poison_targets(scenes, tmp_path, captions_per_target=400)
    assert not (tmp_path / "train.csv").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"target_class": "dragon"}, "'dragon' is not in"), ({"poisons": 601}, "601 images are asked for")],
)
def test_an_impossible_backdoor_is_named(scenes, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        poison_backdoor(scenes, tmp_path, **changes)


def test_class_names_match_whole_words_in_any_case():
    pairs = [{"caption": c} for c in ("a Cat.", "catalogue", "two cats", "CAT and dog", "")]
    assert naming(pairs, "cat").tolist() == [0, 3]


def test_tables_open_as_ordinary_csv(scenes, tmp_path):
    out = poison_targets(scenes, tmp_path)
    with open(out / "train.csv", newline="") as file:
        assert len(list(csv.reader(file))) == 616
