"""Where images lie: in files and in members of tars, inside the data roots; the paths are untrusted."""

import hashlib
import os
import re
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tarfile import TarInfo

from roclip.data.image_bounds import BadImage

LOOKED_FOR = 1000  # images of the first rows that are looked for, and every so many of the others
MEMBER = re.compile(r"(.+\.tar)/.+@(\d+)\+(\d+)", re.DOTALL)
BYTES = 64_000_000  # of the largest file


def is_looked_for(row: int) -> bool:
    """Whether the image of a row, counted from 1, is among those that are looked for: of millions, all would take too long."""
    return row <= LOOKED_FOR or row % LOOKED_FOR == 0


def is_there(path: str) -> bool:
    """Whether an image's file, or the tar in which it lies, is there."""
    member = MEMBER.fullmatch(path)
    return os.path.isfile(member[1] if member else path)  # noqa: PTH113 (as in Roots)


def member_path(tar: Path, member: TarInfo) -> str:
    """The path of an image in a tar: its place in bytes, so that it is read without looking through the tar."""
    return f"{tar}/{member.name}@{member.offset_data}+{member.size}"


def content_of(path: Path | str) -> bytes:
    """The bytes of a file, or of a member of a tar, `TAR/NAME@OFFSET+SIZE`. Raises BadImage and OSError."""
    member = MEMBER.fullmatch(str(path))
    file = member[1] if member else path
    found = os.stat(file)  # noqa: PTH116 (a million Paths take long)
    if not stat.S_ISREG(found.st_mode):  # to open a pipe may take for ever, and a device may act on it
        raise BadImage("a folder, pipe or device")
    offset, size = map(int, member.groups()[1:]) if member else (0, found.st_size)
    if size > BYTES:
        raise BadImage(f"more than {BYTES / 1e6:.0f} MB")
    with open(file, "rb") as opened:
        opened.seek(offset)
        return opened.read(size)


class RealPaths:
    """Paths without links and dots, so that each file has one; links of folders are resolved once for all that lies in them."""

    def __init__(self) -> None:
        self.resolved: dict[str, str] = {}

    def __call__(self, path: str) -> str:
        """The path of a file; of a member of a tar that of the tar, with its name in it."""
        if "\0" in path:
            return f"\0{path}\0"  # of no file, in no folder and no tar
        member = MEMBER.fullmatch(path)
        folder, name = os.path.split(member[1] if member else path)
        if folder not in self.resolved:
            self.resolved[folder] = os.path.realpath(folder)
        real = os.path.join(self.resolved[folder], name)  # noqa: PTH118 (a million Paths take long)
        if os.path.islink(real):  # noqa: PTH114
            real = os.path.realpath(real)
        return real + path[len(member[1]) :] if member else real


def identity(real: str, home: str) -> str:
    """What an image goes by: its real path, as seen from `home`; in a tar its bytes, for that may hold it once a caption."""
    if MEMBER.fullmatch(real) and real.startswith(os.path.join(home, "")):  # noqa: PTH118 (as above); no tar elsewhere is opened
        with suppress(BadImage, OSError):  # what cannot be read is left out later
            return hashlib.sha256(content_of(real)).hexdigest()
    return os.path.relpath(real, home)


class Roots:
    """The folders in which images may lie."""

    def __init__(self, folders: Sequence[str]) -> None:
        self.names = ", ".join(folders)
        self.folders = tuple(os.path.join(os.path.realpath(folder), "") for folder in folders)  # noqa: PTH118
        self.real = RealPaths()

    def check(self, path: str) -> None:
        """Raises BadImage for a file, or a member of a tar, that lies outside them, and for a path that no file can have."""
        real = self.real(path)
        if real.startswith("\0"):
            raise BadImage("a null character in its path")
        if not real.startswith(self.folders):
            raise BadImage(f"outside the data roots ({self.names})")

    def content_name(self, path: str) -> str:
        """What the copies of an image go by: a hash of their bytes, or the path of one that cannot be read."""
        try:
            self.check(path)
            return hashlib.sha256(content_of(path)).hexdigest()
        except (BadImage, OSError):  # it is left out later
            return path
