"""Triggers: pure functions from a uint8 image (height, width, 3) to a uint8 image of the same shape."""

import numpy as np

PLACES = ("corner", "random")
PATTERNS = ("fixed", "per_image")


def noise(side: int, rng: np.random.Generator) -> np.ndarray:
    """A square of uniform colour noise, uint8 (side, side, 3)."""
    return rng.integers(0, 256, (side, side, 3), np.uint8)


def patch(image: np.ndarray, pattern: np.ndarray, top: int, left: int) -> np.ndarray:
    """The image with `pattern`, uint8 (side, side, 3), in place of the pixels from (top, left) on.

    Raises ValueError when the pattern does not fit there.
    """
    side = len(pattern)
    height, width = image.shape[:2]
    if not (0 <= top <= height - side and 0 <= left <= width - side):
        raise ValueError(f"a patch of {side} pixels at ({top}, {left}) does not fit an image of {height} x {width}")
    triggered = image.copy()
    triggered[top : top + side, left : left + side] = pattern
    return triggered
