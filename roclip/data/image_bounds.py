"""A look at the parts of an image file before it is opened, so that none takes time or memory out of proportion to it.

Pillow reads the parts of a file in Python: millions of tiny ones take minutes, those of EXIF data are joined in quadratic time,
and a folder of EXIF data may name the same bytes tens of thousands of times. No honest file comes near the limits here.
"""

import struct
from collections.abc import Iterator

SMALL = 16_000  # bytes of a file that can do no harm
SEGMENTS = 1000  # of a JPEG before its picture; one of 64 KB holds what most files hold, a colour profile takes some
PARSED = 1_000_000  # bytes of those that Pillow takes apart: EXIF data, Photoshop's, frames and quantization tables
JUNK = 100_000  # bytes between segments
CHUNKS = 100_000  # of a PNG; its picture comes in chunks of 8 KB or more
REMARKS = 500  # chunks of a PNG beside its picture and frames
PARTS = 10_000  # of a WebP: frames of an animation
COPIES = 64_000_000  # bytes that the entries of a folder of EXIF data may name
_ORDERS = {b"II": "<", b"MM": ">"}
_INTEGERS = {1: "B", 3: "H", 4: "I"}  # types of an entry in EXIF data
_ORIENTATION = 0x0112
_ALONE = {0x00, 0x01, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)}  # markers of a JPEG after which Pillow reads no length
_START_OF_SCAN, _APP1, _APP2, _APP13, _FIRST_APP = 0xDA, 0xE1, 0xE2, 0xED, 0xE0


class BadImage(Exception):
    """An image that is not opened or decoded; its message is the reason."""


def look(content: bytes) -> None:
    """Raises BadImage for a file of which opening would take too long or too much memory."""
    if len(content) <= SMALL:
        return
    if content.startswith(b"\xff\xd8\xff"):
        _look_at_jpeg(content)
    elif content.startswith(b"\x89PNG"):
        _look_at_png(content)
    elif content.startswith(b"RIFF"):
        _look_at_webp(content)


def _segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of the segments of a JPEG before its picture. Raises BadImage for too much between them."""
    at, junk = 2, 0
    while (found := content.find(b"\xff", at)) >= 0:
        start = found
        while content[start : start + 1] == b"\xff" and start - found <= JUNK:
            start += 1
        junk += start - at - 1
        if junk > JUNK:
            raise BadImage(f"a JPEG with more than {JUNK} bytes between its segments")
        marker = content[start] if start < len(content) else _START_OF_SCAN
        if marker == _START_OF_SCAN:
            return
        length = 0 if marker in _ALONE else max(2, int.from_bytes(content[start + 1 : start + 3]))
        at = start + 1 + length
        yield marker, start + 3, at


def _look_at_jpeg(content: bytes) -> None:
    parsed, exif = 0, []
    for number, (marker, start, end) in enumerate(_segments(content), 1):
        is_exif = marker == _APP1 and content.startswith(b"Exif\0\0", start)
        if is_exif:
            exif.append(content[start + 6 : end])
        elif marker == _APP2 and content.startswith(b"MPF\0", start):
            check_tiff(content[start + 4 : end])
        if is_exif or marker == _APP13 or marker < _FIRST_APP:
            parsed += max(0, end - start)
        if number > SEGMENTS or parsed > PARSED:
            raise BadImage("a JPEG of too many or too large segments before its picture")
    check_tiff(b"".join(exif))


def _look_at_png(content: bytes) -> None:
    at, chunks, remarks, profiles = 8, 0, 0, 0
    while at + 8 <= len(content) and (kind := content[at + 4 : at + 8]) != b"IEND":
        chunks += 1
        remarks += kind not in (b"IDAT", b"fdAT", b"fcTL")
        profiles += kind == b"iCCP"  # each may unpack to 1 MB, and there is to be one
        if chunks > CHUNKS or remarks > REMARKS or profiles > 1:
            raise BadImage("a PNG of too many chunks")
        at += 12 + int.from_bytes(content[at : at + 4])


def _look_at_webp(content: bytes) -> None:
    at, parts = 12, 0
    while at + 8 <= len(content):
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        at, parts = at + 8 + length + length % 2, parts + 1
        if parts > PARTS:
            raise BadImage(f"a WebP of more than {PARTS} parts")


def _entries(tiff: bytes) -> Iterator[tuple[int, int, int, bytes, str]]:
    """(tag, type, count, value or place, byte order) of the first folder of EXIF data, as far as they are whole."""
    order = _ORDERS.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    if start + 2 > len(tiff):
        return
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    whole = tiff[start + 2 : start + 2 + 12 * count]
    for entry in struct.iter_unpack(f"{order}HHI4s", whole[: len(whole) // 12 * 12]):
        yield *entry, order


def check_tiff(tiff: bytes) -> None:
    """Raises BadImage for data in TIFF's form, as EXIF has them, of which reading would take too much memory."""
    if len(tiff) * sum(1 for _ in _entries(tiff)) > COPIES:
        raise BadImage("EXIF data that name the same bytes too often")


def exif_orientation(exif: bytes) -> int | None:
    """The orientation in EXIF data, the last where there are several; None where they say nothing of it."""
    found = None
    for tag, kind, count, value, order in _entries(exif.removeprefix(b"Exif\0\0").removeprefix(b"Exif\0\0")):
        if tag == _ORIENTATION and count == 1 and kind in _INTEGERS:
            (found,) = struct.unpack_from(order + _INTEGERS[kind], value)
    return found
