"""What a file is that ought to be text in UTF-8 and is not: which line is at fault, or what kind of file it is."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from roclip.core.errors import UserError

LINE = 1 << 22  # characters of the longest line that is looked at
PACKED = (  # how a file begins, from a byte on; what it is; what to do
    (b"\x1f\x8b", 0, "compressed (gzip)", "unpack it"),
    (b"BZh", 0, "compressed (bzip2)", "unpack it"),
    (b"\xfd7zXZ\0", 0, "compressed (xz)", "unpack it"),
    (b"\x28\xb5\x2f\xfd", 0, "compressed (zstd)", "unpack it"),
    (b"PK\x03\x04", 0, "a zip archive, as spreadsheets are", "unpack it, or save it as CSV in UTF-8"),
)
KINDS = (
    *PACKED,
    (b"PAR1", 0, "a parquet file", "let its name end in .parquet"),
    (b"ustar", 257, "a tar file", "name the folder in which it lies"),
)


POINTER = (b"version https://git-lfs", 0, "a pointer of Git LFS in place of a file", "fetch the file with git lfs pull")


def kind_of(path: Path, kinds: Sequence[tuple[bytes, int, str, str]] = KINDS) -> str | None:
    """Which of these kinds of files it is, with what to do about it; None for any other file."""
    with open(path, "rb") as file:
        begin = file.read(512)
    found = ((what, advice) for mark, place, what, advice in kinds if begin.startswith(mark, place))
    return next((f"is {what}; {advice}" for what, advice in found), None)


def bad_line(path: Path) -> int:
    """The line, counted from 1, from which on a file is not UTF-8."""
    number = 1
    with open(path, "rb") as file, suppress(UnicodeDecodeError):
        for line in iter(lambda: file.readline(LINE), b""):
            line.decode()
            number += 1
    return number


def not_text(path: Path) -> UserError:
    """The error of a file that is not UTF-8."""
    kind = kind_of(path)
    return UserError(f"{path}: {kind}" if kind else f"{path}, line {bad_line(path)}: not UTF-8; save it as UTF-8")


def refuse_nul(path: Path, first_line: str) -> None:
    """Raises UserError for a NUL in the first line: UTF-16 without its mark, among others, reads as such UTF-8."""
    if "\0" in first_line:
        kind = kind_of(path)
        raise UserError(f"{path}: {kind}" if kind else f"{path}, line 1: not UTF-8, or no text; save it as UTF-8")
