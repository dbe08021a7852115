"""What docs/checkpoints.md and config/finetune.yaml show can be planned."""

import copy
import re

import pytest
import yaml

from attacks import ATTACKS
from roclip.experiment.config import check
from tests.conftest import ROOT
from tests.fixtures.configs import merge, on_top

BLOCKS = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/checkpoints.md").read_text(), re.S)]
CLASSES = "banana\nmushroom\nmountain\n"
FILES = ("theirs/badnet.pt", "theirs/clip_backdoor_rn50_cc3m_badnets", "openai/RN50.pt", "imagenet/test.csv")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with what cc3m.yaml asks for, and empty files in place of weights."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "config").symlink_to(ROOT / "config")
    for name in (*FILES, "imagenet/probe.csv"):
        (folder / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "data" / name).touch()
    (folder / "data/imagenet/classes.txt").write_text(CLASSES)
    (folder / "data/imagenet/templates.txt").write_text("a photo of a {}\n")
    for name in on_top("cc3m")["data"]["url_list"].values():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("a banana\thttp://h/a\n" * 1_100_000)
    return folder


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_config_of_the_page_is_legal_on_top_of_cc3m(place, monkeypatch, number):
    monkeypatch.chdir(place)
    block = copy.deepcopy(BLOCKS[number])
    if "attacks" not in block:  # a recipe to be put into the first one
        block = merge(
            copy.deepcopy(BLOCKS[0]), block | {"defences": [*block["defence"]], "baseline": next(iter(block["defence"]))}
        )
    _, plan = check(merge(on_top("cc3m"), block), ATTACKS)
    for name, recipe in block["defence"].items():
        for key in ("model", "pixels"):
            assert plan.towers_of(name)[key] == recipe["train"].get(key, plan.towers_of(name)[key])
    assert plan.image_size == 224


def test_fine_tuning_starts_from_one_model_that_has_seen_no_poison():
    config, plan = check(on_top("finetune"), ATTACKS)
    trained = [step for step in plan.steps() if plan.models[step.split("/")[1]].stage == "train"]
    assert trained == [
        "clean/pretrained/seed10", "targeted/tuned_on_poison/seed10", "targeted/roclip_tuned_on_poison/seed10",
        "sinusoid/tuned_on_poison/seed10", "sinusoid/roclip_tuned_on_poison/seed10",
    ]  # fmt: skip
    assert plan.attack["clean"]["clean_pairs"] < config["data"]["train_scenes"]
    assert plan.models["cleanclip"].start_from == "tuned_on_poison"
    for name in ("tuned_on_poison", "roclip_tuned_on_poison"):
        assert (plan.models[name].start_attack, plan.models[name].start_from) == ("clean", "pretrained")
