"""Trainings that start from weights, and weights that are given in place of a training."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from roclip.core.columns import HISTORY
from roclip.core.errors import UserError
from roclip.core.files import sha256
from roclip.model import towers
from roclip.training import train
from roclip.training.run import identity
from tests.conftest import ROOT
from tests.fixtures.trainings import options, same, training_of, weights
from tests.fixtures.weights import write_small


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of weights whose latest are not the last by name."""
    folder = tmp_path_factory.mktemp("trained")
    for name, epoch in (("last_clip", 2), ("last_matching", 1)):
        write_small(folder / f"{name}.safetensors", {"epoch": epoch})
    return folder


@pytest.mark.parametrize("source", ["last_matching.safetensors", ""])
def test_a_training_starts_from_a_file_or_the_latest_of_a_folder(few, scenes, tmp_path, trained, source):
    training = training_of(options(few, scenes, tmp_path, kind="clip", start_from=str(trained / source)))
    wanted = trained / (source or "last_clip.safetensors")
    assert same(training.model.state_dict(), load_file(wanted))
    training.epoch(1)
    assert not same(training.model.state_dict(), load_file(wanted))


def test_but_for_the_weights_it_is_the_training_that_it_would_be(few, scenes, tmp_path):
    """From the weights that the seed gives anyway, the same weights come about."""
    o = options(few, scenes, tmp_path / "scratch")
    training = training_of(o)
    save_file({name: tensor.contiguous() for name, tensor in training.model.state_dict().items()}, tmp_path / "w.safetensors")
    train.run(o)
    train.run(dataclasses.replace(o, start_from=str(tmp_path / "w.safetensors"), out=tmp_path / "started"))
    for name in ("last_clip", "last_matching"):
        first, second = (weights(tmp_path / f"{run}/weights/{name}.safetensors") for run in ("scratch", "started"))
        assert same(first, second)


def given(few, scenes, out, source, **changes):
    return options(few, scenes, out, kind="given", weights=str(source), **changes)


def test_given_weights_are_published_unchanged_and_take_no_step(few, scenes, tmp_path, trained):
    """Of a folder, the latest."""
    assert train.run(given(few, scenes, tmp_path, trained)) == []
    (published,) = (tmp_path / "weights").iterdir()
    assert published.name == "given.safetensors"
    assert same(load_file(published), load_file(trained / "last_clip.safetensors"))
    _, record = towers.load(published)  # as every later stage reads it
    assert record["inputs"] == {str(trained / "last_clip.safetensors"): sha256(trained / "last_clip.safetensors")}
    assert (tmp_path / "history.csv").read_text().split() == [",".join(HISTORY)]
    assert not list((tmp_path / "tables").iterdir())
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"weights", "tables", "history.csv", "pace.csv", "cosines.csv", "quarantine.csv"}


def test_given_weights_depend_on_no_seed_and_on_no_pair(few, scenes, tmp_path, trained):
    for seed, pairs in ((1, few), (2, scenes)):
        o = given(few, scenes, tmp_path / str(seed), trained / "last_clip.safetensors", seed=seed, pairs=pairs / "train.csv")
        assert train.run(o) == []
    first, second = (load_file(tmp_path / f"{seed}/weights/given.safetensors") for seed in (1, 2))
    assert same(first, second)


@pytest.mark.parametrize("kind", [kind for kind, defence in train.TRAININGS.items() if not defence.trains] + ["clip"])
def test_weights_of_another_model_are_one_line_and_nothing_is_written(few, scenes, tmp_path, trained, kind):
    config = json.loads((ROOT / "config/models/small.json").read_text())
    (tmp_path / "other.json").write_text(json.dumps(config | {"embed_dim": 64}))
    option = "start_from" if train.TRAININGS[kind].trains else "weights"
    changes = {option: str(trained), "model": str(tmp_path / "other.json")}
    with pytest.raises(UserError, match=r"last_clip\.safetensors: weights of another model: .*; set train\.model to") as caught:
        train.run(options(few, scenes, tmp_path / "out", kind=kind, **changes))
    assert "\n" not in str(caught.value)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name != "lock"]


def test_a_training_is_not_resumed_from_other_weights(few, scenes, tmp_path, trained):
    cpu = towers.Runtime(torch.device("cpu"), bf16=False)
    first = options(few, scenes, tmp_path, kind="clip", start_from=str(trained / "last_clip.safetensors"))
    before = identity(first, cpu)
    assert identity(dataclasses.replace(first, start_from=str(trained / "last_matching.safetensors")), cpu) != before
    assert identity(dataclasses.replace(first, start_from=None), cpu) != before
