"""Decoding images into uint8 arrays."""

import logging
import math
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from tarfile import TarInfo

import numpy as np
from PIL import Image, ImageOps

from roclip.errors import UserError

log = logging.getLogger(__name__)

MEMBER = re.compile(r"(.+\.tar)/.+@(\d+)\+(\d+)")
FLIP_P, LOG_RATIO = 0.5, math.log(4 / 3)  # of random crops


def member_path(tar: Path, member: TarInfo) -> str:
    """The path of an image in a tar: its place in bytes, so that it is read without looking through the tar."""
    return f"{tar}/{member.name}@{member.offset_data}+{member.size}"


def _source(path: Path | str) -> Path | str | BytesIO:
    """What Pillow is to open for a path; of a member of a tar, `TAR/NAME@OFFSET+SIZE`, its bytes."""
    if member := MEMBER.fullmatch(str(path)):
        tar, offset, size = member.groups()
        with open(tar, "rb") as file:
            file.seek(int(offset))
            return BytesIO(file.read(int(size)))
    return path


def decode(path: Path | str, size: int) -> np.ndarray:
    """One image as uint8 (size, size, 3): shorter side resized to `size` (bicubic), centre square, RGB.

    Raises OSError or what else Pillow raises on a broken file.
    """
    with Image.open(_source(path)) as image:
        image = image.convert("RGB")
        if image.size != (size, size):
            image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
        return np.asarray(image)


def decode_crop(path: Path | str, size: int, draws: Sequence[float], min_area: float) -> np.ndarray:
    """A random crop of one image as uint8 (size, size, 3): `augment.crop_and_flip` of the whole image, not of its square.

    The crop has an area of [min_area, 1] of the image's and is resized (bilinear, with antialiasing). draws: 5 numbers in
    [0, 1): area, aspect ratio, place along x and y, flip. Raises as `decode`.
    """
    with Image.open(_source(path)) as image:
        left, top, right, bottom = box = crop_box(*image.size, draws, min_area)
        # JPEGs far larger than needed are decoded at 1/2, 1/4 or 1/8; what is left to resize is still a factor of 2
        shrink = min(right - left, bottom - top) / (2 * size)
        if shrink >= 2:
            whole = image.size
            image.draft("RGB", tuple(math.ceil(side / shrink) for side in whole))
            x, y = (now / before for now, before in zip(image.size, whole, strict=True))
            box = (left * x, top * y, right * x, bottom * y)
        image = image if image.mode == "RGB" else image.convert("RGB")
        crop = image.resize((size, size), Image.Resampling.BILINEAR, box)
    return np.asarray(crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if draws[4] < FLIP_P else crop)


def crop_box(width: int, height: int, draws: Sequence[float], min_area: float) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a random crop, in pixels and fractions of them.

    Its area is [min_area, 1] of the image's and its aspect ratio [3/4, 4/3] of a square's, except where it meets the edges.
    """
    area = (min_area + (1 - min_area) * draws[0]) * width * height
    ratio = math.exp((2 * draws[1] - 1) * LOG_RATIO)
    across, down = min(width, math.sqrt(area * ratio)), min(height, math.sqrt(area / ratio))
    left, top = draws[2] * (width - across), draws[3] * (height - down)
    return left, top, left + across, top + down


def load_images(
    table: Path, paths: Sequence[str], size: int, max_bad_fraction: float, threads: int, first: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """All images of `paths` that can be decoded: (uint8 (n, 3, size, size), their places in `paths` (n,), counted from 0).

    `paths` are those of a table, or a part of them that begins in row `first`, counted from 0.
    A missing or broken image is reported with its row and left out; more than `max_bad_fraction` of them is a UserError.
    """
    images = np.empty((len(paths), size, size, 3), np.uint8)

    def fill(row: int) -> None:
        images[row] = decode(paths[row], size)

    good = _good_rows(table, paths, fill, max_bad_fraction, threads, first)
    if len(good) < len(paths):
        images = images[good]
    return images.transpose(0, 3, 1, 2), good


def readable(table: Path, paths: Sequence[str], max_bad_fraction: float, threads: int) -> np.ndarray:
    """The rows (n,), counted from 0, whose images can be decoded; they are the same that `load_images` keeps.

    Every file is read to its end, JPEGs in an eighth of their resolution, about three times as fast as `load_images`. Raises as
    `load_images`.
    """

    def look(row: int) -> None:
        with Image.open(_source(paths[row])) as image:
            image.draft("RGB", (1, 1))
            image.convert("RGB")

    return _good_rows(table, paths, look, max_bad_fraction, threads)


def _good_rows(
    table: Path, paths: Sequence[str], read: Callable[[int], None], max_bad_fraction: float, threads: int, first: int = 0
) -> np.ndarray:
    """The rows for which `read` raises nothing; those for which it does are reported, and too many are a UserError."""

    def fault(row: int) -> str | None:
        try:
            read(row)
        except Exception as error:  # Pillow raises many kinds; each of them is a bad image
            return f"{type(error).__name__}: {error}"
        return None

    chunks = [range(start, min(start + 1000, len(paths))) for start in range(0, len(paths), 1000)]
    with ThreadPoolExecutor(threads) as pool:  # Pillow decodes without holding the interpreter's lock
        faults = [found for part in pool.map(lambda chunk: [fault(row) for row in chunk], chunks) for found in part]
    bad = [row for row, found in enumerate(faults) if found]
    for row in bad[:20]:
        log.warning("%s, row %d: left out %s: %s", table, first + row + 1, paths[row], faults[row])
    if len(bad) > max_bad_fraction * len(paths):
        raise UserError(
            f"{table}: {len(bad)} of {len(paths)} images are missing or broken, first in row {first + bad[0] + 1} "
            f"({paths[bad[0]]}); max_bad_fraction allows {max_bad_fraction:g}"
        )
    return np.flatnonzero([found is None for found in faults])
