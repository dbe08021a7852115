"""What a training says that it will take, it takes; and to time it changes nothing."""

import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections import namedtuple

import pytest

from roclip.core import atomic
from roclip.core.errors import UserError
from roclip.core.files import read_table
from roclip.training import estimate, train
from roclip.training import run as running
from roclip.training.estimate import check_disk, project
from tests.conftest import ROOT
from tests.fixtures.trainings import command, options, outputs, same, training_of

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def timed(monkeypatch):
    """A training of 4 steps an epoch is long enough to be timed."""
    monkeypatch.setattr(estimate, "WARM_UP", 1)
    monkeypatch.setattr(estimate, "TIMED", 3)
    monkeypatch.setattr(estimate, "WORTH", 1)


def four_steps(few, scenes, out, **changes):
    return options(few, scenes, out, batch_size=34, **changes)


@pytest.mark.parametrize("gradient", ["none", "zeros"])
def test_a_timed_training_ends_with_the_same_weights(few, scenes, tmp_path, monkeypatch, gradient):
    """With zeros for the caption tower too, whose gradients must not stay from a timed step."""
    changes = {"caption_gradient": gradient, "epochs": 3}
    train.run(four_steps(few, scenes, tmp_path / "timed", **changes))
    monkeypatch.setattr(running, "project", lambda training, epoch: None)
    train.run(four_steps(few, scenes, tmp_path / "untimed", **changes))
    assert outputs(tmp_path / "timed") == outputs(tmp_path / "untimed")


def test_in_the_middle_of_a_matching_epoch_it_is_put_back_where_it_was(few, scenes, tmp_path):
    rows, states = [], []
    for interrupted in (False, True):
        training = training_of(four_steps(few, scenes, tmp_path))
        training.epoch(1)
        run = training.steps(2)
        for _ in range(2):
            next(run)
        run.close()
        if interrupted:
            assert project(training, 2)
        rows.append(training.epoch(2))
        states.append({name: tensor.clone() for name, tensor in training.state()[0].items()})
    assert same(*states)
    assert rows[0]["loss"] == rows[1]["loss"]
    assert rows[0]["own_captions"] == rows[1]["own_captions"]


@pytest.mark.parametrize("start", [1, 3])
def test_the_time_is_that_of_steps_and_measuring(few, scenes, tmp_path, monkeypatch, start):
    """With pauses in place of arithmetic, so that other work on this machine does not matter."""
    training = training_of(four_steps(few, scenes, tmp_path, epochs=5))

    def take_step(batch, kind, rate, places):
        time.sleep(0.28 if kind == "matching" else 0.2)
        training.step, training.steps_taken = training.step + 1, training.steps_taken + 1

    monkeypatch.setattr(training, "take_step", take_step)
    monkeypatch.setattr(training.measurement, "measure", lambda model, runtime: time.sleep(0.5))
    projected = project(training, start).seconds
    started = time.perf_counter()
    for epoch in range(start, 6):
        training.epoch(epoch)
        training.measurement.measure(training.model, training.runtime)
    assert projected == pytest.approx(time.perf_counter() - started, rel=0.1)


def test_a_short_training_is_not_timed(few, scenes, tmp_path, monkeypatch):
    training = training_of(four_steps(few, scenes, tmp_path))
    monkeypatch.setattr(estimate, "WORTH", 50)
    assert project(training, 1) is None
    monkeypatch.setattr(estimate, "WORTH", 1)
    monkeypatch.setattr(estimate, "TIMED", training.steps_per_epoch + 1)
    assert project(training, 1) is None


@pytest.mark.parametrize(("kept", "epochs"), [("last", 3), ("every_epoch", 3), ("every_epoch", 8)])
def test_the_disk_is_that_of_its_fullest_moment(few, scenes, tmp_path, monkeypatch, kept, epochs):
    """Checkpoints after every step; looked at whenever a file is complete and its predecessors are not yet removed."""
    o = four_steps(few, scenes, tmp_path / "model", checkpoint_minutes=1e-9, epochs=epochs, keep_weights=kept)
    needed, peak = check_disk(training_of(o)), 0
    replace = os.replace

    def watched(source, target):
        nonlocal peak
        peak = max(peak, sum(path.stat().st_size for path in o.out.rglob("*") if path.is_file()))
        replace(source, target)

    monkeypatch.setattr(atomic.os, "replace", watched)
    train.run(o)
    assert peak == pytest.approx(needed, rel=0.1)


def test_without_the_disk_it_does_not_begin(few, scenes, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12, 3_000_000))
    with pytest.raises(UserError, match=r"weights and states need 0\.\d\d GB, and 0\.00 GB are free; make room"):
        train.run(four_steps(few, scenes, tmp_path))
    assert not list(tmp_path.rglob("*.safetensors"))


def test_without_the_memory_it_does_not_begin(few, scenes, tmp_path, monkeypatch):
    memory = namedtuple("memory", "available")
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory(1000))
    with pytest.raises(UserError, match=r"train\.images: memory needs 0\.0 GB for 136 images of 32 pixels, and .* use files"):
        training_of(four_steps(few, scenes, tmp_path))


@pytest.mark.parametrize("images", ["memory", "files"])
def test_the_memory_is_that_of_the_whole_run(few, scenes, tmp_path, images):
    code = "import sys, roclip_command; from roclip.training import estimate; "
    code += "estimate.WORTH = 0; estimate.TIMED = 4; roclip_command.main(sys.argv[1:])"
    _, _, *words = command(four_steps(few, scenes, tmp_path, images=images))
    process = subprocess.Popen([sys.executable, "-c", code, *words], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0, said
    projected = float(re.search(r"at its peak ([\d.]+) GB of memory", said)[1])
    assert projected == pytest.approx(used.ru_maxrss * 1024 / 1e9, rel=0.1)


def test_training_from_files_gives_the_same_for_any_number_of_workers(few, scenes, tmp_path):
    for workers in (0, 2):
        train.run(options(few, scenes, tmp_path / str(workers), images="files", workers=workers))
    assert outputs(tmp_path / "0") == outputs(tmp_path / "2")
    assert all(math.isfinite(float(row["loss"])) for row in read_table(tmp_path / "0/history.csv", ("loss",)))
