"""A stage ends with the Snakemake that started it, however that ends."""

import os
import platform
import signal
import subprocess
import sys
import time

import psutil
import pytest

from roclip.core.orphan import STARTER
from tests.conftest import ROOT, SCENES
from tests.fixtures.webserver import wait_until

STAGE = """
import time
from dataclasses import dataclass
from roclip.core.options import Stage, run_stage

@dataclass(frozen=True)
class Options:
    pass

def run(options):
    print("begun", flush=True)
    time.sleep(30)

run_stage("sleep", Stage(Options, run), "Sleeps.", [])
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
    command = [sys.executable, "-m", "roclip_command", "scenes", "--data", str(tmp_path)]
    command += ["--train_scenes", "100000", "--threads", "2"]
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
