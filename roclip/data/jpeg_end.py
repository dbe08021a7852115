"""Whether a JPEG holds all of its picture.

Where the data of a scan end too early at a marker, libjpeg leaves the rest grey and only warns, which Pillow hides; zeros or an
error page in place of the rest are decoded as if they were data: an image that nobody has seen would be trained on.

Where the data end with the file, libjpeg waits for more and Pillow raises an OSError. So a picture of one scan is cut before
the marker that ends it. Of several scans libjpeg wants that marker: they are counted, and rarely the picture is decoded again.
Sections are those of ITU T.81.
"""

import re
from collections.abc import Iterator
from io import BytesIO

from PIL import Image

from roclip.data.image_bounds import BadImage

MARKERS = 10_000  # of a file; one of a hundred scans has some hundreds
EARLY = "a JPEG whose picture ends early"
# libjpeg reads up to 8 bytes ahead; ones fill the last byte of a scan (F.1.2.3), and no table has a code of ones alone (C.2)
ONES = b"\xff\0" * 8
OTHER = bytes(range(255))  # of these any table makes something
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # one that cannot stand within the data of a scan (B.1.1.2, B.1.1.5, E.1.4)
_ALONE = (0x01, *range(0xD0, 0xDA), 0xFF)  # of markers without a length, or what may stand before one (B.1.1.2, B.1.1.3)
_SEQUENTIAL, _HUFFMAN, _START_OF_SCAN, _END = (0xC0, 0xC1), (0xC0, 0xC1, 0xC2), 0xDA, 0xD9  # table B.1


def _segments(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(marker, its place, what follows its length) of all that is whole, the data of scans left out."""
    at = 2
    for _ in range(MARKERS):
        found = _MARKER.search(content, at)
        if found is None:
            return
        start, body = found.span()
        marker = content[start + 1]
        at = body if marker in _ALONE else body + int.from_bytes(content[body : body + 2])
        if at > len(content):
            return
        yield marker, start, content[body + 2 : at]
    raise BadImage("a JPEG of too many segments")


def to_decode(content: bytes) -> bytes:
    """The bytes of a JPEG, of most of one scan up to its end; where Pillow needs more of these, data are lacking.

    It is called for each image, and left to `lacks_scans` is what has other bytes between its segments.
    """
    at, components = 2, -1
    while at + 10 < len(content) and content[at] == 0xFF and (marker := content[at + 1]) not in _ALONE:
        if marker == _START_OF_SCAN:
            end = _MARKER.search(content, at + 8 + 2 * components) if content[at + 4] == components else None
            return content[: end.start()] + ONES if end else content
        if marker in _SEQUENTIAL:
            components = content[at + 9]  # B.2.2
        at += 2 + (content[at + 2] << 8 | content[at + 3])
    return content


def lacks_scans(content: bytes) -> bool:
    """Whether the last of a JPEG's scans lacks data or the marker after it.

    An end just between two scans is not seen, nor one in the last scan of a progressive JPEG if it adds but the last bits of
    numbers of which all others are there (G.1.2.3): nothing is grey, but all is coarser, of a small image by some grey levels.
    """
    missing: dict[int, list[int]] = {}  # bits of each of the 64 coefficients of each component
    frame = refines = 0
    for marker, start, body in _segments(content):
        if marker in _HUFFMAN:
            frame, missing = marker, {component: [8] * 64 for component in body[6::3]}  # B.2.2
        elif marker == _START_OF_SCAN:
            *_, first, last, bits = bytes(3) + body  # B.2.3
            refines = bits >> 4
            for component in body[1:-3:2]:
                missing.get(component, [])[first : last + 1] = [bits & 15] * (last + 1 - first)
        elif marker == _END:
            coarser = refines and not any(map(any, missing.values()))
            # arithmetic coding may leave out zeros at the end (D.1.8)
            return bool(frame) and not coarser and _shown(content[:start]) != _shown(content[:start] + OTHER)
    return True


def _shown(content: bytes) -> int:
    """The pixels, as a number, of a JPEG that lacks its last marker; libjpeg skips what its last scan has too much."""
    with Image.open(BytesIO(content + b"\xff\xd9"), formats=("JPEG",)) as image:
        return hash(image.tobytes())
