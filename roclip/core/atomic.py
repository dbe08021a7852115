"""Writing files so that nothing half-written ever stands under a final name, and what is there survives a power cut."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from roclip.core.errors import UserError

UNFINISHED = re.compile(r"\..+\.\d+\.part(\.[^.]+)?")  # the name of a temporary file
NO_FLUSH = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)  # of a file system that has no such thing
completed: list[Path] = []  # the files, and folders of images, that this process has written


@contextmanager
def atomic(path: Path, size: int = 0) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, it is flushed to disk and renamed to `path`.

    When the block raises, the temporary file is removed and `path` stays as it was. Parent folders are made. size: bytes that
    will be written, where that is known before. Raises UserError, with path and bytes, for a disk that is too full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # the suffix stays last, for writers that choose a format by it
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        if size > shutil.disk_usage(path.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
        _flush(path.parent)  # or the new name itself could be lost
        completed.append(path)
    except Exception as error:
        if not is_disk_full(error):
            raise
        written = temporary.stat().st_size if temporary.exists() else 0
        free = shutil.disk_usage(path.parent).free + written
        needed = f"{size} bytes are" if size else f"more than {written} bytes are"
        raise UserError(f"{path}: the disk is full: {needed} needed, {free} are free; make room and start again") from None
    finally:
        temporary.unlink(missing_ok=True)


def is_disk_full(error: Exception) -> bool:
    """Whether an error says so; libraries that are not written in Python have kinds of their own for it."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error)


def _flush(path: Path) -> None:
    """Wait until what was written to a file, or the names in a folder, are on the disk.

    Some file systems (CIFS, vboxsf) refuse that for a folder, some (of FUSE) for files too, and keep them without it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FLUSH:
            raise
    finally:
        os.close(descriptor)


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files of processes that were killed; none may be writing in this folder."""
    for path in folder.glob(".*.part*"):
        if UNFINISHED.fullmatch(path.name):  # and no `.notes.partial.txt` of a user
            path.unlink(missing_ok=True)
