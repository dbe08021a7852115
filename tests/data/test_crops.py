"""The law of random crops against torchvision's own loop, which draws again until a crop fits."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop

from roclip.data.crops import crop_box
from roclip.defences.augmentation import crop_area

SIDE = 3000  # pixels: torchvision rounds boxes to whole ones
DRAWS = 4000


def shares(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Area as a share of the image's, aspect ratio, and the box's middle: (n, 4), from left, top, right and bottom (n, 4).

    Rounded, for where a crop takes all that there is, torchvision's box is rounded to pixels and ours is not.
    """
    left, top, right, bottom = boxes.T
    across, down = right - left, bottom - top
    found = across * down / (width * height), across / down, (left + right) / (2 * width), (top + bottom) / (2 * height)
    return np.stack(found, 1).round(3)


def theirs(width: int, height: int, min_area: float) -> np.ndarray:
    image = torch.empty(1, 1, 1).expand(1, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = [RandomResizedCrop.get_params(image, [min_area, 1.0], [3 / 4, 4 / 3]) for _ in range(DRAWS)]
    boxes = np.array([(left, top, left + across, top + down) for top, left, down, across in found])
    return shares(boxes, width, height)


def ours(width: int, height: int, min_area: float) -> np.ndarray:
    draws = np.random.default_rng(0).random((DRAWS, 4))
    return shares(np.array([crop_box(width, height, row, min_area) for row in draws]), width, height)


@pytest.mark.parametrize(
    ("width", "height", "min_area"),
    [
        (SIDE, SIDE, 0.4),
        (SIDE, SIDE, 0.08),
        (SIDE, 2 * SIDE, 0.08),
        (1.2 * SIDE, SIDE, 0.3),
        (SIDE, SIDE, 0.9),  # a tenth are the centre crop, and of the next all
        (3 * SIDE, SIDE, 0.5),
    ],
)
def test_crops_have_torchvisions_law(width, height, min_area):
    a, b = (crops(int(width), int(height), min_area) for crops in (ours, theirs))
    assert a[:, 0].mean() == pytest.approx(b[:, 0].mean(), abs=0.015)
    for one, other in zip(a.T, b.T, strict=True):
        assert ks_2samp(one, other).pvalue > 0.001
    assert np.corrcoef(a.T[:2])[0, 1] == pytest.approx(np.corrcoef(b.T[:2])[0, 1], abs=0.05, nan_ok=True)


@pytest.mark.parametrize(("min_area", "mean"), [(0.4, 0.645), (0.08, 0.478)])
def test_the_mean_area_is_that_of_the_density(min_area, mean):
    """An area is accepted with the share of the ratios that fit it: integrated in small steps. mean: of torchvision's."""
    areas = np.linspace(min_area, 1, 100_001)
    fit = np.minimum(1, -np.log(areas) / math.log(4 / 3))
    expected = (areas * fit).sum() / fit.sum()
    assert expected == pytest.approx(mean, abs=0.005)
    found = crop_area(torch.rand(200_000, generator=torch.Generator().manual_seed(0)), min_area)
    assert found.mean().item() == pytest.approx(expected, abs=0.002)


@pytest.mark.parametrize("min_area", [0.08, 0.4, 0.75, 0.9, 0.999, 1 - 1e-12, 1.0])
def test_a_batch_of_squares_is_cropped_as_each_alone(min_area):
    draws = torch.cat([torch.rand(500, generator=torch.Generator().manual_seed(1)), torch.tensor([0.0, 1 - 2**-24])])
    boxes = np.array([crop_box(1, 1, (draw, 0.5, 0.5, 0.5), min_area) for draw in draws.tolist()])
    alone = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert crop_area(draws, min_area).numpy() == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize(("width", "height"), [(100, 100), (300, 60), (60, 300)])
def test_boxes_lie_inside_and_have_the_ratios(width, height):
    for draws in np.random.default_rng(0).random((500, 4)):
        left, top, right, bottom = crop_box(width, height, draws, 0.08)
        assert 0 <= left < right <= width * (1 + 1e-9)
        assert 0 <= top < bottom <= height * (1 + 1e-9)
        assert 0.08 - 1e-9 <= (right - left) * (bottom - top) / (width * height) <= 1 + 1e-9
        assert 3 / 4 - 1e-6 <= (right - left) / (bottom - top) <= 4 / 3 + 1e-6
