"""CleanCLIP and PAR against their formulas, written out."""

import math

import numpy as np
import pytest
import torch

from roclip.defences.repair import REPAIRS
from roclip.training import repair
from roclip.training.trainer import Training
from tests.fixtures.trainings import options
from tests.fixtures.weights import write_small

BATCH = 16


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    write_small(folder / "last_clip.safetensors", {"epoch": 8})
    return folder


@pytest.fixture
def repaired(few, scenes, tmp_path, weights):
    """A repair of that kind before its first step, and that step's batch."""

    def make(kind: str, **changes):
        o = options(
            few, scenes, tmp_path, kind, repair.STAGE, pairs=scenes / "train.csv", clean_pairs=64, batch_size=BATCH,
            start_from=str(weights), **changes,
        )  # fmt: skip
        training = Training(o, REPAIRS[kind], repair.read(o))
        (phase,) = training.defence.phases(1)
        return training, next(training.batches.of(1, [torch.arange(BATCH)], phase.views))

    return make


def features(model, batch) -> tuple[np.ndarray, np.ndarray]:
    with torch.no_grad():
        found = model.encode_image(batch.pixels, normalize=True), model.encode_text(batch.tokens, normalize=True)
    return tuple(each.double().numpy() for each in found)


def rows(first: np.ndarray, second: np.ndarray, scale: float) -> float:
    """The cross-entropy of each of the first with its own among the second, one direction alone."""
    total = 0.0
    for i, one in enumerate(first):
        exponents = [math.exp(scale * float(one @ other)) for other in second]
        total -= math.log(exponents[i] / sum(exponents)) / len(first)
    return total


@pytest.mark.parametrize(("clip_weight", "in_modal_weight"), [(1.0, 1.0), (0.5, 8.0), (1.0, 0.0)])
def test_cleanclip_is_its_formula(repaired, clip_weight, in_modal_weight):
    training, batch = repaired("cleanclip", clip_weight=clip_weight, in_modal_weight=in_modal_weight)
    images, captions = features(training.model, batch)
    other_images, other_captions = features(training.model, batch.others[0])
    scale = training.logit_scale().item()
    clip = (rows(images, captions, scale) + rows(captions, images, scale)) / 2
    within = (rows(images, other_images, scale) + rows(captions, other_captions, scale)) / 2
    assert training.defence.loss(batch, "repair").item() == pytest.approx(
        clip_weight * clip + in_modal_weight * within, rel=1e-4
    )


def test_cleanclip_sees_each_pair_as_it_is_and_augmented(repaired):
    training, batch = repaired("cleanclip")
    other = batch.others[0]
    as_it_is = next(training.batches.of(1, [torch.arange(BATCH)], (False,)))
    assert torch.equal(batch.pixels, as_it_is.pixels)
    assert torch.equal(batch.tokens, as_it_is.tokens)
    assert (batch.pixels != other.pixels).flatten(1).any(1).float().mean() > 0.9
    assert not torch.equal(batch.tokens[:, : other.tokens.shape[1]], other.tokens[:, : batch.tokens.shape[1]])


def test_gradients_of_cleanclip_flow_through_both_views(repaired):
    training, batch = repaired("cleanclip", clip_weight=0.0)
    for view in (batch, batch.others[0]):
        view.pixels.requires_grad_()
    training.defence.loss(batch, "repair").backward()
    assert all(view.pixels.grad.abs().sum() > 0 for view in (batch, batch.others[0]))


def moved(training: Training) -> None:
    """Another model than the one that is repaired, as it is after a step."""
    with torch.no_grad():
        for parameter in training.model.parameters():
            if parameter.ndim > 1:
                parameter.add_(0.3 * parameter.std() * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))


def distances(training: Training, batch, teacher: torch.nn.Module) -> list[float]:
    """Mean squared distances of images' features, and of captions', to those of the teacher."""
    now, then = features(training.model, batch), features(teacher.eval(), batch)
    return [float(np.mean([np.sum((a - b) ** 2) for a, b in zip(*both, strict=True)])) for both in zip(now, then, strict=True)]


@pytest.mark.parametrize("tau", [0.001, "between", 4.0])
def test_par_is_its_formula(repaired, tau):
    """Beyond tau a distance counts for nothing: of both modalities, of one, of none."""
    training, batch = repaired("par")
    teacher, _ = repaired("finetune")[0].model, moved(training)
    apart = distances(training, batch, teacher)
    assert abs(apart[0] - apart[1]) > 1e-3 < min(apart)
    tau = sum(apart) / 2 if tau == "between" else tau
    training, batch = repaired("par", tau=tau)
    moved(training)
    images, captions = features(training.model, batch)
    scale = training.logit_scale().item()
    clip = (rows(images, captions, scale) + rows(captions, images, scale)) / 2
    pushing = sum(distance for distance in apart if distance <= tau)
    assert training.defence.loss(batch, "repair").item() == pytest.approx(clip - pushing / 2, rel=1e-4)
    assert training.defence.telemetry() == pytest.approx({"image_distance": apart[0], "caption_distance": apart[1]}, rel=1e-4)


def test_par_moves_away_from_the_model_that_it_repairs_and_the_teacher_stays(repaired):
    training, _ = repaired("par", learning_rate=1e-3)
    before = {name: tensor.clone() for name, tensor in training.defence.teacher.state_dict().items()}
    first, second = (training.epoch(epoch) for epoch in (1, 2) if not training.begin_epoch())
    assert 0 < first["image_distance"] < second["image_distance"]
    after = training.defence.teacher.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
