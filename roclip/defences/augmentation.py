"""Image augmentation of RoCLIP, for a whole batch at once with one set of draws per image.

Horizontal flip, random resized crop, colour jitter, grayscale and Gaussian blur with the strengths of the authors' code.
The draws of an epoch are one table, keyed by (seed, epoch) and indexed by row, so an image's augmentation depends neither on
its place in a batch nor on the number of workers.
"""

import math
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from roclip.core.randomness import generator
from roclip.data.crops import FLIP_P, LOG_RATIO, fitting, law

DRAWS = 12  # uniform numbers that one image uses
JITTER_P, GRAYSCALE_P = 0.8, 0.2
BRIGHTNESS, CONTRAST, SATURATION, HUE = 0.5, 0.5, 0.5, 0.1
BLUR_RADIUS, BLUR_SIGMA = 10, (0.1, 2.0)  # in pixels of a 224-pixel image; scaled to the size at hand

LUMA = torch.tensor([0.299, 0.587, 0.114])
RGB_TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


Spaces = tuple[Tensor, Tensor, Tensor]


@cache
def colour_spaces(device: torch.device) -> Spaces:
    """LUMA, RGB_TO_YIQ and its inverse on a device; to bring them there anew would hold up every step on a GPU."""
    return LUMA.to(device), RGB_TO_YIQ.to(device), torch.linalg.inv(RGB_TO_YIQ).to(device)


def epoch_draws(rows: int, seed: int, epoch: int, view: int = 0) -> Tensor:
    """Uniform numbers in [0, 1) for every row of the data in one view of an epoch: (rows, DRAWS)."""
    return torch.rand(rows, DRAWS, generator=generator("augment", seed, epoch, *([view] if view else [])))


def crop_area(draws: Tensor, min_area: float) -> Tensor:
    """The areas (batch,) of crops that fit into a square, by numbers in [0, 1): `crops.area_of` and the centre crop, at once.

    The share of the ratios that fit is 1 up to an area of 3/4 and -log(area) / LOG_RATIO from there on. The integral of
    that from 1 - e to 1, (e + (1 - e) log(1 - e)) / LOG_RATIO, is inverted by the first terms of a series in z = sqrt(2 *
    LOG_RATIO * integral), up to an error of 2e-7. The centre crop of a square is all of it, where the integral is 0.
    """
    everything, fits = law(min_area)
    left = everything * (1 - draws / max(fits, 1e-30)).clamp(min=0)  # the integral from the wanted area to 1
    every_ratio = left - fitting(max(min_area, 3 / 4))  # the part of it up to 3/4, negative where the area is larger
    z = (2 * LOG_RATIO * left).sqrt()
    large = 1 - z * (1 - z * (1 / 6 + z * (1 / 72 + z * (1 / 270 + z * (23 / 17280)))))
    return torch.where(every_ratio > 0, 3 / 4 - every_ratio, large)


def crop_and_flip(pixels: Tensor, draws: Tensor, min_area: float) -> Tensor:
    """Random crop of area [min_area, 1] and aspect ratio [3/4, 4/3], resized back (bilinear), flipped for draws[:, 4] < .5.

    Areas and ratios have the law of torchvision's RandomResizedCrop (data/crops.py).
    pixels: (batch, 3, side, side) in [0, 1]; draws: (batch, 5).
    """
    area = crop_area(draws[:, 0], min_area)
    ratio = torch.exp((2 * draws[:, 1] - 1) * (-area.log()).clamp(max=LOG_RATIO))
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    centre_x, centre_y = (2 * draws[:, 2] - 1) * (1 - width), (2 * draws[:, 3] - 1) * (1 - height)
    flip = torch.where(draws[:, 4] < FLIP_P, -1.0, 1.0)
    theta = torch.zeros(len(pixels), 2, 3, device=pixels.device)
    theta[:, 0, 0], theta[:, 0, 2] = width * flip, centre_x
    theta[:, 1, 1], theta[:, 1, 2] = height, centre_y
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)


def colour_matrix(draws: Tensor, spaces: Spaces) -> tuple[Tensor, Tensor]:
    """Saturation, hue, brightness and grayscale of each image as one matrix (batch, 3, 3), and its contrast (batch,).

    draws: (batch, 6); spaces: of their device. The jitter is the identity with probability .2. Hue turns the I-Q plane, a
    linear stand-in for the turn in HSV.
    """
    brightness, contrast, saturation = (1 + (2 * draws[:, i] - 1) * s for i, s in enumerate((BRIGHTNESS, CONTRAST, SATURATION)))
    angle = (1 - 2 * draws[:, 3]) * HUE * 2 * math.pi
    jitter = draws[:, 4] < JITTER_P
    one, zero = torch.ones_like(angle), torch.zeros_like(angle)
    brightness, contrast, saturation = (torch.where(jitter, v, one) for v in (brightness, contrast, saturation))
    angle = torch.where(jitter, angle, zero)
    saturation = torch.where(draws[:, 5] < GRAYSCALE_P, zero, saturation)
    cos, sin = angle.cos() * saturation, angle.sin() * saturation
    turn = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], 1).view(-1, 3, 3)
    _, to_yiq, to_rgb = spaces
    return brightness.view(-1, 1, 1) * (to_rgb @ turn @ to_yiq), contrast


def jitter_colours(pixels: Tensor, draws: Tensor, spaces: Spaces) -> Tensor:
    """Colour jitter (.5, .5, .5, .1) with probability .8 and grayscale with probability .2; draws: (batch, 6)."""
    matrix, contrast = colour_matrix(draws, spaces)
    turned = torch.einsum("bij,bjhw->bihw", matrix, pixels)
    luma, _, _ = spaces
    grey = torch.einsum("j,bjhw->bhw", luma, turned).mean((1, 2)).view(-1, 1, 1, 1)
    contrast = contrast.view(-1, 1, 1, 1)
    return (contrast * turned + (1 - contrast) * grey).clamp(0, 1)


def blur(pixels: Tensor, draws: Tensor) -> Tensor:
    """Gaussian blur with sigma .1 to 2 pixels at 224 pixels a side, in proportion at other sizes; draws: (batch, 1)."""
    batch, channels, side, _ = pixels.shape
    radius = round(BLUR_RADIUS * side / 224)
    if radius == 0:
        return pixels
    low, high = BLUR_SIGMA
    sigma = (low + (high - low) * draws) * side / 224
    offsets = torch.arange(-radius, radius + 1, device=pixels.device)
    kernel = torch.softmax(-(offsets**2) / (2 * sigma**2), dim=1)  # (batch, 2 * radius + 1)
    kernel = kernel.repeat_interleave(channels, 0)
    flat = F.pad(pixels.reshape(1, batch * channels, side, side), [radius] * 4, mode="reflect")
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=batch * channels)
    flat = F.conv2d(flat, kernel[:, None, :, None], groups=batch * channels)
    return flat.view(batch, channels, side, side)


def _recolour(pixels: Tensor, draws: Tensor, spaces: Spaces) -> Tensor:
    return blur(jitter_colours(pixels, draws[:, 5:11], spaces), draws[:, 11:12])


def recolour(pixels: Tensor, draws: Tensor) -> Tensor:
    """All but crop and flip, for images that were cropped as they were decoded; arguments as of `augment`."""
    return _recolour(pixels, draws, colour_spaces(pixels.device))


def compiled() -> Callable[[Tensor, Tensor], Tensor]:
    """`recolour`, compiled. It is handed what lies on the device already: compiled code would bring it there each time."""
    work = torch.compile(_recolour, fullgraph=True)
    return lambda pixels, draws: work(pixels, draws, colour_spaces(pixels.device))


def augment(pixels: Tensor, draws: Tensor, min_area: float) -> Tensor:
    """All of it, in the order above. pixels: (batch, 3, side, side) in [0, 1]; draws: (batch, DRAWS) on the same device."""
    return recolour(crop_and_flip(pixels, draws[:, :5], min_area), draws)
