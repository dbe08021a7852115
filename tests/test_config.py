"""One name a setting: config key, schema property, dataclass field. A mistake is one line that names the key."""

import copy
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from attacks.backdoor import BackdoorOptions
from attacks.poisoned import AttackOptions
from attacks.targeted import TargetedOptions
from roclip.config import check
from roclip.errors import UserError
from roclip.train import TrainOptions
from tests.conftest import ROOT

SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())


def fields(options_class) -> set[str]:
    return {field.name for field in dataclasses.fields(options_class)}


def changed(key: str, value) -> dict:
    config = copy.deepcopy(CONFIG)
    *sections, last = key.split(".")
    place = config
    for section in sections:
        place = place[section]
    place[last] = value
    return config


def test_the_default_config_is_legal_and_complete():
    check(CONFIG, SCHEMA)
    schema = yaml.safe_load(SCHEMA.read_text())
    assert set(CONFIG) == set(schema["properties"])
    for section in ("data", "train"):
        assert set(CONFIG[section]) == set(schema["properties"][section]["properties"])


def test_every_property_has_a_description():
    def walk(node, name):
        if isinstance(node, dict):
            for key, value in node.get("properties", {}).items():
                assert value == {} or {"description", "const", "properties", "$ref"} & set(value), f"{name}.{key}"
                walk(value, f"{name}.{key}")
            for key, value in node.items():
                if key != "properties":
                    walk(value, name)

    walk(yaml.safe_load(SCHEMA.read_text()), "config")


def test_train_and_method_keys_are_the_fields_of_train_options():
    given_by_rule = {"pairs", "targets", "validation", "classes", "templates", "out", "seed", "max_bad_fraction"}
    assert set(CONFIG["train"]) | set(CONFIG["method"]["roclip"]) == fields(TrainOptions) - given_by_rule


@pytest.mark.parametrize(
    ("name", "options_class"), [("clean", AttackOptions), ("targeted", TargetedOptions), ("patch", BackdoorOptions)]
)
def test_attack_keys_are_the_fields_of_their_options(name, options_class):
    assert set(CONFIG["attack"][name]) - {"kind"} == fields(options_class) - fields(AttackOptions)


@pytest.mark.parametrize("path", sorted(ROOT.glob("config/*.yaml")), ids=lambda path: path.stem)
def test_every_config_is_legal_on_top_of_the_default(path):
    def merge(base, extra):
        for key, value in extra.items():
            if isinstance(value, dict) and isinstance(base.get(key), dict):
                merge(base[key], value)
            else:
                base[key] = value
        return base

    check(merge(copy.deepcopy(CONFIG), yaml.safe_load(path.read_text())), SCHEMA)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.epoch", 8, "train.epoch: unknown key; legal here: batch_size, beta1"),
        ("colour", 1, "colour: unknown key; legal here: attack, attacks"),
        ("method.roclip.match", 1, "method.roclip.match: unknown key"),
        ("attack.patch.targets", 1, "attack.patch.targets: unknown key"),
        ("train.epochs", "8", "train.epochs: '8' is not of type 'integer'"),
        ("train.epochs", 0, "train.epochs: 0 is less than the minimum of 1"),
        ("train.precision", "fp8", r"train.precision: 'fp8' is not one of \['bf16', 'float32'\]"),
        ("attacks", ["targeted", "sneaky"], "attacks: 'sneaky' is not defined under 'attack'; defined are clean, targeted"),
        ("methods", [], "methods: "),
        ("seeds", [1, 1], "seeds: "),
        ("method.roclip.pool_size", 40001, "method.roclip.pool_size: 40001 is more than the 40000 training pairs"),
        ("train.batch_size", 50000, "train.batch_size: 50000 is more than the 40000 training pairs"),
        ("method.roclip.match_every", 9, "method.roclip.match_every: 9 is more than the 8 epochs"),
        ("train.warmup_steps", 10**6, "train.warmup_steps: 1000000 is not less than"),
        ("attack.patch.target_class", "dragon", "attack.patch.target_class: 'dragon' is not in config/scenes/classes.txt"),
        ("attack.patch.patch_size", 0.001, "attack.patch.patch_size: .* is less than a pixel"),
        ("attack.patch.image_size", 64, "attack.patch.image_size: 64 is not the 32"),
        ("attack.targeted.targets", 51, "attack.targeted.targets: 51 is more than the 50 classes"),
        ("attack.targeted.captions_per_target", 0, "attack.targeted.captions_per_target: 0 is less than the minimum of 1"),
        ("train.model", "config/models/absent.json", "train.model: config/models/absent.json: no such file"),
        ("data.url_list", "absent.tsv", "absent.tsv: no such file"),
        ("data.classes", "absent.txt", "absent.txt: no such file"),
        ("data.max_bad_fraction", 2, "data.max_bad_fraction: 2 is greater than the maximum of 1"),
        ("experiment", "../up", "experiment: "),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(key, value, message):
    with pytest.raises(UserError, match=message) as caught:
        check(changed(key, value), SCHEMA)
    assert "\n" not in str(caught.value)


def test_the_workflow_shows_it_without_a_traceback_and_starts_no_job():
    snakemake = str(Path(sys.executable).parent / "snakemake")
    done = subprocess.run([snakemake, "--cores", "1", "--config", "train={pool: 1}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "config: train.pool: unknown key" in done.stderr
    assert "Traceback" not in done.stderr
    assert "rule" not in done.stdout + done.stderr.replace("workflow/rules", "")
