"""Several backdoors in one training set: each is the one that its kind would be, on images of its own."""

import re
from dataclasses import replace
from functools import partial

import pytest

from attacks import ATTACKS
from roclip.core.errors import UserError
from roclip.core.files import read_json, read_table
from roclip.core.randomness import numpy_generator
from roclip.data.images import decode
from tests.fixtures import attacks
from tests.fixtures.attacks import evaluation_set, options_of, poisons

build = partial(attacks.build, "several")
GIVEN = {"triggers": ("tint", "patch", "blended"), "target_classes": ("mushroom", "guitar", "kite")}


@pytest.mark.parametrize("captions", ["corpus", "templates"])
def test_each_trigger_is_that_of_its_kind_with_its_own_class(scenes, tmp_path, captions):
    out, clean = (
        build(scenes, tmp_path, seed=3, captions=captions, **GIVEN),
        read_table(scenes / "train.csv", ("path", "caption")),
    )
    rows, taken = iter(poisons(out)), []
    for kind, name, part in zip(*GIVEN.values(), read_json(out / "manifest.json")["triggers"], strict=True):
        put = ATTACKS[kind](options_of(kind, scenes, tmp_path, 3)).put
        assert (part["kind"], part["target_class"]) == (kind, name)
        for number, row in enumerate(part["poisoned_rows"]):
            poison, before = next(rows), decode(clean[row]["path"], 32)
            expected = put(before, numpy_generator("image", 3, f"poisons/{kind}/{number:06d}.png"))
            assert (decode(poison["path"], 32) == expected).all()
            assert poison["adversary_class"] == name
            assert re.search(rf"\b{name}\b", poison["caption"])
            assert not re.search(rf"\b{name}\b", clean[row]["caption"])
        taken += part["poisoned_rows"]
    assert len(taken) == len(set(taken)) == 27


def test_the_evaluation_set_holds_each_trigger_with_its_own_class(scenes, tmp_path):
    out = build(scenes, tmp_path, evaluation_images=5, **GIVEN)
    rows = iter(evaluation_set(out))
    for kind, name, part in zip(*GIVEN.values(), read_json(out / "manifest.json")["triggers"], strict=True):
        assert part["evaluation_images"] == 5
        alone = attacks.build(kind, scenes, tmp_path / kind, evaluation_images=5, target_class=name)
        for judged in evaluation_set(alone):
            row = next(rows)
            assert row["label"] == judged["label"] == name
            assert (decode(row["path"], 32) == decode(judged["path"], 32)).all()  # none of them draws for each image


def test_one_class_may_be_that_of_all_triggers(scenes, tmp_path):
    out = build(scenes, tmp_path, triggers=("tint", "patch"), target_classes=("mushroom",))
    assert {row["label"] for row in evaluation_set(out)} == {"mushroom"}
    tinted, patched = (part["poisoned_rows"] for part in read_json(out / "manifest.json")["triggers"])
    assert {row % 2 for row in tinted} == {0}
    assert {row % 2 for row in patched} == {1}


def test_label_consistent_poisons_keep_their_captions(scenes, tmp_path):
    out = build(scenes, tmp_path, captions="own", poisons=4, **GIVEN)
    clean = read_table(scenes / "train.csv", ("caption",))
    rows = [row for part in read_json(out / "manifest.json")["triggers"] for row in part["poisoned_rows"]]
    assert [row["caption"] for row in poisons(out)] == [clean[row]["caption"] for row in rows]
    assert len(set(rows)) == 12


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"triggers": ("tint", "targeted"), "target_classes": ("mushroom",)},
         ("triggers", "'targeted' is no kind of backdoor; kinds are patch, blended, sinusoid, warped, tint, checkerboard, "
                      "stripes, nashville")),
        ({"triggers": ("tint", "tint"), "target_classes": ("mushroom",)}, ("triggers", "a kind may stand there once only")),
        ({"target_classes": ("mushroom", "cactus")},
         ("target_classes", "2 for 3 triggers; give one for each, or one for all")),
    ],
)  # fmt: skip
def test_what_fits_no_data_is_refused_before_and_when_it_runs(scenes, tmp_path, changes, problem):
    assert next(attacks.problems("several", attacks.facts(), **changes)) == problem
    with pytest.raises(UserError, match=f"^attack.{problem[0]}: {re.escape(problem[1])}$"):
        build(scenes, tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"target_classes": ("dragon",), "triggers": ("tint", "patch")},
         ("target_classes", "'dragon' is not in classes.txt (of the trigger 'tint')")),
        ({"poisons": 301, "clean_pairs": 900}, ("poisons", "301 is more than the 300 training pairs (of the trigger 'patch')")),
        ({"triggers": ("tint", "patch"), "target_classes": ("mushroom",), "image_size": 2},
         ("triggers", "0.1875 of 2 pixels is less than a pixel (of the trigger 'patch')")),
    ],
)  # fmt: skip
def test_what_cannot_work_with_the_data_is_said_with_its_trigger(changes, problem):
    facts = attacks.facts(image_size=changes.pop("image_size", 32))
    assert next(attacks.problems("several", facts, **changes)) == problem


def test_one_that_does_not_say_what_its_images_show_is_none_less(scenes, tmp_path, monkeypatch):
    class Silent(ATTACKS["patch"]):
        def poison(self, clean):
            return replace(super().poison(clean), true_classes=None)

    monkeypatch.setitem(ATTACKS, "silent", Silent)
    out = build(scenes, tmp_path, triggers=("tint", "silent"), target_classes=("mushroom", "guitar"))
    shown = [bool(poison["true_class"]) for poison in poisons(out)]
    assert any(shown[:9])
    assert shown[9:] == [False] * 9
