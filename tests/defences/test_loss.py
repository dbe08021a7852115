"""The loss against a computation by hand and against open_clip's."""

import math

import pytest
import torch
from open_clip.loss import ClipLoss

from roclip.defences.loss import clip_loss


def unit(*shape: int, seed: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
def test_equals_open_clip(scale):
    images, texts = unit(16, 8, seed=0), unit(16, 8, seed=1)
    assert clip_loss(images, texts, torch.tensor(scale)).item() == pytest.approx(
        ClipLoss()(images, texts, torch.tensor(scale)).item(), rel=1e-6
    )


def test_equals_the_sums_written_out():
    images, texts, scale = unit(3, 4, seed=2), unit(3, 4, seed=3), 5.0
    logits = [[scale * float(images[i] @ texts[j]) for j in range(3)] for i in range(3)]
    total = 0.0
    for i in range(3):
        total -= logits[i][i] - math.log(sum(math.exp(logits[i][j]) for j in range(3)))
        total -= logits[i][i] - math.log(sum(math.exp(logits[j][i]) for j in range(3)))
    assert clip_loss(images, texts, torch.tensor(scale)).item() == pytest.approx(total / 6, rel=1e-5)


def test_falls_as_pairs_come_closer_and_is_symmetric():
    images, other = unit(8, 6, seed=4), unit(8, 6, seed=5)
    scale = torch.tensor(10.0)
    assert clip_loss(images, images, scale) < clip_loss(images, other, scale)
    assert clip_loss(images, images, scale) < clip_loss(images, images.roll(1, 0), scale)
    assert clip_loss(images, other, scale).item() == pytest.approx(clip_loss(other, images, scale).item(), rel=1e-6)


def test_bf16_features_do_not_lower_the_precision_of_the_logits():
    images, texts = unit(16, 8, seed=6).bfloat16(), unit(16, 8, seed=7).bfloat16()
    exact = clip_loss(images.double().float(), texts.double().float(), torch.tensor(100.0))
    with torch.autocast("cpu", torch.bfloat16):
        loss = clip_loss(images, texts, torch.tensor(100.0))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)
