"""From uint8 images to what the towers take."""

from functools import cache

import torch
from torch import Tensor

# OpenAI's CLIP, per channel, of pixels in [0, 1]
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def to_pixels(images: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1], channels last in memory."""
    return images.float().div_(255).contiguous(memory_format=torch.channels_last)


@cache
def _moments(device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation on a device, (3, 1, 1) each; to bring them there anew would hold up every step on a GPU."""
    return tuple(torch.tensor(v, device=device).view(3, 1, 1) for v in (MEAN, STD))


def normalise(pixels: Tensor) -> Tensor:
    """Pixels in [0, 1], (batch, 3, height, width), to the towers' zero mean and unit variance."""
    mean, std = _moments(pixels.device)
    return (pixels - mean) / std
