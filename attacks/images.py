"""Reading and writing of an attack's images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def check_image(image: Any, giver: str, shape: tuple[int, ...] | None = None) -> None:
    """Raises UserError, which names the giver, for what is no image, or one of another shape.

    shape: (height, width, 3); None: of any size.
    """
    is_array = isinstance(image, np.ndarray)
    fits = is_array and (image.shape == shape if shape else image.shape[2:] == (3,))
    if fits and image.dtype == np.uint8 and image.size:
        return
    what = f"an array of {image.dtype} and shape {image.shape}" if is_array else type(image).__name__
    wanted = f"the image's own shape {shape}" if shape else "the shape (height, width, 3)"
    raise UserError(f"{giver} gave {what}; it must give an array of uint8 (whole numbers from 0 to 255) and {wanted}")


def write_image(image: np.ndarray, target: Path) -> str:
    """Save an image losslessly; its path. Raises UserError for what is no uint8 (height, width, 3)."""
    check_image(image, f"{target}: the attack")
    with atomic(target) as temporary:
        Image.fromarray(image).save(temporary)
    return str(target)
