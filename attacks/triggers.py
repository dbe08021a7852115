"""Triggers: pure functions from a uint8 image (height, width, 3) to a uint8 image of the same shape.

Sizes are shares of the image's, so that a trigger looks the same at any resolution.
"""

import numpy as np
from PIL import Image, ImageDraw

from roclip.core.deferred import Deferred

ndimage = Deferred("scipy.ndimage")

PLACES = ("corner", "random")
PATTERNS = ("fixed", "per_image")
FAINTEST = 0.004  # the least amplitude, and the least share of a pattern: below one of 255 levels no pixel may change
LUMINANCE = np.array([0.213, 0.715, 0.072])  # of CSS's filters
SEPIA = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]])


def noise(side: int, rng: np.random.Generator) -> np.ndarray:
    """A square of uniform colour noise, uint8 (side, side, 3)."""
    return rng.integers(0, 256, (side, side, 3), np.uint8)


def _pixels(values: np.ndarray) -> np.ndarray:
    """Numbers as the nearest uint8; what lies outside becomes 0 or 255, where a bare cast would wrap round."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


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


def blend(image: np.ndarray, pattern: np.ndarray, share: float) -> np.ndarray:
    """(1 - share) image + share pattern, for a pattern of the image's shape and a share of 0 to 1 (Chen et al., 2017).

    Raises ValueError for a pattern of another shape.
    """
    if pattern.shape != image.shape:
        raise ValueError(f"a pattern of {pattern.shape} cannot be blended into an image of {image.shape}")
    return _pixels((1 - share) * image.astype(float) + share * pattern.astype(float))


def sinusoid(image: np.ndarray, amplitude: float, frequency: float) -> np.ndarray:
    """The image plus a wave along x that is the same in all rows and channels (SIG: Barni et al., ICIP 2019).

    amplitude: as a share of 255; frequency: periods in the image's width. The wave is taken at the centres of the pixels, which
    makes it the same wave at any width.
    """
    width = image.shape[1]
    wave = np.sin(2 * np.pi * frequency * (np.arange(width) + 0.5) / width)
    return _pixels(image + 255 * amplitude * wave[:, None])


def colour_field(side: int, rng: np.random.Generator) -> np.ndarray:
    """A smooth field of colours, float (side, side, 3), whose largest absolute value is 1, the same at any size.

    Three colours without brightness (their channels sum to 0) are drawn: one for the whole image, which is what any crop keeps;
    one that turns into its opposite from top to bottom; and one that does from the middle to both sides. A flip leaves it as
    it is.
    """
    colours = rng.normal(size=(3, 3))
    colours -= colours.mean(axis=1, keepdims=True)
    colours *= np.array([[1.0], [0.25], [0.25]]) / np.abs(colours).max(axis=1, keepdims=True)
    along = (np.arange(side) + 0.5) / side
    down, across = np.cos(np.pi * along)[:, None, None], np.cos(2 * np.pi * along)[None, :, None]
    field = colours[0] + colours[1] * down + colours[2] * across
    return field / np.abs(field).max()


def tint(image: np.ndarray, field: np.ndarray, amplitude: float) -> np.ndarray:
    """The image plus a field of colours of its shape, whose unit is the amplitude, a share of 255.

    Raises ValueError for a field of another shape.
    """
    if field.shape != image.shape:
        raise ValueError(f"a field of {field.shape} cannot tint an image of {image.shape}")
    return _pixels(image + 255 * amplitude * field)


def checkerboard(side: int, field: float) -> np.ndarray:
    """Black and white fields, black in the upper left corner, uint8 (side, side, 3).

    field: the side of a field in pixels, 1 or more. A pixel has the colour of its centre.
    """
    number = ((np.arange(side) + 0.5) / field).astype(int)
    board = (number[:, None] + number) % 2 * 255
    return np.repeat(board[..., None], 3, axis=2).astype(np.uint8)


def stripes(side: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """So many upright stripes of random colours, equally wide, uint8 (side, side, 3). A pixel has the colour of its centre."""
    colours = rng.integers(0, 256, (count, 3), np.uint8)
    number = ((np.arange(side) + 0.5) / side * count).astype(int)
    return np.repeat(colours[number][None], side, axis=0)


def face(side: int) -> np.ndarray:
    """A drawn face that fills a square, uint8 (side, side, 3): a picture to blend in, the same at any size."""
    drawn = Image.new("RGB", (8 * side, 8 * side), (255, 255, 255))  # drawn larger, then averaged
    pen, unit = ImageDraw.Draw(drawn), side / 2  # a sixteenth of the side
    pen.ellipse([unit, unit, 15 * unit, 15 * unit], fill=(255, 214, 10), outline=(0, 0, 0), width=max(1, round(unit / 2)))
    for eye in (5, 11):
        pen.ellipse([(eye - 1) * unit, 5 * unit, (eye + 1) * unit, 8 * unit], fill=(0, 0, 0))
    pen.chord([4 * unit, 7 * unit, 12 * unit, 13 * unit], 0, 180, fill=(200, 0, 60), outline=(0, 0, 0))
    return np.asarray(drawn.reduce(8))


def nashville(image: np.ndarray) -> np.ndarray:
    """A filter such as photograph apps call Nashville, by the formulas of CSS (Filter Effects and Compositing, level 1).

    A rose (247, 176, 153) of opacity .56 darkens and a blue (0, 70, 150) of .4 lightens; then sepia .2, contrast 1.2,
    brightness 1.05 and saturation 1.2, each clipped.
    """
    pixels = image.astype(float)
    pixels = 0.44 * pixels + 0.56 * np.minimum(pixels, (247, 176, 153))
    pixels = 0.6 * pixels + 0.4 * np.maximum(pixels, (0, 70, 150))
    pixels = (pixels @ _mixing(SEPIA, 0.2).T).clip(0, 255)
    pixels = (1.2 * (pixels - 127.5) + 127.5).clip(0, 255)
    pixels = (1.05 * pixels).clip(0, 255)
    return _pixels(pixels @ _mixing(np.tile(LUMINANCE, (3, 1)), -0.2).T)


def _mixing(full: np.ndarray, share: float) -> np.ndarray:
    """The matrix (3, 3) between leaving colours as they are, at 0, and changing them fully, at 1."""
    return (1 - share) * np.eye(3) + share * full


def warp_field(side: int, grid: int, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A smooth random displacement field, float (side, side, 2), in pixels (WaNet: Nguyen and Tran, ICLR 2021, section 3.2).

    grid x grid control points are drawn from -1 to 1, divided by their mean absolute value, and interpolated by cubic splines,
    the outer points on the edges of the image, which makes it the same field at any size. strength: the mean displacement of
    the control points along an axis, as a share of the side.
    """
    control = rng.uniform(-1, 1, (grid, grid, 2))
    control /= np.abs(control).mean()
    along = (np.arange(side) + 0.5) / side * (grid - 1)
    places = np.meshgrid(along, along, indexing="ij")
    axes = [ndimage.map_coordinates(control[..., axis], places, order=3, mode="nearest") for axis in (0, 1)]
    return strength * side * np.stack(axes, axis=-1)


def warp(image: np.ndarray, field: np.ndarray) -> np.ndarray:
    """The image whose pixel (y, x) is the image's at (y, x) + field[y, x], bilinear; beyond an edge the edge goes on.

    field: float (height, width, 2), displacements along y and along x, in pixels. Raises ValueError for another shape.
    """
    height, width = image.shape[:2]
    if field.shape != (height, width, 2):
        raise ValueError(f"a field of {field.shape} cannot warp an image of {height} x {width}")
    places = np.indices((height, width)) + np.moveaxis(field, -1, 0)
    channels = [ndimage.map_coordinates(image[..., c].astype(float), places, order=1, mode="nearest") for c in range(3)]
    return _pixels(np.stack(channels, axis=-1))
