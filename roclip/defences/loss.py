"""Losses on features: that of CLIP, which RoCLIP applies to images and their pool captions too, and SafeCLIP's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roclip.core.deferred import Deferred

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as functional
    from torch import Tensor
else:
    torch, functional = Deferred("torch"), Deferred("torch.nn.functional")


def unimodal_loss(neighbours: Tensor, views: Tensor, logit_scale: Tensor) -> Tensor:
    """The loss of SafeCLIP within a modality: neighbour i is to be near view i, of the same example, and far from all others.

    neighbours, views: (batch, dimension), L2-normalised; logit_scale: scalar, exponentiated.
    """
    logits = _logits(neighbours, views, logit_scale)
    return functional.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def clip_loss(image_features: Tensor, text_features: Tensor, logit_scale: Tensor) -> Tensor:
    """Mean of the image-to-text and text-to-image cross-entropy; pair i is (image i, text i), the rest are negatives.

    image_features, text_features: (batch, dimension), L2-normalised; logit_scale: scalar, already exponentiated.
    """
    logits = _logits(image_features, text_features, logit_scale)
    labels = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, labels) + functional.cross_entropy(logits.T, labels)) / 2


def _logits(first: Tensor, second: Tensor, logit_scale: Tensor) -> Tensor:
    """All cosines of two batches of features (n, dimension), scaled: (n, n).

    In float32, under autocast too: bfloat16 keeps 8 bits, at a logit scale of 100 an error of up to .4 in a logit.
    """
    with torch.autocast(first.device.type, enabled=False):
        return logit_scale.float() * first.float() @ second.float().T
