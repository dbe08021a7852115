"""Holds MATLAB files (level 5) of others to a size and a depth: unpacking or recursion without end would end the process.

The form is that of MathWorks' "MAT-File Format", version 5: after a header of 128 bytes come elements: a tag (type, bytes)
and data. Type 15 is one element packed by zlib, type 14 a matrix, which is made of elements and may hold matrices in turn.
"""

import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path

from roclip.core.errors import UserError
from roclip.core.files import open_file

MAX_MAT_MB = 64  # as read and as unpacked; those of Stanford Cars unpack to some 4
MAX_DEPTH = 20  # the structs of Stanford Cars are 2 deep
HEADER, TAG = 128, 8  # bytes
DIMENSIONS, FLAGS, MATRIX, PACKED = 5, 6, 14, 15  # types
REMEDY = "take the file as its makers gave it out"


def check_mat(path: Path) -> None:
    """Raises UserError for a file that is cut off, unpacks to over MAX_MAT_MB, or whose matrices are too deep or too large."""
    with open_file(path) as file:
        content = file.read(MAX_MAT_MB * 2**20 + 1)
    left, order = MAX_MAT_MB * 2**20, "little" if content[126:128] == b"IM" else "big"
    if 0 in content[:4]:  # level 4, which neither packs nor nests
        left -= len(content)
    else:
        for part in _unpacked(path, content[HEADER:], order, left):
            left -= len(part)
            _check_matrices(path, part, order)
    if left < 0:
        raise _too_large(path)


def _too_large(path: Path) -> UserError:
    return UserError(f"{path}: unpacks to more than {MAX_MAT_MB} MB; {REMEDY}")


def _elements(path: Path, content: bytes, order: str, inside: bool) -> Iterator[tuple[int, int, int]]:
    """Type, begin and end of the data of each element, one after another; of matrices `inside` goes into those of their own."""
    place = 0
    while place < len(content):
        kind = int.from_bytes(content[place : place + 4], order)
        if kind >> 16:  # up to four bytes, in the tag itself
            yield kind & 0xFFFF, place, place + TAG
            place += TAG
            continue
        begin, size = place + TAG, int.from_bytes(content[place + 4 : place + TAG], order)
        end = begin + size
        if end > len(content):
            raise UserError(f"{path}: is cut off or damaged: it names {end - len(content)} bytes that are not there")
        yield kind, begin, end
        padded = end if kind == PACKED else begin + -(-size // TAG) * TAG
        place = begin if inside and kind == MATRIX else padded


def _unpacked(path: Path, content: bytes, order: str, limit: int) -> Iterator[bytes]:
    """The outer elements, unpacked; together they may have `limit` bytes."""
    for kind, begin, end in _elements(path, content, order, inside=False):
        part = content[max(begin - TAG, 0) : end]
        if kind == PACKED:
            try:
                part = zlib.decompressobj().decompress(content[begin:end], limit + 1)
            except zlib.error as error:
                raise UserError(f"{path}: is damaged ({error})") from None
        limit -= len(part)
        if limit < 0:
            raise _too_large(path)
        yield part


def _check_matrices(path: Path, content: bytes, order: str) -> None:
    """Raises UserError for matrices that lie too deep in matrices, or that are said to have more values than bytes."""
    ends: list[int] = []
    before = 0
    for kind, begin, end in _elements(path, content, order, inside=True):
        while ends and begin >= ends[-1]:
            ends.pop()
        if kind == MATRIX:
            ends.append(end)
            if len(ends) > MAX_DEPTH:
                raise UserError(f"{path}: its cells are nested more than {MAX_DEPTH} deep; {REMEDY}")
        elif (before, kind) == (FLAGS, DIMENSIONS):
            sizes = [int.from_bytes(content[at : at + 4], order) for at in range(begin, end, 4)]
            if prod(sizes) > len(content):
                raise UserError(f"{path}: a matrix of {' x '.join(map(str, sizes))} in {len(content)} bytes; {REMEDY}")
        before = kind
