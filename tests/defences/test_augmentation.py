"""Image augmentation against torchvision's functions, which share no code with it."""

import colorsys
import math
from functools import partial

import pytest
import torch
from torchvision.transforms.v2 import functional as oracle

from roclip.defences import augmentation

SIDE = 32
MIDDLE = 0.5  # the draw that leaves a jitter as it is


def pixels(batch: int = 4, side: int = SIDE) -> torch.Tensor:
    return 0.3 + 0.3 * torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(0))


def jitter(images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    return augmentation.jitter_colours(images, draws, augmentation.colour_spaces(images.device))


def colour_draws(brightness=MIDDLE, contrast=MIDDLE, saturation=MIDDLE, hue=MIDDLE, jitter=0.0, grey=1.0) -> torch.Tensor:
    return torch.tensor([[brightness, contrast, saturation, hue, jitter, grey]]).expand(4, 6)


def crop_draws(area=1.0, ratio=0.5, across=0.5, down=0.5, flip=1.0) -> torch.Tensor:
    return torch.tensor([[area, ratio, across, down, flip]]).expand(4, 5)


def test_middle_draws_change_nothing():
    same = augmentation.crop_and_flip(pixels(), crop_draws(), 0.5)
    assert torch.allclose(jitter(same, colour_draws()), pixels(), atol=1e-5)


@pytest.mark.parametrize("draw", [0.0, 0.2, 0.7, 0.9])
@pytest.mark.parametrize(
    ("name", "function"),
    [("brightness", oracle.adjust_brightness), ("contrast", oracle.adjust_contrast), ("saturation", oracle.adjust_saturation)],
)
def test_jitter_equals_torchvision(name, function, draw):
    ours = jitter(pixels(), colour_draws(**{name: draw}))
    assert torch.allclose(ours, function(pixels(), 1 + (2 * draw - 1) * 0.5), atol=2e-3)


def test_grayscale_equals_torchvision_and_jitter_can_be_off():
    grey = jitter(pixels(), colour_draws(brightness=0.9, jitter=0.9, grey=0.1))
    assert torch.allclose(grey, oracle.rgb_to_grayscale(pixels(), 3), atol=2e-3)


@pytest.mark.parametrize("draw", [0.0, 0.25, 0.75, 1.0])
def test_hue_turns_about_as_far_as_torchvisions(draw):
    red = torch.tensor([0.6, 0.35, 0.35]).view(1, 3, 1, 1).expand(4, 3, SIDE, SIDE)
    ours = jitter(red, colour_draws(hue=draw))
    theirs = oracle.adjust_hue(red, (2 * draw - 1) * 0.1)
    hues = [colorsys.rgb_to_hsv(*image[0, :, 0, 0].tolist())[0] for image in (ours, theirs)]
    assert abs((hues[0] - hues[1] + 0.5) % 1 - 0.5) < 0.05  # of a full turn; a linear turn is not the turn in HSV


def test_flip_equals_torchvision():
    assert torch.allclose(
        augmentation.crop_and_flip(pixels(), crop_draws(flip=0.0), 0.5), oracle.horizontal_flip(pixels()), atol=1e-5
    )


@pytest.mark.parametrize(("across", "down", "left", "top"), [(0.5, 0.5, 8, 8), (0.0, 0.0, 0, 0), (1.0, 0.0, 16, 0)])
def test_crop_equals_torchvision(across, down, left, top):
    quarter = augmentation.crop_and_flip(pixels(), crop_draws(area=0.0, across=across, down=down), 0.25)
    theirs = oracle.resized_crop(pixels(), top, left, 16, 16, [SIDE, SIDE], antialias=False)
    inner = slice(1, -1)  # at the rim we see past the crop where torchvision repeats its edge
    assert torch.allclose(quarter[..., inner, inner], theirs[..., inner, inner], atol=1e-4)


def test_blur_equals_torchvision():
    image = pixels(2, 224)
    ours = augmentation.blur(image, torch.tensor([[1.0], [0.0]]))
    assert torch.allclose(ours[:1], oracle.gaussian_blur(image[:1], 21, 2.0), atol=1e-4)
    assert torch.allclose(ours[1:], oracle.gaussian_blur(image[1:], 21, 0.1), atol=1e-4)


def test_draws_depend_on_seed_and_epoch_and_rows_do_not_mix():
    draws = augmentation.epoch_draws(8, 0, 1)
    assert draws.shape == (8, augmentation.DRAWS)
    assert torch.equal(draws, augmentation.epoch_draws(8, 0, 1))
    assert not torch.equal(draws, augmentation.epoch_draws(8, 0, 2))
    assert not torch.equal(draws, augmentation.epoch_draws(8, 1, 1))
    batch = pixels(8)
    whole = augmentation.augment(batch, draws, 0.5)
    backwards = augmentation.augment(batch.flip(0), draws.flip(0), 0.5).flip(0)
    assert torch.allclose(whole, backwards, atol=1e-5)


def test_stays_in_range_and_uses_the_probabilities_of_the_paper():
    draws = augmentation.epoch_draws(4000, 0, 1)
    out = augmentation.augment(torch.rand(4000, 3, 8, 8, generator=torch.Generator().manual_seed(1)), draws, 0.5)
    assert out.min() >= -1e-6
    assert out.max() <= 1 + 1e-6
    grey = ((out[:, 0] - out[:, 1]).abs().amax((1, 2)) < 1e-4).float().mean().item()
    assert grey == pytest.approx(0.2, abs=4 * math.sqrt(0.16 / 4000))


def test_compiled_it_is_the_same_and_one_graph(monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    draws = augmentation.epoch_draws(4, 0, 1)
    assert torch.allclose(augmentation.compiled()(pixels(4), draws), augmentation.recolour(pixels(4), draws), atol=1e-6)
