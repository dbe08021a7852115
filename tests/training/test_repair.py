"""Repairs: they start from the weights of a model, see clean pairs alone, and are resumed as every training is."""

import math
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from roclip.core.columns import PAIRS
from roclip.core.errors import UserError
from roclip.core.files import read_table, write_table
from roclip.core.provenance import read_record
from roclip.defences.repair import REPAIRS
from roclip.model import towers
from roclip.training import repair
from roclip.training import run as running
from roclip.training.trainer import Training
from tests.conftest import ROOT
from tests.fixtures.skeletons import PushAway
from tests.fixtures.trainings import command, options, outputs, resumed, same
from tests.fixtures.weights import write_small


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    for name, epoch in (("last_clip", 8), ("last_matching", 7)):
        write_small(folder / f"{name}.safetensors", {"epoch": epoch})
    return folder


@pytest.fixture
def mended(few, scenes, tmp_path, trained):
    """Makes options of a repair on clean pairs: three steps of 64 an epoch."""

    def make(name: str = "repaired", **changes):
        values = {"pairs": scenes / "train.csv", "start_from": str(trained), **changes}
        return options(few, scenes, tmp_path / name, **{"kind": "finetune", "stage": repair.STAGE} | values)

    return make


def training_of(o) -> Training:
    return Training(o, REPAIRS[o.kind], repair.read(o))


def test_it_starts_from_the_latest_weights(mended, trained):
    training = training_of(mended())
    assert same(training.model.state_dict(), load_file(trained / "last_clip.safetensors"))
    training.epoch(1)
    assert not same(training.model.state_dict(), load_file(trained / "last_clip.safetensors"))


def test_a_copy_of_the_model_that_a_defence_makes_has_those_weights_after_an_interruption_too(mended, trained, monkeypatch):
    monkeypatch.setitem(REPAIRS, "push_away", PushAway)
    o = mended(kind="push_away")
    teachers, publish = [], running.publish

    def noting(training, *rest):
        teachers.append(training.defence.teacher)
        publish(training, *rest)

    monkeypatch.setattr(running, "publish", noting)
    resumed(monkeypatch, lambda: repair.run(o), 4)
    assert same(teachers[0].state_dict(), load_file(trained / "last_clip.safetensors"))
    first, second = (float(row["distance"]) for row in read_table(o.out / "history.csv", ("distance",)))
    assert 0 < first < second  # it moved away


def test_clean_pairs_are_drawn_once_each_by_seed(mended, scenes):
    first, again, other = (repair.read(mended(seed=seed)) for seed in (1, 1, 2))
    assert len(set(first.rows.tolist())) == 200
    assert first.rows.tolist() == again.rows.tolist() == sorted(first.rows)
    assert len({*first.rows} & {*other.rows}) < 120  # by chance a third of them
    table = read_table(scenes / "train.csv", tuple(PAIRS))
    assert [table[row]["path"] for row in first.rows] == first.path
    assert [table[row]["caption"] for row in first.rows] == first.caption
    assert set(first.truth["is_poison"]) == {"0"}


def test_no_image_is_seen_again(mended, few, scenes):
    trained_on = {row["path"] for row in read_table(few / "train.csv", tuple(PAIRS))}
    every = {row["path"] for row in read_table(scenes / "train.csv", tuple(PAIRS))}
    assert {*repair.read(mended(clean_pairs=len(every - trained_on))).path} == every - trained_on


def test_no_image_is_seen_again_under_another_spelling_of_its_path(mended, few, tmp_path):
    rows = read_table(few / "train.csv", tuple(PAIRS))
    folder, _, name = rows[0]["path"].rpartition("/")
    other = {**rows[0], "path": f"{folder}/./{name}"}
    write_table(tmp_path / "pairs.csv", tuple(PAIRS), [other] * 3)
    with pytest.raises(UserError, match="1 is more than the 0 pairs of"):
        repair.read(mended(pairs=tmp_path / "pairs.csv", clean_pairs=1))


def test_some_of_the_clean_pairs_may_be_poisoned(mended, few):
    poisons = [row for row, cells in enumerate(read_table(few / "truth.csv", ("is_poison",))) if cells["is_poison"] == "1"]
    table = read_table(few / "train.csv", tuple(PAIRS))
    drawn = repair.read(mended(clean_pairs=100, poisoned_pairs=3))
    assert drawn.truth["is_poison"] == ["0"] * 97 + ["1"] * 3
    among = (drawn.rows[97:] - 600).tolist()
    assert len({*among} & {*poisons}) == 3
    assert [table[row]["path"] for row in among] == drawn.path[97:]
    assert [table[row]["caption"] for row in among] == drawn.caption[97:]
    assert {*drawn.rows[:97]} <= {*repair.read(mended(clean_pairs=100)).rows}  # the others are those without poisons


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"clean_pairs": 601},
            r"repair\.clean_pairs: 601 is more than the \d+ pairs of .*train\.csv on whose images nothin",
        ),
        ({"poisoned_pairs": 99}, r"repair\.poisoned_pairs: 99 is more than the 8 poisoned pairs of .*train\.csv$"),
    ],
)
def test_more_pairs_than_there_are_is_one_line(mended, tmp_path, changes, message):
    with pytest.raises(UserError, match=f"^{message}"):
        repair.run(mended(**changes))
    assert not list(tmp_path.rglob("*.safetensors"))


def test_it_is_resumed_to_the_bit(mended, monkeypatch):
    whole, stopped = mended("whole"), mended("stopped")
    repair.run(whole)
    resumed(monkeypatch, lambda: repair.run(stopped), 1, 3, 5)
    assert outputs(stopped.out) == outputs(whole.out)


def test_the_command_writes_repair_epochs_and_their_weights(mended, few, scenes, tmp_path, trained):
    done = subprocess.run([sys.executable, *command(mended(), "repair")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "repaired"
    assert [path.name for path in (out / "weights").iterdir()] == ["last_repair.safetensors"]
    rows = read_table(out / "history.csv", ("epoch", "kind", "loss", "attack_success", "clean_cosine", "poison_cosine"))
    assert [(row["epoch"], row["kind"]) for row in rows] == [("1", "repair"), ("2", "repair")]
    assert all(math.isfinite(float(row[column])) for row in rows for column in ("loss", "attack_success", "clean_cosine"))
    assert all(math.isnan(float(row["poison_cosine"])) for row in rows)  # no pair is known to be poisoned
    model, record = towers.load(out / "weights/last_repair.safetensors")
    assert record["epoch"] == 2
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())
    inputs = read_record(out / "repair.record.json")["inputs"]
    assert {str(trained / "last_clip.safetensors"), str(scenes / "train.csv")} < inputs.keys()
