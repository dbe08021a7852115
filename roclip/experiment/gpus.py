"""Run a command with GPUs that no other job uses.

`roclip gpus 2 COMMAND...` waits for two, names them in CUDA_VISIBLE_DEVICES and becomes the command. With 0 it becomes the
command at once and changes nothing.

A GPU is taken by a lock on a file in `/tmp/roclip-gpus-UID`. The lock belongs to the process, so it ends when the command
does, by SIGKILL too; there is nothing to clean up. It binds only what is started by `roclip gpus`, by one user on one machine;
between users, or in containers with a /tmp each, a scheduler must hand out the GPUs (as Slurm does, in which case the lock is
free). Only the GPUs that an inherited CUDA_VISIBLE_DEVICES names are used; numbers there count as nvidia-smi does.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR

from roclip.core.errors import UserError
from roclip.core.locks import lock, open_lock

LOCKS = Path(f"/tmp/roclip-gpus-{os.getuid()}")


def installed() -> list[str]:
    """The UUIDs of this machine's GPUs, in nvidia-smi's order. Raises UserError when the driver does not answer."""
    query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        return []
    except subprocess.TimeoutExpired:
        raise UserError("nvidia-smi gave no answer in 60 s; restart the GPU's driver") from None
    if done.returncode:
        raise UserError(f"nvidia-smi failed ({' '.join((done.stdout + done.stderr).split())}); repair the GPU's driver")
    return done.stdout.split()


def usable(uuids: Sequence[str], visible: str | None) -> list[str]:
    """Of the installed GPUs those that a CUDA_VISIBLE_DEVICES allows: names up to the first that is none, as CUDA reads it.

    >>> usable(["GPU-aa", "GPU-bb"], "1")
    ['GPU-bb']
    """
    if visible is None:
        return list(uuids)
    chosen = []
    for name in map(str.strip, visible.split(",")):
        if name.isdecimal() and int(name) < len(uuids):
            chosen.append(uuids[int(name)])
        elif name.startswith("MIG-"):  # a part of a GPU, which nvidia-smi's query does not list
            chosen.append(name)
        elif name.startswith("GPU-") and len(found := [uuid for uuid in uuids if uuid.startswith(name)]) == 1:
            chosen += found
        else:
            break
    return list(dict.fromkeys(chosen))


def _lock(path: Path) -> bool:
    """Lock a file for as long as this process lives, whatever program it becomes; False when someone else has the lock."""
    file = open_lock(path, 0o600)
    if not lock(file, path.parent):
        os.close(file)
        return False
    os.set_inheritable(file, True)
    return True


def take(gpus: Sequence[str], count: int, locks: Path = LOCKS) -> list[str]:
    """Wait until `count` of the GPUs are free and take them, for as long as this process and what it becomes lives.

    Raises UserError for a folder of locks that is none of this user's: anyone can make one in /tmp.
    """
    with suppress(FileExistsError):
        locks.mkdir(mode=0o700)
    found = locks.lstat()
    if not S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise UserError(f"{locks}: is no folder of this user's; remove it")
    with os.fdopen(open_lock(locks / "queue.lock", 0o600)) as queue:
        # who stands first in the queue takes what becomes free, so two that want several GPUs cannot wait for each other
        lock(queue.fileno(), locks, wait=True)
        taken: list[str] = []
        waiting = False
        while True:
            for gpu in gpus:
                if len(taken) < count and gpu not in taken and _lock(locks / f"{gpu}.lock"):
                    taken.append(gpu)
            if len(taken) == count:
                return taken
            if not waiting:
                print(f"waits for {count - len(taken)} of the GPUs {', '.join(gpus)}", file=sys.stderr, flush=True)
                waiting = True
            time.sleep(0.2)


def main(argv: Sequence[str]) -> None:
    """Becomes the command. Raises UserError when this machine has fewer GPUs than are asked for."""
    if len(argv) < 2 or not argv[0].isdecimal():
        raise UserError("usage: roclip gpus COUNT COMMAND...")
    count, command = int(argv[0]), argv[1:]
    if count:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        uuids = installed()
        gpus = usable(uuids, visible)
        if count > len(gpus):
            chosen = "" if visible is None else f", {len(gpus)} of them in CUDA_VISIBLE_DEVICES={visible}"
            raise UserError(
                f"resource gpu: {count} asked for, and nvidia-smi finds {len(uuids)} on this machine{chosen}; ask for no more "
                "(0 trains on the CPU)"
            )
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(take(gpus, count))
    try:
        os.execvp(command[0], command)
    except OSError as error:
        raise UserError(f"{command[0]}: {error.strerror}") from None
