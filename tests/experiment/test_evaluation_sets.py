"""What an attack that is judged on captions, pairs, and the check of an attack ask of the workflow."""

import shlex
from dataclasses import replace
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


def job(attack="patch", name="own"):
    return SimpleNamespace(set=name, attack=attack, defence="clip", seed="10")


def encoded(wanted, **which):
    """The options of a job that encodes, its words as files by their sets."""
    options = parse(EncodeOptions, shlex.split(f"--weights w --out o {wanted.encode_flags(job(**which))}"))
    words = {flag: getattr(options, flag) for flag in ("test", "probe", "captions")}
    return {flag: dict(word.split("=") for word in its) for flag, its in words.items()}, options


def test_each_set_has_the_measures_that_are_for_it(wanted):
    both = {("own", "zero_shot.json"), ("own", "linear_probe.json"), ("pairs", "retrieval.json")}
    for attack, success in (("patch", "attack_success.json"), ("text_trigger", "retrieval_success.json")):
        of = {tuple(Path(path).parts[-2:]) for path in wanted.measures_of(attack, "clip", 10)}
        assert of == {*both, (f"attack-{attack}", success)}


def test_captions_are_looked_up_among_the_test_images(wanted):
    files, _ = encoded(wanted, attack="text_trigger")
    name, data = "attack-text_trigger", "results/x/data"
    assert files["test"] == {"own": f"{data}/test.csv", name: f"{data}/test.csv", "pairs": f"{data}/validation.csv"}
    assert files["captions"][name] == "results/x/attacks/text_trigger/seed10/targets.csv"
    records = {Path(path).name for path in wanted.evaluation_set(name, "10").values() if path.endswith(".json")}
    assert records == {"attack.record.json", "download.record.json"}


def test_pairs_are_looked_up_among_themselves(wanted):
    files, _ = encoded(wanted)
    assert files["captions"] == {"pairs": files["test"]["pairs"]} == {"pairs": "results/x/data/validation.csv"}


def test_only_our_own_images_have_probe_images_beside_downstream_sets(wanted):
    files, _ = encoded(wanted)
    assert files["probe"] == {"own": "results/x/data/probe.csv"}
    assert files["test"]["attack-patch"] == "results/x/attacks/patch/seed10/targets.csv"


def test_a_job_encodes_a_downstream_set_or_all_the_others_and_waits_for_what_it_reads(tmp_path):
    for folder in ("train", "test"):
        (tmp_path / "cifar-10-batches-py" / folder).mkdir(parents=True)
    wanted = made({**CHANGES, "downstream": {"root": str(tmp_path)}})
    wanted = Targets(wanted.config, replace(wanted.plan, sets=["cifar10"]), "results/x", Path(), [], {})
    jobs = {}
    for name in ("own", "cifar10"):
        files, options = encoded(wanted, name=name)
        jobs[name] = set(files["test"])
        read = {path for its in files.values() for path in its.values()} | {str(options.classes), str(options.templates)}
        inputs = wanted.encode_inputs(job(name=name))
        assert {path for path in inputs if not path.endswith(".record.json")} == read
        assert all(wanted.features(job(name=each)) == wanted.features(job(name=name)) for each in files["test"])
    assert jobs == {"own": {"own", "pairs", "attack-patch"}, "cifar10": {"cifar10"}}
    assert wanted.features(job(name="own")) != wanted.features(job(name="cifar10"))
    assert set().union(*jobs.values()) == set(evaluation_sets(wanted.plan, "patch", "clip", 10))


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
