"""What a training among many (benchmarks/lanes.py) is of: its recipe, its pairs, and all that is drawn for them beforehand."""

from dataclasses import dataclass

import torch
from torch import Tensor

from roclip.core.randomness import generator
from roclip.defences import augmentation


@dataclass(frozen=True)
class Recipe:
    """A defence.

    match_with: nearest is RoCLIP; random, random captions of the pool; nothing, no step is taken and the schedule goes on.
    """

    epochs: int
    match_every: int = 0
    match_with: str = "nearest"
    augment: bool = True


@dataclass(frozen=True)
class Settings:
    """What all trainings of a set have in common."""

    model: str
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    crop_area: float
    pool_size: int
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8


@dataclass(frozen=True)
class World:
    """The pairs of one attack and seed on the device, and what is drawn for them.

    images: uint8 (m, 3, side, side); image_of: (n,), the image of each pair; image_class: (n,), what its image shows;
    caption_class: (n,), what its caption names; both -1 where that is not known; is_poison: (n,); tokens: (epochs + 1, n,
    context), those of epoch 0 as they are; targets and tests: places in `images`, and wanted classes; prompts: (classes *
    templates, context).
    """

    name: dict[str, str | int]
    images: Tensor
    image_of: Tensor
    image_class: Tensor
    caption_class: Tensor
    is_poison: Tensor
    tokens: Tensor
    targets: Tensor
    target_labels: Tensor
    tests: Tensor
    test_labels: Tensor
    prompts: Tensor
    classes: int


class Draws:
    """All that is drawn for the pairs of a world in `epochs` epochs, by the keys of the project's Training."""

    def __init__(self, world: World, settings: Settings, seed: int, epochs: int) -> None:
        rows, device = len(world.image_of), world.images.device
        self.steps = rows // settings.batch_size
        used, numbers = self.steps * settings.batch_size, range(1, epochs + 1)
        self.rows = rows
        orders = [torch.randperm(rows, generator=generator("order", seed, e))[:used] for e in numbers]
        self.order = torch.stack(orders).view(-1, settings.batch_size).to(device)
        draws = torch.stack([augmentation.epoch_draws(rows, seed, e) for e in numbers])
        self.augment = draws.view(-1, augmentation.DRAWS).to(device)
        fills = [torch.randperm(rows, generator=generator("pool", seed, e))[: settings.pool_size] for e in numbers]
        self.fills = torch.stack(fills).to(device)
        slots = [torch.randint(settings.pool_size, (used,), generator=generator("random slots", seed, e)) for e in numbers]
        self.slots = torch.stack(slots).view(-1, settings.batch_size).to(device)
