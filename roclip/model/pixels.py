"""From uint8 images to what the towers take."""

from functools import cache

import torch
from torch import Tensor

from roclip.model.configs import MEAN, STD

Channels = tuple[float, ...]  # a number for each


def to_pixels(images: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1], channels last in memory."""
    return images.float().div_(255).contiguous(memory_format=torch.channels_last)


@cache
def _on(device: torch.device, values: Channels) -> Tensor:
    """A number for each channel on a device, (3, 1, 1); to bring them there anew would hold up every step on a GPU."""
    return torch.tensor(values, device=device).view(3, 1, 1)


def normalise(pixels: Tensor, mean: Channels = MEAN, std: Channels = STD) -> Tensor:
    """Pixels in [0, 1], (batch, 3, height, width), as towers take them: CLIP's to zero mean and unit variance."""
    return (pixels - _on(pixels.device, mean)) / _on(pixels.device, std)
