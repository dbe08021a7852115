"""A command that hangs is stopped with all that it started; one that ends keeps its exit status."""

import os
import sys
import time

import pytest

from roclip.data.watchdog import patience, run_watched
from tests.fixtures.webserver import wait_until

HANG = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path(sys.argv[2]).write_text(str(child.pid))
for _ in range(int(sys.argv[3])):
    pathlib.Path(sys.argv[1]).touch()
    time.sleep(0.1)
time.sleep(60)
"""


def run(tmp_path, code, *arguments, quiet=0.6, start=None):
    command = [sys.executable, "-c", code, str(tmp_path / "progress"), *arguments]
    return run_watched(command, tmp_path / "progress", quiet, start or quiet, tmp_path / "log", dict(os.environ))


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("touches", [0, 12])
def test_a_hang_is_stopped_after_the_last_progress(tmp_path, touches):
    started = time.monotonic()
    assert run(tmp_path, HANG, str(tmp_path / "pid"), str(touches), quiet=1.0) is None
    assert 1.0 + 0.1 * touches <= time.monotonic() - started < 20
    assert wait_until(lambda: not is_running(int((tmp_path / "pid").read_text())), 5)


SLOW_START = """
import pathlib, sys, time
time.sleep(float(sys.argv[2]))
pathlib.Path(sys.argv[1]).touch()
time.sleep(float(sys.argv[3]))
"""


def test_quiet_counts_from_the_first_answer(tmp_path, monkeypatch):
    """A slow start is no hang as long as it ends in time; after it, silence is."""
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    assert run(tmp_path, SLOW_START, "1.5", "0", quiet=0.5, start=60) == 0
    assert run(tmp_path, SLOW_START, "0.5", "60", quiet=0.5, start=60) is None
    assert run(tmp_path, SLOW_START, "60", "0", quiet=30, start=0.5) is None


@pytest.mark.parametrize(("load", "cores", "times"), [(0, 2, 1), (2, 2, 1), (8, 2, 4), (6, None, 6)])
def test_a_busy_machine_has_more_time(monkeypatch, load, cores, times):
    monkeypatch.setattr(os, "getloadavg", lambda: (float(load), 0.0, 0.0))
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert patience(120) == 120 * times


def test_exit_status_and_output_are_kept(tmp_path):
    assert run(tmp_path, "print('words'); raise SystemExit(7)") == 7
    assert run(tmp_path, "raise SystemExit(0)") == 0
    assert (tmp_path / "log").read_text() == "words\n"
