"""Messages may be lost, a run may not."""

import logging
import os
import signal
import subprocess
import sys

import pytest

from roclip.experiment.terminal import outlive_terminal
from tests.conftest import ROOT

# says something, waits until it is told that its reader has gone, says more, and ends
TALKS = """
import logging, sys
from roclip.experiment.terminal import outlive_terminal

logger = logging.getLogger("talks")
class Strict(logging.StreamHandler):  # as Snakemake's
    def handleError(self, record):
        raise
logger.addHandler(Strict(sys.stderr))
if sys.argv[1] == "forgiving":
    outlive_terminal(logger)
logger.warning("begun")
sys.stdin.readline()
for _ in range(3):
    logger.warning("more")
open("end", "w").close()
"""


def talks(folder, how: str) -> int:
    """The status of a process that goes on talking after its reader has gone."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", TALKS, how]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=folder, env=environment, **pipes) as process:
        assert process.stderr.readline() == b"begun\n"
        process.stderr.close()
        process.stdin.write(b"\n")
        process.stdin.flush()
        return process.wait(30)


def test_messages_that_nobody_reads_are_lost_and_nothing_else(tmp_path):
    assert talks(tmp_path, "forgiving") == 0
    assert (tmp_path / "end").exists()


def test_without_that_they_end_a_process(tmp_path):
    assert talks(tmp_path, "strict") != 0
    assert not (tmp_path / "end").exists()


@pytest.mark.parametrize(
    "code", ["os.kill(os.getpid(), signal.SIGHUP)", "subprocess.run(['sh', '-c', 'kill -HUP $$'], check=True)"]
)
def test_a_hangup_ends_neither_a_run_nor_its_jobs(code):
    start = "import logging, os, signal, subprocess; from roclip.experiment.terminal import outlive_terminal; "
    start += "signal.signal(signal.SIGHUP, signal.SIG_DFL); "  # the tests may run under nohup
    for outlive, survives in (("outlive_terminal(logging.getLogger()); ", True), ("", False)):
        done = subprocess.run([sys.executable, "-c", start + outlive + code], cwd=ROOT, capture_output=True)
        assert (done.returncode == 0) == survives


def test_a_handler_without_a_stream_is_left_alone():
    """As where stderr was closed from the beginning."""
    before, logger = signal.getsignal(signal.SIGHUP), logging.Logger("closed")
    logger.addHandler(logging.StreamHandler())
    logger.handlers[0].stream = None
    try:
        outlive_terminal(logger)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert logger.handlers[0].stream is None
