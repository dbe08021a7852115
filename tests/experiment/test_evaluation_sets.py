"""What an attack that is judged on captions, pairs, and the check of an attack ask of the workflow."""

import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

from attacks import ATTACKS
from attacks.check import CheckOptions
from roclip.core.options import parse
from roclip.evaluation.encode import EncodeOptions
from roclip.experiment.config import check
from roclip.experiment.files import read_config
from roclip.experiment.plan import evaluation_sets
from roclip.experiment.targets import Targets
from tests.fixtures.configs import merge

CHANGES = {"attacks": ["text_trigger", "patch"], "defences": ["clip"], "measures": ["retrieval"]}


def made(changes):
    config, plan = check(merge(read_config(Path(), {}, []), changes), ATTACKS)
    return Targets(config, plan, "results/x", Path(), [], {})


@pytest.fixture(scope="module")
def wanted():
    return made(CHANGES)


def encoded(wanted, name):
    """The tables of an evaluation set, and the options with which it is encoded."""
    wildcards = SimpleNamespace(set=name, attack="patch", defence="clip", seed="10")
    needed = "--weights w --test t --classes c --templates t --out o --quarantine q"
    return wanted.evaluation_set(wildcards), parse(EncodeOptions, shlex.split(f"{needed} {wanted.encode_flags(wildcards)}"))


def test_each_set_has_the_measures_that_are_for_it(wanted):
    both = {("own", "zero_shot.json"), ("own", "linear_probe.json"), ("pairs", "retrieval.json")}
    for attack, success in (("patch", "attack_success.json"), ("text_trigger", "retrieval_success.json")):
        of = {tuple(Path(path).parts[-2:]) for path in wanted.measures_of(attack, "clip", 10)}
        assert of == {*both, (f"attack-{attack}", success)}


def test_captions_are_looked_up_among_the_test_images(wanted):
    tables, options = encoded(wanted, "attack-text_trigger")
    assert tables["test"] == "results/x/data/test.csv"
    assert tables["captions"] == str(options.captions) == "results/x/attacks/text_trigger/seed10/targets.csv"
    assert {Path(tables[name]).name for name in ("record", "images")} == {"attack.record.json", "download.record.json"}


def test_pairs_are_looked_up_among_themselves(wanted):
    tables, options = encoded(wanted, "pairs")
    assert tables["test"] == tables["captions"] == str(options.captions) == "results/x/data/validation.csv"


def test_other_sets_have_no_captions(wanted):
    assert encoded(wanted, "attack-patch")[1].captions is None
    assert encoded(wanted, "own")[1].captions is None


def test_pairs_are_asked_for_and_not_of_variants(wanted):
    sweep = {"p": {"attacks": ["patch"], "defences": ["clip"], "axes": {"poisons": [30]}}}
    plan = made({**CHANGES, "sweeps": sweep}).plan
    assert "pairs" in evaluation_sets(plan, "patch", "clip", 10)
    assert "pairs" not in evaluation_sets(plan, "patch~poisons~30", "clip", 10)
    assert "pairs" not in evaluation_sets(made({**CHANGES, "measures": []}).plan, "patch", "clip", 10)


def test_every_attack_is_looked_at_before_any_training(wanted):
    assert {Path(path).with_name("train.csv") for path in wanted.checks} == set(map(Path, wanted.attack_tables))
    options = parse(CheckOptions, shlex.split(f"--train a --truth b --manifest c --templates d --out e {wanted.check_flags()}"))
    assert (options.image_size, options.crop_area, options.roots) == (32, 0.4, ("results", "data"))


@pytest.mark.parametrize(("start", "control"), [("clean/clip", True), ("targeted/clip", True), ("patch/clip", False)])
def test_what_starts_from_a_model_of_such_an_attack_is_no_control(start, control):
    tuned = {"train": {"kind": "clip", "start_from": start, "epochs": 2}}
    changes = {"attacks": ["clean", "patch", "targeted"], "defences": ["clip", "tuned"], "defence": {"tuned": tuned}}
    plan = made(changes).plan
    assert ("attack-patch" in evaluation_sets(plan, "clean", "tuned", 10)) == control
    assert "attack-patch" in evaluation_sets(plan, "patch", "tuned", 10)
    assert "attack-patch" in evaluation_sets(plan, "clean", "clip", 10), "which starts from nothing"
    on_target = "attack-targeted" in evaluation_sets(plan, "clean", "tuned", 10)
    assert on_target == (start != "targeted/clip")
