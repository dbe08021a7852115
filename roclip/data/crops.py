"""Where a random crop lies: the law of torchvision's RandomResizedCrop, with one number for the area and one for the ratio.

RandomResizedCrop draws the area uniformly and the logarithm of the aspect ratio uniformly, both again, up to ten times, until
the crop fits into the image; then it takes a centre crop. What it finds is thus uniform over the pairs that fit: its area has a
density in proportion to the share of the ratios that fit it, and its ratio is uniform among those. Both are sampled by
inversion, so that a crop needs two numbers however often torchvision would have drawn. The probability of ten failures is set
aside for the centre crop. Only the rounding to whole pixels is left out.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

FLIP_P, LOG_RATIO = 0.5, math.log(4 / 3)  # aspect ratios lie between 3/4 and 4/3
TRIES = 10
NEAR = 1e-13  # of an integral, at which Newton's steps end; they are some five, and twenty where no ratio is left


def ratios(area: float, log_aspect: float) -> tuple[float, float]:
    """The logarithms of the lowest and highest aspect ratio with which a crop of that share of an image fits into it.

    log_aspect: of width / height of the image. With no ratio that fits, the two are equal.
    """
    low = min(max(log_aspect + math.log(area), -LOG_RATIO), LOG_RATIO)
    return low, max(low, min(max(log_aspect - math.log(area), -LOG_RATIO), LOG_RATIO))


def fitting(area: float, log_aspect: float = 0.0) -> float:
    """The integral from an area to 1 of the share of the ratios that fit: that of both edges of `ratios`."""

    def edge(shift: float) -> float:
        """The integral of -log(a) + shift, cut off at -LOG_RATIO and LOG_RATIO."""
        first, last = (min(1.0, max(area, math.exp(shift + end))) for end in (-LOG_RATIO, LOG_RATIO))
        between = last * (1 + shift - math.log(last)) - first * (1 + shift - math.log(first))
        return LOG_RATIO * (first - area) + between - LOG_RATIO * (1 - last)

    return max(0.0, (edge(log_aspect) + edge(-log_aspect)) / (2 * LOG_RATIO))


@lru_cache(10_000)
def law(min_area: float, log_aspect: float = 0.0) -> tuple[float, float]:
    """The integral of `fitting` from the smallest area on, and the probability that a crop fits within ten tries."""
    everything = fitting(min_area, log_aspect)
    share = everything / (1 - min_area) if min_area < 1 else 0.0
    return everything, 1 - max(0.0, 1 - share) ** TRIES


def area_of(along: float, min_area: float, log_aspect: float) -> float:
    """The area of a crop that fits: where the integral of what fits is so far along, a number in [0, 1)."""
    everything, _ = law(min_area, log_aspect)
    wanted = everything * along
    all_fit = math.exp(-abs(log_aspect) - LOG_RATIO)  # the largest area with which every ratio fits
    if min_area + wanted <= all_fit:
        return min_area + wanted
    area = max(min_area, all_fit)  # from below the steps only come nearer, for the density does not rise
    while (left := wanted - (everything - fitting(area, log_aspect))) > NEAR:
        low, high = ratios(area, log_aspect)
        area += left * 2 * LOG_RATIO / (high - low)
    return area


def crop_box(width: int, height: int, draws: Sequence[float], min_area: float) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a random crop, in pixels and fractions of them.

    Its area is [min_area, 1] of the image's and its aspect ratio [3/4, 4/3], except for the centre crop after ten failures.
    draws: numbers in [0, 1) for area, aspect ratio, place along x and y.
    """
    log_aspect = math.log(width / height)
    _, fits = law(min_area, log_aspect)
    if draws[0] < fits:
        area = area_of(draws[0] / fits, min_area, log_aspect)
        low, high = ratios(area, log_aspect)
        ratio, across, down = low + (high - low) * draws[1], draws[2], draws[3]
    else:  # as much of the middle as an allowed ratio holds
        ratio, across, down = min(max(log_aspect, -LOG_RATIO), LOG_RATIO), 0.5, 0.5
        area = math.exp(-abs(log_aspect - ratio))
    box_width = min(width, math.sqrt(area * width * height * math.exp(ratio)))
    box_height = min(height, math.sqrt(area * width * height * math.exp(-ratio)))
    left, top = across * (width - box_width), down * (height - box_height)
    return left, top, left + box_width, top + box_height
