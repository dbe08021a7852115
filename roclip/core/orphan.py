"""Jobs end when the Snakemake that started them does, however it ends: each stage waits for that in a thread."""

import os
import platform
import select
import signal
import threading

STARTER = "ROCLIP_SNAKEMAKE"  # environment variable for the jobs: host and process of the Snakemake that started them


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
