"""Reading and writing of an attack's images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from roclip.core.atomic import atomic
from roclip.core.errors import UserError
from roclip.data.image_paths import Roots
from roclip.data.images import decode, decode_crop


def _read(path: str, roots: Roots, read: Callable[[], np.ndarray]) -> np.ndarray:
    try:
        roots.check(path)
        return read()
    except Exception as error:  # Pillow raises many kinds
        raise UserError(f"{path}: cannot be decoded ({error}); the attack needs it: mend it or take it out") from None


def read_image(path: str, roots: Roots, size: int) -> np.ndarray:
    """An image as uint8 (size, size, 3). Raises UserError for one that cannot be decoded or lies outside the data roots."""
    return _read(path, roots, lambda: decode(path, size))


def read_crop(path: str, roots: Roots, size: int, min_area: float, rng: np.random.Generator) -> np.ndarray:
    """A random crop of an image, of an area of [min_area, 1], flipped half of the time; raises as `read_image`."""
    return _read(path, roots, lambda: decode_crop(path, size, rng.random(5), min_area))


def write_image(image: np.ndarray, target: Path) -> str:
    """Save an image losslessly; its path."""
    with atomic(target) as temporary:
        Image.fromarray(image).save(temporary)
    return str(target)
