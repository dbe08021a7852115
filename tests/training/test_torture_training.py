"""A training that is killed at random, whose files fail at every write, flush and rename, or whose disk fills, loses nothing.

Short here; `make torture` kills 50 times and writes benchmarks/torture_training.csv.
"""

import errno
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import save_file

from roclip.core import atomic
from roclip.core.errors import UserError
from roclip.core.files import sha256, write_table
from roclip.training import resume, train
from roclip.training import run as running
from roclip.training.resume import States
from roclip.training.trainer import Training
from tests.conftest import ROOT
from tests.fixtures.killed_training import PHASES
from tests.fixtures.trainings import command, options, outputs, states

pytestmark = pytest.mark.slow


def start(o, phase_file: Path) -> subprocess.Popen:
    _, _, _, *flags = command(o)
    words = [sys.executable, "-m", "tests.fixtures.killed_training", *flags]
    environment = os.environ | {"PHASE_FILE": str(phase_file)}
    return subprocess.Popen(words, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def kill_in(process: subprocess.Popen, phase_file: Path, phase: str, after: float) -> str | None:
    """SIGKILL once `phase` is at work and `after` seconds went by; where it then was, None when it had ended before."""
    while process.poll() is None:
        if phase_file.exists() and phase_file.read_text().strip() == phase:
            time.sleep(after)
            process.kill()
            process.communicate()
            return phase_file.read_text().strip() if process.returncode < 0 else None
        time.sleep(0.0005)
    return None


def test_killed_at_random_it_ends_with_the_same_weights(few, scenes, tmp_path, torture):
    """As often in each part; the next one starts where the last one was killed, and so on to the end."""
    kills, random = 50 if torture else 6, Random(0)
    o = options(few, scenes, tmp_path / "model", batch_size=16, epochs=4, checkpoint_minutes=0.02)  # 1.2 s
    train.run(o)
    whole = o.out.rename(tmp_path / "whole")
    hit, started = Counter(), time.monotonic()
    phase_file, count = tmp_path / "phase", 0
    while count < kills:
        phase_file.unlink(missing_ok=True)
        process = start(o, phase_file)
        # publishing is the end: a training that is killed there is done but for that, and is begun anew for the kills to come
        where = kill_in(process, phase_file, PHASES[count % len(PHASES)], random.random() * 0.05)
        if where is None:
            assert process.returncode == 0, process.stderr.read()
            assert outputs(o.out) == outputs(whole)
            shutil.rmtree(o.out)
            continue
        hit[where] += 1
        count += 1
        for path in (o.out / "state").glob("*/step*"):
            assert path.stat().st_size > 0
    last = subprocess.run([sys.executable, *command(o)], cwd=ROOT, capture_output=True, text=True)
    assert last.returncode == 0, last.stderr
    for path in whole.rglob("*"):
        if path.is_file() and path.name != "pace.csv":
            assert sha256(o.out / path.relative_to(whole)) == sha256(path), path
    if torture:
        row = {"kills": kills, "seconds": round(time.monotonic() - started), "equal": "yes"} | {p: hit[p] for p in PHASES}
        write_table(ROOT / "benchmarks/torture_training.csv", tuple(row), [row])


def state(step: int) -> tuple[dict, dict]:
    return {"a": torch.full((5000,), float(step))}, {"step": step}


MINE = {"the seed": "3"}
FAULTS = (errno.EIO, errno.ENOSPC, errno.EACCES)


class Power(BaseException):
    """The power goes: nothing after it runs, no clean-up either."""


@pytest.mark.parametrize("fault", [*FAULTS, Power], ids=["EIO", "ENOSPC", "EACCES", "power"])
def test_a_fault_at_every_call_of_a_save_leaves_a_loadable_state(tmp_path, monkeypatch, fault):
    """Counted first: then each write, flush, rename and removal of a save fails in turn, in a folder of its own."""
    real = {"fsync": os.fsync, "replace": os.replace, "save": save_file, "unlink": Path.unlink, "open": os.open}
    counter = {"left": -1, "made": 0}

    def failing(name):
        def call(*arguments, **named):
            counter["made"] += 1
            if counter["left"] == 0:
                counter["left"] = -2  # once
                if name == "save":  # part of it was written
                    real["save"](*arguments, **named)
                    path = Path(arguments[1])
                    os.truncate(path, path.stat().st_size // 2)
                if fault is Power:
                    counter["left"] = 0  # and for good
                    raise Power
                raise OSError(fault, os.strerror(fault))
            if counter["left"] > 0:
                counter["left"] -= 1
            return real[name](*arguments, **named)

        return call

    def save_twice(folder: Path) -> None:
        states = States(folder, MINE)
        for step in (1, 2, 3):
            states.save(step, *state(step))
        with monkeypatch.context() as context:
            context.setattr(atomic.os, "fsync", failing("fsync"))
            context.setattr(atomic.os, "replace", failing("replace"))
            context.setattr(atomic.os, "open", failing("open"))
            context.setattr(resume, "save_file", failing("save"))
            context.setattr(Path, "unlink", failing("unlink"))
            states.save(4, *state(4))

    save_twice(tmp_path / "whole")
    total = counter["made"]
    assert total >= 7  # write, open and flush twice, rename, two removals
    survived, said = Counter(), []
    for call in range(total):
        counter["left"], folder = call, tmp_path / str(call)
        with pytest.raises((OSError, UserError, Power)) as caught:
            save_twice(folder)
        said.append(str(caught.value))
        counter["left"] = -1
        newest = States(folder, MINE).newest()
        assert newest.record == {"step": newest.step}
        assert newest.step in (3, 4)
        assert torch.equal(newest.tensors["a"], state(newest.step)[0]["a"])
        survived[newest.step] += 1
        if fault is not Power:  # no half-written file stays
            assert not [path for path in folder.rglob("*") if ".part" in path.name] or call >= total - 2
    assert min(survived[3], survived[4]) > 0
    if fault == errno.ENOSPC:
        path = States(tmp_path / "0", MINE).folder / "step000000004.safetensors"
        assert f"{path}: the disk is full: 20000 bytes are needed" in said[0]


def test_a_flipped_bit_anywhere_in_the_newest_state_is_found(tmp_path):
    states = States(tmp_path, MINE)
    for step in (1, 2):
        states.save(step, *state(step))
    newest = states.files()[0]
    whole, random = newest.read_bytes(), Random(0)
    for place in [
        0,
        8,
        9,
        20,
        whole.index(b'"step'),
        whole.index(b"the seed"),
        *(random.randrange(len(whole)) for _ in range(60)),
    ]:
        content = bytearray(whole)
        content[place] ^= 1 << random.randrange(8)
        newest.write_bytes(content)
        assert states.newest().record == {"step": 1}, place


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 150 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=150m", "tmpfs", folder], capture_output=True)
    if done.returncode:
        pytest.skip("to mount a small disk one must be root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_fills_in_the_middle_loses_nothing(few, scenes, tmp_path, small_disk, monkeypatch):
    o = options(few, scenes, small_disk / "model", batch_size=16, checkpoint_minutes=1e-9)
    whole = options(few, scenes, tmp_path / "whole", batch_size=16)
    train.run(whole)
    needed = sum(path.stat().st_size for path in (tmp_path / "whole").rglob("*.safetensors"))
    assert needed < 30_000_000
    (small_disk / "other").write_bytes(bytes(80_000_000))
    with pytest.raises(UserError, match=r"weights and states need 0\.\d\d GB, and 0\.0\d GB are free; make room"):
        train.run(o)
    (small_disk / "other").unlink()

    monkeypatch.setattr(running, "check_disk", lambda training, others: 0)
    take_step = Training.take_step

    def filling(training, *arguments):
        if training.steps_taken == 11:  # others write, too
            with pytest.raises(OSError, match="No space left"), open(small_disk / "other", "wb") as file:
                while True:
                    file.write(bytes(100_000))
        take_step(training, *arguments)

    with monkeypatch.context() as context, pytest.raises(UserError) as caught:
        context.setattr(Training, "take_step", filling)
        train.run(o)
    assert "step000000012.safetensors: the disk is full: " in str(caught.value)
    assert "bytes are needed" in str(caught.value)
    assert states(o.out) == ["step000000011.safetensors", "step000000010.safetensors"]
    assert not list(o.out.rglob("*.part*"))
    (small_disk / "other").unlink()
    train.run(o)
    assert outputs(o.out) == outputs(whole.out)
