"""What a defence sees of a step, and what the trainer does with its loss."""

import math

import pytest
import torch

from roclip.defences.base import Defence
from roclip.training.train import read
from roclip.training.trainer import Training
from tests.fixtures.trainings import options, training_of

PLAIN = {"kind": "clip", "epochs": 1}


class Watching(Defence):
    """Plain CLIP that keeps what it is shown."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.shown = []

    def loss(self, batch, kind):
        self.shown.append((kind, batch.ids.tolist(), batch.pixels.shape, len(batch.tokens)))
        return super().loss(batch, kind)


class Pushing(Defence):
    """Makes the scale of the logits as large as it can, or as small."""

    sign = -1

    def loss(self, batch, kind):
        return self.sign * self.trainer.logit_scale()


class Pulling(Pushing):
    sign = 1


def test_every_pair_is_seen_at_most_once_in_an_epoch(few, scenes, tmp_path):
    o = options(few, scenes, tmp_path, **PLAIN)
    training = Training(o, Watching, read(o))
    training.epoch(1)
    seen = [number for _, ids, _, _ in training.defence.shown for number in ids]
    assert len(seen) == len(set(seen)) == 2 * 64  # of 136 pairs; a batch that is not full is left out
    assert set(seen) < set(range(136))
    assert {(kind, *sizes) for kind, _, *sizes in training.defence.shown} == {("clip", (64, 3, 32, 32), 64)}


@pytest.mark.parametrize(("defence", "scale"), [(Pushing, 100), (Pulling, 1)])
def test_the_scale_of_the_logits_stays_between_1_and_100(few, scenes, tmp_path, defence, scale):
    o = options(few, scenes, tmp_path, **PLAIN, learning_rate=5.0)
    training = Training(o, defence, read(o))
    training.epoch(1)
    assert training.model.logit_scale.item() == pytest.approx(math.log(scale), abs=1e-6)


def test_the_backward_pass_is_not_under_autocast(few, scenes, tmp_path):
    """Or the gradients of the loss, which is in float32, would be taken in bfloat16."""
    training = training_of(options(few, scenes, tmp_path, precision="bf16"))
    seen = []
    encode = training.model.encode_image
    training.model.encode_image = lambda *a, **k: seen.append(torch.is_autocast_enabled("cpu")) or encode(*a, **k)
    training.model.logit_scale.register_hook(lambda gradient: seen.append(torch.is_autocast_enabled("cpu")))
    next(training.steps(1))
    assert seen == [True, False]
