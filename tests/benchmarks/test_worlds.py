"""Photographs made ready for trainings side by side, and those trainings, on a CPU with made-up archives."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import worlds
from benchmarks.many import COLUMNS, recipes
from roclip.core.columns import PAIRS
from roclip.core.files import read_table
from tests.conftest import ROOT
from tests.fixtures import photographs
from tests.fixtures.made_up import CLASSES


def run(module: str, *words: str | Path) -> None:
    subprocess.run([sys.executable, "-m", f"benchmarks.{module}", *map(str, words)], cwd=ROOT, check=True, timeout=300)


@pytest.fixture(scope="module", params=["cifar100", "flickr8k"])
def made(request, tmp_path_factory):
    """A set and the folder of its worlds, of one seed."""
    folder = tmp_path_factory.mktemp(request.param)
    photographs.write(request.param, folder / "set.tar.gz")
    words = ["--seeds", "20", "--captions", "1", "2", "--targets", "2", "--epochs", "2", "--processes", "1"]
    run("worlds", request.param, "--archive", folder / "set.tar.gz", "--out", folder / "worlds", *words)
    return request.param, folder / "worlds"


def test_classes_are_those_that_captions_name(made):
    """Against a search for each word of each caption."""
    kind, folder = made
    found = np.load(folder / "targeted2_seed20.npz")
    pairs = read_table(folder / "attacks/targeted_2_2_seed20/train.csv", tuple(PAIRS))[: -2 * 2]
    named = [[name for name in CLASSES if name in row["caption"].split()] for row in pairs]
    assert {len(names) for names in named} == ({1} if kind == "cifar100" else {0, 1, 2})
    says = [CLASSES.index(names[0]) if len(names) == 1 else -1 for names in named]
    assert found["caption_class"][: len(pairs)].tolist() == says
    of_image: dict[str, set[str]] = {}
    for row, names in zip(pairs, named, strict=True):
        of_image.setdefault(row["path"], set()).update(names)
    shows = [CLASSES.index(*of_image[row["path"]]) if len(of_image[row["path"]]) == 1 else -1 for row in pairs]
    assert found["image_class"][: len(pairs)].tolist() == shows
    assert found["is_poison"].tolist() == [False] * len(pairs) + [True] * 4


def test_an_image_is_kept_once_and_captions_have_room(made):
    kind, folder = made
    train, captions = photographs.TRAIN[kind], 5 if kind == "flickr8k" else 1
    images = train + photographs.SPLITS["validation"] + photographs.SPLITS["test"]
    assert np.load(folder / "images.npy").shape == (images, 3, 32, 32)
    tokens = np.load(folder / "tokens_seed20.npy")
    assert tokens.shape == (3, train * captions, 32 if kind == "flickr8k" else 16)
    found = np.load(folder / "targeted1_seed20.npz")
    first = found["image_of"][: train * captions].reshape(-1, captions)
    assert (first == first[:, :1]).all()
    assert len(np.unique(first)) == train
    assert found["image_of"].max() < images


@pytest.mark.slow
@pytest.mark.parametrize("made", ["flickr8k"], indirect=True)  # `make rehearse` trains on both
def test_every_recipe_is_trained_on_every_attack(made):
    kind, folder = made
    words = ["--worlds", folder, "--seeds", "20", "--seconds", "200", "--epochs", "2", "--batch", "80", "--device", "cpu"]
    run("many", kind, *words, "--out", folder / "rows.csv")
    rows = read_table(folder / "rows.csv", COLUMNS)
    expected = {(attack, recipe) for attack in ("targeted1", "targeted2", "clean") for recipe in recipes(kind, attack, 2)}
    last = {(row["attack"], row["recipe"]): row for row in rows if row["epoch"] == row["epochs"]}
    assert last.keys() == expected
    assert {recipe for _, recipe in expected} >= {"clip", "clip_augmented", "half", "roclip"}
    drawn = last["targeted1", "roclip"]
    known = (np.load(folder / "targeted1_seed20.npz")["image_class"] >= 0).sum()
    assert int(drawn["clean"]) + int(drawn["poison"]) <= known
    assert int(drawn["drawn"]) > known


def test_the_only_one():
    assert worlds.only([]) == worlds.only(["dog", "cat"]) == ""
    assert worlds.only(["dog", "dog"]) == "dog"
