"""Decoding images into uint8 arrays."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from roclip.errors import UserError

log = logging.getLogger(__name__)


def decode(path: Path, size: int) -> np.ndarray:
    """One image as uint8 (size, size, 3): shorter side resized to `size` (bicubic), centre square, RGB.

    Raises OSError or what else Pillow raises on a broken file.
    """
    with Image.open(path) as image:
        image = image.convert("RGB")
        if image.size != (size, size):
            image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
        return np.asarray(image)


def load_images(
    table: Path, paths: Sequence[str], size: int, max_bad_fraction: float, threads: int, first: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """All images of `paths` that can be decoded: (uint8 (n, 3, size, size), their places in `paths` (n,), counted from 0).

    `paths` are those of a table, or a part of them that begins in row `first`, counted from 0.
    A missing or broken image is reported with its row and left out; more than `max_bad_fraction` of them is a UserError.
    """
    images = np.empty((len(paths), size, size, 3), np.uint8)

    def fill(row: int) -> str | None:
        try:
            images[row] = decode(Path(paths[row]), size)
        except Exception as error:  # Pillow raises many kinds; each of them is a bad image
            return f"{type(error).__name__}: {error}"
        return None

    chunks = [range(start, min(start + 1000, len(paths))) for start in range(0, len(paths), 1000)]
    with ThreadPoolExecutor(threads) as pool:  # Pillow decodes without holding the interpreter's lock
        faults = [fault for part in pool.map(lambda chunk: [fill(row) for row in chunk], chunks) for fault in part]
    bad = [row for row, fault in enumerate(faults) if fault]
    for row in bad[:20]:
        log.warning("%s, row %d: left out %s: %s", table, first + row + 1, paths[row], faults[row])
    if len(bad) > max_bad_fraction * len(paths):
        raise UserError(
            f"{table}: {len(bad)} of {len(paths)} images are missing or broken, first in row {first + bad[0] + 1} "
            f"({paths[bad[0]]}); max_bad_fraction allows {max_bad_fraction:g}"
        )
    good = np.flatnonzero([fault is None for fault in faults])
    if len(good) < len(paths):
        images = images[good]
    return images.transpose(0, 3, 1, 2), good
