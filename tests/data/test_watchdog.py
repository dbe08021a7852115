"""A command that hangs is stopped with all that it started; one that ends keeps its exit status."""

import os
import sys
import time

import pytest

from roclip.data.watchdog import run_watched
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


def run(tmp_path, code, *arguments, quiet=0.6):
    command = [sys.executable, "-c", code, str(tmp_path / "progress"), *arguments]
    return run_watched(command, tmp_path / "progress", quiet, tmp_path / "log", dict(os.environ))


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


def test_exit_status_and_output_are_kept(tmp_path):
    assert run(tmp_path, "print('words'); raise SystemExit(7)") == 7
    assert run(tmp_path, "raise SystemExit(0)") == 0
    assert (tmp_path / "log").read_text() == "words\n"
