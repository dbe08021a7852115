"""Locks on files, which end with the process that holds them, however that ends."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG

from roclip.core.errors import UserError

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)


def lock(file: int, folder: Path, wait: bool = False) -> bool:
    """Lock an open file, by its descriptor; False while another process holds it, unless that is waited for.

    Raises UserError that names the folder where its file system has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        raise UserError(
            f"{folder}: its file system has no locks (flock: {error.strerror}); mount it with them (Lustre: -o flock), or "
            "make this folder a link to one that has them"
        ) from None
    return True


def open_lock(path: Path, mode: int = 0o666) -> int:
    """The descriptor of a file to lock, which is made where there is none. What it holds stays.

    Raises UserError for anything else in its place, which nothing is done to, and where no file can be made.
    """
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, mode)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise UserError(f"{path}: is a link, a folder or a device, no lock of this workflow; remove it") from None
        raise UserError(f"{path.parent}: cannot be written to ({error.strerror}); change its owner or permissions") from None
    if not S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise UserError(f"{path}: is a pipe or a device, no lock of this workflow; remove it")
    return file


@contextmanager
def alone(folder: Path, name: str, other: str) -> Iterator[None]:
    """Hold a folder by a file of this name in it. Raises UserError while `other`, such as another download, does."""
    folder.mkdir(parents=True, exist_ok=True)
    with os.fdopen(open_lock(folder / name)) as file:
        if not lock(file.fileno(), folder):
            raise UserError(f"{folder}: {other} works in this folder; wait for it or stop it")
        yield
