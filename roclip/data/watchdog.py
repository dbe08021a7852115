"""Running a process that may hang."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path


def run_watched(command: Sequence[str], progress: Path, quiet: float, log: Path, environment: Mapping[str, str]) -> int | None:
    """Run a command and stop it, with all that it started, when `progress` has not been touched for `quiet` seconds.

    Returns its exit status, None when it was stopped. Its output goes to `log`. Its standard input stays open as long as this
    process lives, so that it can tell when it has become an orphan.
    """
    progress.touch()
    with open(log, "ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    touched, since = progress.stat().st_mtime_ns, time.monotonic()
    try:
        while True:
            try:
                return process.wait(timeout=min(1.0, quiet / 4))
            except subprocess.TimeoutExpired:
                if touched != (now := progress.stat().st_mtime_ns):  # not compared with a clock: the disk's may be another
                    touched, since = now, time.monotonic()
                elif time.monotonic() - since > quiet:
                    return None
    finally:
        # also after a normal end: a process of its group may be left
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdin.close()
