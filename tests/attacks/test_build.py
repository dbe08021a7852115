"""What an attack of somebody's own gives is looked at before it is written: a mistake in it is one line, and no file."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from attacks import ATTACKS
from attacks.base import Attack, Poisoning
from roclip.core.errors import UserError
from tests.fixtures.attacks import build, pairs, poisons

SOUND = Poisoning([("a.png", "a bell", "bell")], [("a.png", "bell")])
WRONG = {
    "None": (None, "the attack 'own': its `poison` gave NoneType, no Poisoning"),
    "no poisons": (replace(SOUND, pairs=[]), "the attack 'own' has no poisoned pairs; change its settings"),
    "no targets": (replace(SOUND, targets=[]), "the attack 'own' has nothing to be judged on; change its settings"),
    "a generator": (replace(SOUND, queries=iter([("a", "b", "bell")])), "Poisoning.queries is of type .*; it must be a list"),
    "true classes as a generator": (replace(SOUND, true_classes=iter("m")), "true_classes must be a list of 1 texts"),
    "two texts": (replace(SOUND, pairs=[("a.png", "a bell")]), r"pairs is \('.*a.png', 'a bell'\); each must be a tuple"),
    "a number": (replace(SOUND, targets=[("a.png", 3)]), r"in Poisoning.targets is \('.*a.png', 3\); each must be a tuple"),
    "a class of the poisons": (
        replace(SOUND, pairs=[("a.png", "a bel", "bel")]), "truth.csv, row 601: the label 'bel' .*did you mean 'bell'",
    ),
    "a class of the targets": (
        replace(SOUND, targets=[("a.png", "bell"), ("a.png", "bel")]), "targets.csv, row 2: the label 'bel' .*mean 'bell'",
    ),
    "a poison that is not there": (replace(SOUND, pairs=[("b.png", "a bell", "bell")]), "b.png: cannot be decoded"),
    "a poison that is no image": (replace(SOUND, pairs=[("no.png", "a bell", "bell")]), "no.png: cannot be decoded"),
    "a poison outside the data roots": (
        replace(SOUND, pairs=[("/etc/passwd", "a bell", "bell")]), "/etc/passwd: cannot be decoded .outside the data roots",
    ),
    "true classes in one text": (
        replace(SOUND, true_classes="m"), "Poisoning.true_classes must be a list of 1 texts, one for each of Poisoning.pairs",
    ),
    "too few true classes": (replace(SOUND, true_classes=[]), "Poisoning.true_classes must be a list of 1 texts"),
    "a count of its own": (
        replace(SOUND, facts={"poisons": 99}), "'own': Poisoning.facts has 'poisons', which the manifest counts itself",
    ),
    "a fact that is NaN": (
        replace(SOUND, facts={"loss": float("nan")}), "Poisoning.facts are no JSON: .*; give finite int",
    ),
    "a fact of numpy": (
        replace(SOUND, facts={"rows": [np.int64(3)]}), "Poisoning.facts are no JSON: .*int64.*; give finite int",
    ),
    "a target that is no image": (replace(SOUND, targets=[("no.png", "bell")]), "no.png: cannot be decoded"),
}  # fmt: skip


@pytest.fixture
def given(scenes, tmp_path, monkeypatch):
    """Builds an attack whose `poison` gives what is asked for; paths are of images in its folder."""
    out = tmp_path / "out"
    out.mkdir()
    Image.new("RGB", (8, 8)).save(out / "a.png")
    (out / "no.png").write_text("none")

    def make(poisoning, family="targeted"):
        class Own(Attack):
            """An attack of somebody's own."""

            def poison(self, clean):
                return moved(poisoning, out) if isinstance(poisoning, Poisoning) else poisoning

        Own.family = family
        monkeypatch.setitem(ATTACKS, "own", Own)
        return build("own", scenes, out)

    return make


def moved(poisoning, out):
    """The same with relative paths in a folder."""
    return replace(
        poisoning,
        pairs=[(str(out / path), *rest) for path, *rest in poisoning.pairs],
        targets=[(str(out / path), *rest) for path, *rest in poisoning.targets],
    )


def test_what_is_sound_is_written(given):
    assert [row["caption"] for row in poisons(given(SOUND))] == ["a bell"]


@pytest.mark.parametrize("case", WRONG)
def test_what_is_not_is_one_line_and_no_file(given, tmp_path, case):
    poisoning, message = WRONG[case]
    with pytest.raises(UserError, match=message):
        given(poisoning)
    assert not list((tmp_path / "out").glob("*.csv"))


def test_no_attack_needs_neither_poisons_nor_targets(given):
    assert poisons(given(Poisoning(), family="clean")) == []


def test_an_attack_that_changes_the_clean_pairs_changes_none_that_are_written(scenes, tmp_path, monkeypatch):
    """They would be poisoned, and clean by the truth."""

    class Own(ATTACKS["targeted"]):
        """An attack of somebody's own."""

        def poison(self, clean):
            poisoning = super().poison(clean)
            clean["caption"][:200] = ["a bell"] * 200
            return poisoning

    monkeypatch.setitem(ATTACKS, "own", Own)
    plain, changed = (pairs(build(kind, scenes, tmp_path / kind)) for kind in ("targeted", "own"))
    assert [pair["caption"] for pair in changed] == [pair["caption"] for pair in plain]
