"""An epoch of several phases, each over pairs and at rates of its own, with a defence that ships nowhere."""

import numpy as np
import pytest
import torch

from roclip.core.errors import UserError
from roclip.core.files import read_table
from roclip.defences.base import Phase
from roclip.training import estimate, train
from roclip.training.schedule import learning_rate
from roclip.training.trainer import Training
from tests.fixtures.skeletons import Mixed
from tests.fixtures.trainings import options, outputs, resumed, training_of

PER_EPOCH, UNIMODAL, CLIP = 8, 2, 5  # steps of 16: of all 136 pairs, of the 47 risky ones, of the 89 safe ones


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(train.TRAININGS, "mixed", Mixed)


def mixed(few, scenes, out, **changes):
    return options(few, scenes, out, **{"kind": "mixed", "batch_size": 16, "epochs": 3} | changes)


def noted(monkeypatch, training) -> list[tuple]:
    """What each step is of: phase, learning rate, ids and loss."""
    taken, take_step = [], Training.take_step

    def take(self, batch, kind, rate, places):
        take_step(self, batch, kind, rate, places)
        (used,) = {group["lr"] for group in self.optimizer.param_groups}
        taken.append((kind, used, batch.ids.tolist(), self.losses[self.step - 1].item()))

    monkeypatch.setattr(Training, "take_step", take)
    return taken


def test_each_phase_goes_over_its_pairs_at_its_rates(few, scenes, tmp_path, monkeypatch):
    training = training_of(mixed(few, scenes, tmp_path))
    taken = noted(monkeypatch, training)
    first, second = training.epoch(1), training.epoch(2)
    assert [kind for kind, *_ in taken] == ["clip"] * PER_EPOCH + ["unimodal"] * UNIMODAL + ["clip"] * CLIP
    rates = [rate for _, rate, *_ in taken]
    assert rates[:PER_EPOCH] == [learning_rate(step, 3 * PER_EPOCH, 4, 1e-3) for step in range(PER_EPOCH)]
    assert rates[PER_EPOCH:] == [1e-4, 2e-4] + [5e-4] * CLIP
    safe = set(training.defence.is_safe.nonzero().flatten().tolist())
    assert len(safe) == 89
    ids = [{*batch} for *_, batch, _ in taken[PER_EPOCH:]]
    assert all(len(batch) == 16 for batch in ids)
    assert len(set.union(*ids)) == 16 * (UNIMODAL + CLIP)  # each pair once
    assert not set.union(*ids[:UNIMODAL]) & safe
    assert set.union(*ids[UNIMODAL:]) <= safe
    losses = [loss for *_, loss in taken]
    assert first["loss"] == pytest.approx(np.mean(losses[:PER_EPOCH]))
    assert second["loss"] == pytest.approx(np.mean(losses[PER_EPOCH:]))
    assert (second["kind"], second["learning_rate"]) == ("mixed", 5e-4)
    assert training.defence.step == UNIMODAL


def test_phases_follow_the_order_of_the_epoch(few, scenes, tmp_path, monkeypatch):
    """So another epoch mixes the same pairs anew."""
    training = training_of(mixed(few, scenes, tmp_path))
    taken = noted(monkeypatch, training)
    monkeypatch.setattr(Mixed, "begin_epoch", lambda defence, epoch: defence.is_safe[: len(defence.is_safe) // 2].zero_())
    for epoch in (2, 3):
        training.epoch(epoch)
    second, third = ([batch for _, _, batch, _ in taken[at : at + 8]] for at in (0, 8))
    assert {len(second), len(third)} == {8}
    assert second != third
    order = torch.randperm(136, generator=training.generator("order", 2))
    risky = [id for id in training.ids[order].tolist() if id < 68]
    assert [id for batch in second[:4] for id in batch] == risky[:64]


def test_interrupted_in_each_phase_it_ends_with_the_same_outputs(few, scenes, tmp_path, monkeypatch):
    whole, stopped = (mixed(few, scenes, tmp_path / name) for name in ("whole", "stopped"))
    train.run(whole)
    second, third = PER_EPOCH, PER_EPOCH + UNIMODAL + CLIP
    stops = [4, second + 1, second + UNIMODAL, second + UNIMODAL + 3, third, third + 1]
    resumed(monkeypatch, lambda: train.run(stopped), *stops)
    assert outputs(stopped.out) == outputs(whole.out)
    rows = read_table(whole.out / "history.csv", ("safe", "unimodal_steps"))
    assert [float(row["safe"]) for row in rows] == pytest.approx([1, 89 / 136, 89 / 136])
    assert [row["unimodal_steps"] for row in rows] == ["0", "2", "2"]
    assert len(read_table(whole.out / "tables/safe.csv", ("row", "is_safe"))) == 136


def test_to_time_it_changes_nothing_however_short_its_phases(few, scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(estimate, "TIMED", PER_EPOCH)  # more steps than the mixed epochs have
    monkeypatch.setattr(estimate, "WORTH", 0)
    training = training_of(mixed(few, scenes, tmp_path))
    training.epoch(1)
    tensors, numbers = training.state()
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    assert estimate.project(training, 2).seconds > 0
    tensors, after = training.state()
    assert numbers == after
    assert before.keys() == tensors.keys()
    assert all(before[name].numpy().tobytes() == tensors[name].numpy().tobytes() for name in before)  # some are NaN


def test_a_phase_of_less_than_a_batch_has_no_step_and_an_epoch_must_have_one(few, scenes, tmp_path, monkeypatch):
    def of_pairs(*counts: int) -> None:
        monkeypatch.setattr(Mixed, "phases", lambda defence, epoch: [Phase("clip", torch.arange(count)) for count in counts])

    of_pairs(15, 16)
    training = training_of(mixed(few, scenes, tmp_path))
    taken = noted(monkeypatch, training)
    training.epoch(1)
    assert [sorted(ids) for _, _, ids, _ in taken] == [list(range(16))]
    of_pairs(15, 0)
    with pytest.raises(UserError, match=r"^train\.batch_size: 16 is more than the pairs of any phase of epoch 1$"):
        train.run(mixed(few, scenes, tmp_path))
