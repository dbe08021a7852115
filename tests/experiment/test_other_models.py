"""Recipes of other models than `train.model`: weights that are given, their repair, and what starts from them."""

import json

import pytest

from roclip.core.errors import UserError
from tests.fixtures.targets import given, job, targets
from tests.fixtures.trainings import TRANSFORMER

WEIGHTS = "config/test.yaml"  # any file that is there
THEIRS = {"kind": "given", "weights": WEIGHTS, "pixels": "none"}


@pytest.fixture
def other(tmp_path):
    """The file of another model that takes images of 32 pixels."""
    path = tmp_path / "other.json"
    path.write_text(json.dumps(TRANSFORMER))
    return str(path)


def with_recipes(**recipes):
    data = {"held_out": 500}  # for repairs
    names = ["clip", *recipes]
    return {"experiment": "x", "attacks": ["patch"], "defences": names, "seeds": [3], "defence": recipes, "data": data}


def test_a_recipe_s_model_and_pixels_are_told_to_its_training_and_its_repair(other):
    theirs = {"train": THEIRS | {"model": other}}
    wanted = targets(with_recipes(theirs=theirs, cleaned=theirs | {"repair": {"kind": "finetune", "clean_pairs": 500}}))
    repair = wanted.plan.models["cleaned"]
    assert (repair.stage, repair.start_from) == ("repair", "theirs")
    for step in ("theirs", "cleaned"):
        flags = given(wanted.train_flags(job(step=step)))
        assert (flags["model"], flags["pixels"]) == ([other], ["none"])
        assert other in wanted.files_of_step(job(step=step))
    usual = given(wanted.train_flags(job(step="clip")))
    assert (usual["model"], usual["pixels"]) == ([wanted.config["train"]["model"]], ["model"])
    assert other not in wanted.files_of_step(job(step="clip"))


def test_steps_of_different_models_are_different_steps(other):
    recipes = {"a": {"train": THEIRS}, "b": {"train": THEIRS | {"model": other}}, "c": {"train": THEIRS | {"pixels": "model"}}}
    plan = targets(with_recipes(**recipes)).plan
    assert len({json.dumps(plan.models[name].settings) for name in recipes}) == 3


def test_a_folder_as_open_clip_publishes_models_says_itself_of_which_model_it_is(tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": TRANSFORMER}))
    published = {"kind": "given", "weights": str(folder)}
    recipes = {"a": {"train": published}, "b": {"train": published | {"model": "config/models/small.json"}}}
    wanted = targets(with_recipes(**recipes))
    assert wanted.plan.towers_of("a") == {"model": str(folder), "pixels": "model"}
    assert wanted.files_of_step(job(step="a")) == [f"{folder}/open_clip_config.json", str(folder)]
    assert wanted.plan.towers_of("b")["model"] == "config/models/small.json"


def test_a_training_starts_from_a_recipe_of_its_own_model_alone(other):
    theirs = {"train": THEIRS | {"model": other}}
    start = {"kind": "clip", "start_from": "theirs", "model": other, "pixels": "none"}
    wanted = targets(with_recipes(theirs=theirs, tuned={"train": start}))
    assert given(wanted.train_flags(job(step="tuned")))["start_from"] == ["results/x/models/patch/theirs/seed3/weights"]
    for key, value in (("model", "config/models/small.json"), ("pixels", "model")):
        with pytest.raises(
            UserError, match=rf"^defence\.tuned\.train\.{key}: {value}, but 'theirs', from which it starts, has"
        ):
            targets(with_recipes(theirs=theirs, tuned={"train": start | {key: value}}))


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"model": "RN50"}, r"model: RN50 takes images of 224 pixels, and train\.model of 32, on which triggers are put"),
        ({"model": "RN5O"}, "model: 'RN5O' is neither the name of an open_clip model nor a .json file, nor a folder"),
        ({"model": "hf-hub:a/b"}, "model: 'hf-hub:a/b' is on a hub, and nothing is downloaded: get the folder by hand"),
        ({"model": "config"}, "model: config: no open_clip_config.json in this folder"),
        ({"model": "ViTamin-B"}, "model: ViTamin-B has 'custom_text', which makes it another model than a plain CLIP"),
        ({"weights": "hf-hub:a/b"}, "weights: 'hf-hub:a/b' is on a hub, and nothing is downloaded: get the folder by hand"),
        ({"weights": "gone.pt"}, "weights: 'gone.pt' is not there"),
        ({"pixels": "clip"}, r"pixels: 'clip' is not one of \['model', 'none'\]"),
    ],
)
def test_a_model_that_cannot_be_judged_is_one_line_that_names_the_recipe(train, message):
    with pytest.raises(UserError, match=rf"^defence\.theirs\.train\.{message}") as caught:
        targets(with_recipes(theirs={"train": THEIRS | train}))
    assert "\n" not in str(caught.value)
