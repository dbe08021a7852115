"""What lets a run be killed at any moment and started again with the same command.

One Snakemake holds an experiment, by a lock that ends with its process. Its jobs end when it does, however it ends: each stage
waits for that in a thread. What they leave half-written is removed by the next run.
"""

import fcntl
import os
import platform
import select
import signal
import threading
from pathlib import Path

from roclip.core.atomic import remove_unfinished
from roclip.core.errors import UserError

STARTER = "ROCLIP_SNAKEMAKE"  # environment variable for the jobs: host and process of the Snakemake that started them
IMAGES = ("scenes", "images", "download")  # folders of up to millions of files, none of them written by roclip.core.atomic


def claim(results: Path) -> None:
    """Hold an experiment for as long as this process lives, and remove what a killed run left half-written.

    Raises UserError while another process holds it; the lock of a dead one is gone with it.
    """
    results.mkdir(parents=True, exist_ok=True)
    file = os.open(results / ".lock", os.O_RDWR | os.O_CREAT, 0o666)  # never closed
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(file, 1000).decode()
        raise UserError(f"{results}: another snakemake runs this experiment ({owner}); wait for it or stop it") from None
    os.ftruncate(file, 0)
    os.write(file, f"process {os.getpid()} on {platform.node()}".encode())
    for folder, folders, _ in os.walk(results):
        # into its state a training that was told to stop may still write: whoever goes on with it cleans up there
        folders[:] = [name for name in folders if name not in (*IMAGES, "state")]
        remove_unfinished(Path(folder))
    for path in (results / "benchmarks").rglob("*.tsv"):
        if not path.stat().st_size:  # Snakemake was killed as it wrote it
            path.unlink()


def starter() -> str:
    """What the environment variable STARTER says in the jobs of this process."""
    return f"{platform.node()} {os.getpid()}"


def end_with_starter() -> None:
    """Send SIGTERM to this process once the Snakemake that started it has ended. Its children are its own affair."""
    host, _, process = os.environ.pop(STARTER, "").rpartition(" ")
    if host == platform.node():
        end_with(int(process))


def end_with(process: int) -> None:
    """Send SIGTERM to this process once another one of this machine has ended; where the system is no Linux, never."""

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def wait() -> None:
        ended = select.poll()
        ended.register(handle, select.POLLIN)
        ended.poll()
        stop()

    if not hasattr(os, "pidfd_open"):
        return
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        stop()
    else:
        threading.Thread(target=wait, daemon=True).start()
