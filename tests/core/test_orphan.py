"""An experiment is held until its holder ends, and a stage ends with the Snakemake that started it."""

import os
import platform
import signal
import subprocess
import sys
import time

import psutil
import pytest

from roclip.core.errors import UserError
from roclip.core.orphan import STARTER, claim
from tests.conftest import ROOT, SCENES
from tests.fixtures.webserver import wait_until

STAGE = """
import time
from dataclasses import dataclass
import roclip
from roclip.core.options import run_stage

__spec__ = roclip.__spec__  # a stage is a module, started by python -m

@dataclass(frozen=True)
class Options:
    pass

def run(options):
    print("begun", flush=True)
    time.sleep(30)

run_stage(Options, run)
"""


def start(code: str, starter: str = "") -> subprocess.Popen:
    environment = {**os.environ, STARTER: starter}
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def sleeper():
    """In place of a Snakemake."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_an_experiment_has_one_holder_until_that_is_killed(tmp_path):
    claiming = (
        f"from pathlib import Path; from roclip.core.orphan import claim; claim(Path({str(tmp_path)!r})); print(flush=True)"
    )
    with start(f"{claiming}; import time; time.sleep(60)") as holder:
        holder.stdout.readline()
        with pytest.raises(UserError, match=rf"another snakemake runs this experiment \(process {holder.pid} on .*\); wait"):
            claim(tmp_path)
        holder.kill()
    claim(tmp_path)
    with pytest.raises(UserError, match=f"process {os.getpid()} on"):
        claim(tmp_path)


def test_what_a_kill_left_half_written_is_removed(tmp_path):
    gone = ["tables/.measures.17.part.md", "attacks/patch/seed10/poisons/.000001.17.part.png", "benchmarks/report.tsv"]
    kept = ["models/a/b/seed10/state/.step9.17.part.safetensors", "data/images/.0.17.part.png", "data/urls.tsv", "config.yaml"]
    for name in gone + kept:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("" if name.startswith("benchmarks") else "begun")
    claim(tmp_path)
    assert not [name for name in gone if (tmp_path / name).exists()]
    assert all((tmp_path / name).exists() for name in kept)


def test_a_stage_ends_when_its_snakemake_is_killed(sleeper):
    with start(STAGE, f"{platform.node()} {sleeper.pid}") as stage:
        assert stage.stdout.readline() == "begun\n"
        killed = time.monotonic()
        sleeper.kill()  # and nobody waits for it: a zombie has ended too
        assert stage.wait(10) == -signal.SIGTERM
        assert time.monotonic() - killed < 5


def test_a_stage_does_not_begin_without_its_snakemake(sleeper):
    sleeper.kill()
    sleeper.wait()
    with start(STAGE, f"{platform.node()} {sleeper.pid}") as stage:
        assert stage.communicate(timeout=20)[0] == ""
        assert stage.returncode == -signal.SIGTERM


@pytest.mark.parametrize("starter", ["", "elsewhere 1"], ids=["by hand", "on another machine"])
def test_a_stage_that_no_snakemake_here_started_waits_for_none(starter):
    with start(STAGE, starter) as stage:
        assert stage.stdout.readline() == "begun\n"
        with pytest.raises(subprocess.TimeoutExpired):
            stage.wait(0.5)
        stage.kill()


@pytest.mark.slow
def test_the_workers_that_draw_end_too(tmp_path, sleeper):
    command = [
        sys.executable,
        "-m",
        "roclip.data.scenes",
        "--data",
        str(tmp_path),
        "--train_scenes",
        "100000",
        "--threads",
        "2",
    ]
    command += ["--classes", str(SCENES / "classes.txt"), "--captions", str(SCENES / "captions.txt"), "--image_size", "32"]
    command += ["--validation_scenes", "9", "--test_scenes", "9", "--probe_scenes", "9", "--seed", "0"]
    environment = {**os.environ, STARTER: f"{platform.node()} {sleeper.pid}"}
    with subprocess.Popen(command, cwd=ROOT, env=environment) as stage:
        assert wait_until(lambda: any((tmp_path / "scenes").rglob("*.png")), 60)
        workers = psutil.Process(stage.pid).children()
        assert len(workers) == 2
        sleeper.kill()
        assert stage.wait(10) == -signal.SIGTERM
        assert not psutil.wait_procs(workers, 10)[1]
