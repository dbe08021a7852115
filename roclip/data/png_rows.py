"""Whether a PNG holds all rows of its picture.

Where its data end too early, though whole by their own checksum, Pillow leaves the other rows black and says nothing, as most
readers do: an image that nobody has seen would be trained on.
"""

import struct
import zlib
from collections.abc import Iterator

from PIL import Image

BLOCK = 1 << 20  # bytes that are unpacked at a time
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the type of colour
WHOLE = ((0, 0, 1, 1),)
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # left, top, steps


def lacks_rows(image: Image.Image, content: bytes) -> bool:
    """Whether rows are missing of a PNG that Pillow has loaded. Only where the last row is black is its data looked at."""
    last = image.crop((0, image.height - 1, image.width, image.height))
    return (image.info.get("interlace") == 1 or not any(last.tobytes())) and not _has_all(content)


def _has_all(content: bytes) -> bool:
    """Whether the data of the picture unpack to as many bytes as it has."""
    width, height, bits, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", content, 16)
    needed = 0
    for left, top, across, down in ADAM7 if interlaced else WHOLE:
        columns, rows = -((left - width) // across), -((top - height) // down)
        needed += rows * (1 + -(-columns * bits * CHANNELS[colour] // 8)) if columns > 0 < rows else 0
    unpacker = zlib.decompressobj()
    try:
        for data in _picture(content):
            while data:
                needed -= len(unpacker.decompress(data, BLOCK))
                if needed <= 0:
                    return True
                data = unpacker.unconsumed_tail
        return len(unpacker.flush()) >= needed
    except zlib.error:
        return False


def _picture(content: bytes) -> Iterator[bytes]:
    """The data of the picture, a chunk at a time."""
    at = 8
    while at + 8 <= len(content):
        end = at + 8 + int.from_bytes(content[at : at + 4])
        if content[at + 4 : at + 8] == b"IDAT":
            yield content[at + 8 : end]
        at = end + 4
