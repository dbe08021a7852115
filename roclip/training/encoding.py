"""Pairs as the towers of a training see them between its steps: in evaluation mode, without gradient."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize

from roclip.model import towers

if TYPE_CHECKING:
    from roclip.training.trainer import Training

HELD = 8192  # images that are held at a time


def random_captions(training: "Training", count: int, epoch: int) -> tuple[Tensor, Tensor]:
    """Features (count, dimension) of random captions, augmented as those of the epoch are, and their ids."""
    chosen = torch.randperm(training.pairs, generator=training.generator("pool", epoch))[:count]
    tokens = training.batches.tokens(epoch, chosen)
    return towers.encode_tokens(training.model, tokens, training.runtime), training.ids[chosen]


def random_pairs(training: "Training", count: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Features (count, dimension) of the images of random pairs and their ids, then of their captions; not augmented."""
    chosen = torch.randperm(training.pairs, generator=training.generator("pairs"))[:count]
    images, captions = features(training, chosen)
    return (images, training.ids[chosen]), (captions, training.ids[chosen])


def cosines(training: "Training", ids: Tensor) -> Tensor:
    """The cosines of image and caption of some pairs, not augmented: (n,) -> (n,) on the CPU."""
    images, captions = features(training, training.places[ids])
    return (images * captions).sum(1)


def features(training: "Training", places: Tensor) -> tuple[Tensor, Tensor]:
    """Normalised features of images and captions, not augmented: (n,) -> (n, dimension) each, on the CPU.

    Each rank encodes a part of them, and has all of them in the end.
    """
    ranks, model = training.ranks, training.model
    filled = places[torch.arange(-(-len(places) // ranks.count) * ranks.count) % len(places)]  # as many for each rank
    found = []
    model.eval()
    for part in ranks.part(filled).split(HELD):
        images = towers.encode_images(model, training.images[part].numpy(), training.runtime)
        captions = towers.encode_tokens(model, training.captions.tokens(part), training.runtime)
        found.append(torch.cat([normalize(images, dim=-1), captions], 1))
    model.train()
    images, captions = ranks.collect(torch.cat(found))[: len(places)].chunk(2, dim=1)
    return images, captions
