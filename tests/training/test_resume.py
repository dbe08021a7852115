"""A training that was stopped is resumed and ends with the same weights; what does not belong to it is passed over."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from roclip.core.errors import ComeBack, UserError
from roclip.core.files import sha256
from roclip.core.provenance import fingerprint
from roclip.defences.roclip import RoCLIP
from roclip.model import towers
from roclip.model.start_weights import latest
from roclip.training import run as running
from roclip.training import train
from roclip.training.identity import identity
from roclip.training.resume import KEPT, OTHERS, States
from tests.conftest import ROOT
from tests.fixtures.trainings import command, options, outputs, resumed, states

STEPS = 8  # of an epoch; the second one matches


def eight_steps(few, scenes, out, **changes):
    return options(few, scenes, out, batch_size=16, **changes)


@pytest.fixture(scope="module")
def undisturbed(few, scenes, tmp_path_factory):
    o = eight_steps(few, scenes, tmp_path_factory.mktemp("undisturbed"))
    train.run(o)
    return outputs(o.out)


def test_the_weights_of_every_epoch_are_kept_through_stops_and_change_nothing(few, scenes, tmp_path, monkeypatch):
    """The first two epochs and the last one are of plain CLIP, the third one matches."""
    last = eight_steps(few, scenes, tmp_path / "last", epochs=4, match_every=3)
    every = dataclasses.replace(last, out=tmp_path / "every", keep_weights="every_epoch")
    train.run(last)
    resumed(monkeypatch, lambda: train.run(every), STEPS + 3, 3 * STEPS)
    names = ("epoch_1", "epoch_2", "last_clip", "last_matching")
    found = outputs(every.out)
    assert sorted(name for name in found if name.startswith("weights/")) == [f"weights/{name}.safetensors" for name in names]
    records = {name: towers.load(every.out / f"weights/{name}.safetensors")[1] for name in names}
    assert [record["epoch"] for record in records.values()] == [1, 2, 4, 3]
    assert {name: content for name, content in found.items() if "epoch_" not in name} == outputs(last.out)
    assert len({content["logit_scale"] for name, content in found.items() if name.startswith("weights/")}) == 4
    assert sorted(towers.load_all(every.out / "weights")) == ["last_clip", "last_matching"]
    assert latest(every.out / "weights").stem == "last_clip"


@pytest.mark.parametrize("stops", [[3, STEPS], [STEPS + 3, 2 * STEPS - 1], [2 * STEPS]])
def test_a_stopped_training_ends_with_the_same_outputs(few, scenes, tmp_path, undisturbed, monkeypatch, stops):
    o = eight_steps(few, scenes, tmp_path)

    def run() -> None:
        assert not (o.out / "history.csv").exists()
        train.run(o)

    resumed(monkeypatch, run, *stops)
    assert outputs(o.out) == undisturbed
    assert not (o.out / "state").exists()


def test_a_training_stopped_after_its_last_step_publishes_later(few, scenes, tmp_path, undisturbed, monkeypatch):
    o = eight_steps(few, scenes, tmp_path)
    save = running.save

    def told_to_stop(training, epoch, states):
        save(training, epoch, states)
        if epoch == o.epochs:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as context:
        context.setattr(running, "save", told_to_stop)
        with pytest.raises(ComeBack, match=f"stopped after epoch {o.epochs} and saved"):
            train.run(o)
    assert not (o.out / "history.csv").exists()
    train.run(o)
    assert outputs(o.out) == undisturbed


def test_a_training_that_is_killed_as_it_publishes_publishes_again(few, scenes, tmp_path, undisturbed, monkeypatch):
    o = eight_steps(few, scenes, tmp_path)
    with monkeypatch.context() as context:
        context.setattr(States, "remove", lambda states: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train.run(o)
    for path in o.out.iterdir():  # as the workflow does with what a job declares, before it starts one again
        if path.name != "state":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    train.run(o)
    assert outputs(o.out) == undisturbed


def test_no_state_outlives_the_weights_beside_it(tmp_path, monkeypatch):
    """A kill between two removals at the end of a training: what is left is published anew whole, or trained anew."""
    states, left = States(tmp_path / "state", MINE), []
    for step in (1, 2):
        states.save(step, *state(step))
    for name in ("last_clip", "epoch_1"):
        (states.folder / f"{name}.safetensors").write_bytes(b"weights")
    remove = os.unlink

    def unlink(*arguments, **named):
        remove(*arguments, **named)
        left.append((len(states.files()), len(states.weights())))

    monkeypatch.setattr(os, "unlink", unlink)
    states.remove()
    assert len(left) == 4
    assert all(weights == 2 for count, weights in left if count)


def test_weights_without_a_state_are_not_published(few, scenes, tmp_path):
    o = eight_steps(few, scenes, tmp_path)
    known = identity(o, towers.Runtime(torch.device("cpu"), bf16=False), RoCLIP.__module__, train.__name__)
    for parts in (known, MINE):
        weights = States(o.out / "state", parts).folder
        weights.mkdir(parents=True)
        for name in ("last_old", "epoch_1"):
            (weights / f"{name}.safetensors").write_bytes(b"of an earlier training that was killed")
    train.run(o)
    names = [path.name for path in sorted((o.out / "weights").iterdir())]
    assert names == ["last_clip.safetensors", "last_matching.safetensors"]


@pytest.mark.slow
def test_sigterm_saves_and_says_come_back(few, scenes, tmp_path, undisturbed):
    o = eight_steps(few, scenes, tmp_path, epochs=40)
    words = [sys.executable, *command(o)]
    process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not states(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    told = time.monotonic()
    process.terminate()
    _, said = process.communicate(timeout=20)
    assert time.monotonic() - told < 10  # 2 s on a quiet machine
    assert process.returncode == os.EX_TEMPFAIL
    assert "start it again to resume" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("where", ["measuring", "loading"])
def test_told_to_stop_outside_of_the_steps_it_ends_at_once(few, scenes, tmp_path, undisturbed, monkeypatch, where):
    """And what was trained is there: of an epoch that was not measured yet, too."""
    o = eight_steps(few, scenes, tmp_path)

    def stop(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        raise AssertionError("went on")

    with monkeypatch.context() as context:
        if where == "measuring":
            context.setattr("roclip.training.monitor.Measurement.measure", stop)
        else:
            context.setattr("roclip.data.images.Intake.load", stop)
        started = time.monotonic()
        with pytest.raises(ComeBack, match="stopped; start it again to resume"):
            train.run(o)
        assert time.monotonic() - started < 9
    assert states(o.out) == ([f"step{STEPS:09d}.safetensors"] if where == "measuring" else [])
    train.run(o)
    assert outputs(o.out) == undisturbed


MINE = {"the seed": "3"}


def state(step: int) -> tuple[dict, dict]:
    return {"a": torch.arange(step), "flag": torch.tensor([True]), "one": torch.tensor(1.5)}, {"step": step}


def test_tensors_that_share_memory_are_saved_each(tmp_path):
    """A defence may keep views of one tensor, or two names of it."""
    tensor = torch.arange(6.0)
    states = States(tmp_path, MINE)
    states.save(1, {"whole": tensor, "again": tensor, "half": tensor[3:]}, {})
    saved = states.newest().tensors
    assert {name: each.tolist() for name, each in saved.items()} == {
        "whole": tensor.tolist(), "again": tensor.tolist(), "half": [3, 4, 5],
    }  # fmt: skip


def test_the_newest_whole_state_counts(tmp_path):
    states = States(tmp_path, MINE)
    for step in range(1, KEPT + 2):
        states.save(step, *state(step))
    assert len(states.files()) == KEPT
    newest = states.newest()
    assert (newest.step, newest.record, newest.identity) == (KEPT + 1, {"step": KEPT + 1}, MINE)
    assert torch.equal(newest.tensors["a"], torch.arange(KEPT + 1))
    assert newest.tensors["flag"].item() is True
    content = bytearray(newest.path.read_bytes())
    content[-3] ^= 1  # a bit of the last tensor
    newest.path.write_bytes(content)
    assert states.newest().record == {"step": KEPT}
    states.files()[0].write_bytes(b"cut short")
    assert states.newest() is None
    assert states.files() == []  # what is damaged is of no use


def test_states_of_something_else_stay_where_they_are_unless_too_many_are_further(tmp_path):
    others = [States(tmp_path, {"rate": str(step)}) for step in range(1, OTHERS + 3)]
    for step, other in enumerate(others, 1):
        other.save(step, *state(step))
        (other.folder / "last_clip.safetensors").write_bytes(b"weights")
    mine = States(tmp_path, MINE)
    assert mine.newest() is None
    assert mine.others() == [other.folder for other in reversed(others)]
    assert mine.bytes_of_others() == sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    mine.forget()
    assert mine.others() == [other.folder for other in reversed(others[2:])]
    mine.save(1, *state(1))
    assert [path.name for path in mine.weights()] == []
    others[-1].files()[0].write_bytes(b"cut short")
    assert mine.newest(others[-1].folder) is None
    assert len(others[-1].files()) == 1  # no business of this one's
    mine.remove()
    assert not tmp_path.exists()


def test_two_trainings_do_not_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("roclip.training.resume.PATIENCE", 0.3)
    with (
        States(tmp_path, MINE).locked(),
        pytest.raises(UserError, match="another process is training this model"),
        States(tmp_path, MINE).locked(),
    ):
        pass
    with States(tmp_path, MINE).locked():  # free again
        pass


def test_a_training_that_is_about_to_end_is_waited_for(tmp_path):
    first, second = States(tmp_path / "state", MINE), States(tmp_path / "state", MINE)
    first.folder.mkdir(parents=True)
    (first.folder / ".step1.17.part.safetensors").write_bytes(b"of one that was killed")

    def next_one() -> None:
        with second.locked():
            second.save(2, *state(2))

    with ThreadPoolExecutor() as pool:
        with first.locked():
            assert [path.name for path in first.root.rglob("*") if path.is_file()] == ["lock"]
            waiting = pool.submit(next_one)
            time.sleep(0.5)
            assert not waiting.done()
            first.remove()  # as at the end of a training
        waiting.result(10)
    assert len(second.files()) == 1


def test_a_fingerprint_is_of_the_values():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint(1.0) != fingerprint(1)
    assert sha256(ROOT / "LICENSE") != fingerprint("LICENSE")
