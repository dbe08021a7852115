"""Running a process that may hang."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path


def patience(seconds: float) -> float:
    """Seconds in which a process does what takes it so many on a machine with cores to spare: more where others wait too."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def run_watched(
    command: Sequence[str], progress: Path, quiet: float, start: float, log: Path, environment: Mapping[str, str]
) -> int | None:
    """Run a command and stop it, with all that it started, when `progress` has not been touched for `quiet` seconds.

    For the first touch it has `start` seconds; both are longer on a busy machine, see `patience`. Returns its exit status, None
    when it was stopped. Its output goes to `log`. Its standard input stays open as long as this process lives, so that it can
    tell when it has become an orphan.
    """
    progress.touch()
    with open(log, "ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    touched, since, limit = progress.stat().st_mtime_ns, time.monotonic(), start
    try:
        while True:
            try:
                return process.wait(timeout=min(1.0, quiet / 4))
            except subprocess.TimeoutExpired:
                if touched != (now := progress.stat().st_mtime_ns):  # not compared with a clock: the disk's may be another
                    touched, since, limit = now, time.monotonic(), quiet
                elif time.monotonic() - since > patience(limit):
                    return None
    finally:
        # also after a normal end: a process of its group may be left
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdin.close()
