"""RoCLIP: which epochs match, what matching leaves alone, when the pool is filled and searched, and what is noted of it."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roclip.core.files import read_table
from roclip.defences.base import Batch
from roclip.defences.roclip import RoCLIP, is_matching
from roclip.training import train
from tests.fixtures.trainings import options, outputs, training_of


@pytest.mark.parametrize(("match_every", "matching"), [(0, []), (1, [1, 2, 3, 4, 5, 6]), (2, [2, 4, 6]), (3, [3, 6]), (5, [5])])
def test_matching_epochs(match_every, matching):
    assert [epoch for epoch in range(1, 7) if is_matching(epoch, match_every)] == matching


def test_no_matching_epoch_before_the_first_allowed():
    assert [epoch for epoch in range(1, 9) if is_matching(epoch, 2, match_from=4)] == [4, 6, 8]
    assert [epoch for epoch in range(1, 9) if is_matching(epoch, 3, match_from=4)] == [6]


@given(st.integers(0, 10), st.integers(1, 20), st.integers(1, 60))
def test_matching_epochs_are_the_multiples_from_the_first_allowed_on(match_every, match_from, epochs):
    matching = [epoch for epoch in range(1, epochs + 1) if is_matching(epoch, match_every, match_from)]
    multiples = set(range(match_every, epochs + 1, match_every)) if match_every else set()
    assert matching == sorted(epoch for epoch in multiples if epoch >= match_from)


def test_without_matching_and_augmentation_it_is_plain_clip(few, scenes, tmp_path):
    train.run(options(few, scenes, tmp_path / "clip", kind="clip"))
    plain = {"match_every": 0, "augment_images": False, "augment_captions": "never"}
    train.run(options(few, scenes, tmp_path / "roclip", **plain))
    clip, roclip = outputs(tmp_path / "clip"), outputs(tmp_path / "roclip")
    assert roclip["weights/last_clip.safetensors"] == clip["weights/last_clip.safetensors"]
    assert roclip["cosines.csv"] == clip["cosines.csv"]
    assert roclip["tables/matches.csv"].splitlines() == ["row,caption_row"]
    noted = read_table(tmp_path / "roclip/history.csv", tuple(RoCLIP.telemetry_columns))
    assert all(row[column] in ("", "nan") for row in noted for column in RoCLIP.telemetry_columns)


def test_a_matching_epoch_moves_the_image_tower_only(few, scenes, tmp_path):
    training = training_of(options(few, scenes, tmp_path))
    training.epoch(1)
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    row = training.epoch(2)
    assert row["kind"] == "matching"
    after = training.model.state_dict()
    for name in before:
        if name.startswith("visual.") or name == "logit_scale":
            continue
        assert torch.equal(before[name], after[name]), name
    assert not torch.equal(before["logit_scale"], after["logit_scale"])
    assert any(not torch.equal(before[n], after[n]) for n in before if n.startswith("visual."))


def test_zero_gradients_let_adamw_move_the_caption_tower(few, scenes, tmp_path):
    training = training_of(options(few, scenes, tmp_path, caption_gradient="zeros"))
    training.epoch(1)
    before = training.model.text_projection.detach().clone()
    training.epoch(2)
    assert not torch.equal(before, training.model.text_projection)
    assert training.model.text_projection.grad.count_nonzero() == 0


@pytest.mark.parametrize(("fill", "fills"), [("each_matching_epoch", [1, 3]), ("once", [1]), ("noise", [])])
def test_the_pool_is_filled_when_its_setting_says_so(few, scenes, tmp_path, monkeypatch, fill, fills):
    training = training_of(options(few, scenes, tmp_path, match_every=1, epochs=3, pool_fill=fill, match_from=1))
    held = training.defence.pool.features.clone()
    assert (held.norm(dim=1) > 2).all() if fill == "noise" else not held.any()
    sizes = []
    push = training.defence.pool.push
    monkeypatch.setattr(
        training.defence.pool, "push", lambda f, ids, step: (sizes.append((len(ids), step)), push(f, ids, step))
    )
    training.epoch(1)
    training.epoch(3)
    steps = training.steps_per_epoch
    filled = [step for size, step in sizes if size == 100]  # the pool's size; a batch has 64
    assert filled == [(epoch // 3) * steps for epoch in fills]


def test_a_batch_is_searched_for_before_it_enters_the_pool(few, scenes, tmp_path, monkeypatch):
    training = training_of(options(few, scenes, tmp_path))
    training.epoch(1)
    calls, found = [], []
    nearest, push = training.defence.pool.nearest, training.defence.pool.push

    def watched_nearest(images):
        calls.append("nearest")
        slots = nearest(images)
        found.append(training.defence.pool.ids[slots])
        return slots

    def watched_push(features, ids, step):
        calls.append("push")
        push(features, ids, step)

    monkeypatch.setattr(training.defence.pool, "nearest", watched_nearest)
    monkeypatch.setattr(training.defence.pool, "push", watched_push)
    training.epoch(2)
    assert calls == ["push", *["nearest", "push"] * training.steps_per_epoch]  # the first push fills the pool
    assert (training.defence.pool.ids >= 0).all()
    assert sorted(torch.cat(found).tolist()) == sorted(training.defence.matches[training.defence.matches >= 0].tolist())


class Hand:
    """A trainer of four pairs whose features are given by hand."""

    device, dimension, pairs, steps_taken = torch.device("cpu"), 2, 4, 0

    def __init__(self) -> None:
        self.told = []

    def encode_images(self, batch: Batch) -> torch.Tensor:
        return batch.pixels

    def encode_captions(self, batch: Batch) -> torch.Tensor:
        return batch.tokens

    def logit_scale(self) -> torch.Tensor:
        return torch.tensor(10.0)

    def matched(self, images: torch.Tensor, captions: torch.Tensor, pool: torch.Tensor) -> None:
        self.told.append((images.tolist(), captions.tolist(), pool.tolist()))


def test_what_is_noted_of_the_steps_of_an_epoch():
    trainer = Hand()
    defence = RoCLIP(SimpleNamespace(pool_size=4, pool_fill="once", match_every=1, match_from=1, match_with="nearest"), trainer)
    right, up = [1.0, 0.0], [0.0, 1.0]
    left, down = [-1.0, 0.0], [0.0, -1.0]
    defence.pool.push(torch.tensor([right, up]), torch.tensor([0, 2]), step=10)
    trainer.steps_taken = 12
    defence.loss(Batch(torch.tensor([right, right]), torch.tensor([left, down]), torch.tensor([0, 3])), "matching")
    trainer.steps_taken = 13
    defence.loss(Batch(torch.tensor([down, up]), torch.tensor([left, left]), torch.tensor([3, 2])), "matching")
    assert trainer.told == [([0, 3], [0, 0], [0, 2, -1, -1]), ([3, 2], [3, 2], [0, 2, 0, 3])]
    assert defence.matches.tolist() == [0, -1, 2, 3]
    means = defence.telemetry()
    assert means["distinct_neighbours"] == (0.5 + 1) / 2
    assert means["own_captions"] == 3 / 4  # all but image 3 in the first step
    assert means["pool_age"] == pytest.approx(((2 + 2 + 12 + 12) / 4 + (3 + 3 + 1 + 1) / 4) / 2)
    assert defence.tables()["matches.csv"]["row"].tolist() == [0, 2, 3]
    assert all(mean != mean for mean in defence.telemetry().values())  # NaN: the next epoch begins anew
