"""A number that is none ends a training in the step in which it comes up, and leaves the good states."""

import logging
import re

import pytest
import torch

from roclip.core.errors import UserError
from roclip.core.files import read_table
from roclip.core.randomness import generator
from roclip.training import train
from roclip.training.resume import Checkpoints
from roclip.training.trainer import Training

BAD = 12  # a step of the second epoch, which has 9
from tests.fixtures.trainings import options, outputs


def batch_of(o, step: int) -> list[int]:
    rows, per_epoch = len(read_table(o.pairs, ("path",))), 9
    order = torch.randperm(rows, generator=generator("order", o.seed, 1 + step // per_epoch))
    return sorted(order[step % per_epoch * o.batch_size :][: o.batch_size].tolist())


def broken(monkeypatch, spoil) -> None:
    """Let `spoil(training)` happen before step BAD."""
    take_step = Training.take_step

    def spoilt(training, *arguments):
        if training.steps_taken == BAD:
            spoil(training)
        take_step(training, *arguments)

    monkeypatch.setattr(Training, "take_step", spoilt)


def nan_weight(training) -> None:
    with torch.no_grad():
        training.model.logit_scale.fill_(float("nan"))


def infinite_gradient(training) -> None:
    training.model.logit_scale.register_hook(lambda gradient: gradient * float("inf"))


@pytest.mark.parametrize("spoil", [nan_weight, infinite_gradient])
def test_it_ends_within_the_step_and_names_the_rows(poisoned, scenes, tmp_path, monkeypatch, spoil):
    o = options(poisoned, scenes, tmp_path, checkpoint_minutes=1e-9)  # after every step
    with monkeypatch.context() as context, pytest.raises(UserError) as caught:
        broken(context, spoil)
        train.run(o)
    message = str(caught.value)
    assert message.startswith(f"step {BAD}: the loss or a gradient is NaN or infinite; lower train.learning_rate")
    assert [int(row) - 1 for row in re.findall(r"rows ([\d ]+)$", message)[0].split()] == batch_of(o, BAD)
    assert Checkpoints(o.out / "state", "").files()[0].name == f"step{BAD:09d}.safetensors"
    assert not (o.out / "weights").exists()


def test_the_state_that_is_kept_is_a_good_one(poisoned, scenes, tmp_path, monkeypatch, caplog):
    """From which the same training, without what was wrong, goes on to the end as if nothing had been."""
    caplog.set_level(logging.INFO)
    o = options(poisoned, scenes, tmp_path / "broken", checkpoint_minutes=1e-9)
    with monkeypatch.context() as context, pytest.raises(UserError):
        broken(context, infinite_gradient)
        train.run(o)
    train.run(o)
    assert f"resumed from step {BAD}" in caplog.text
    whole = options(poisoned, scenes, tmp_path / "whole")
    train.run(whole)
    assert outputs(o.out) == outputs(whole.out)


def test_rows_are_those_of_the_table_when_images_were_left_out(poisoned, scenes, tmp_path, monkeypatch):
    table = (poisoned / "train.csv").read_text().splitlines()
    table[1] = table[1].replace(".png", ".gone")
    (tmp_path / "pairs.csv").write_text("\n".join(table) + "\n")
    o = options(poisoned, scenes, tmp_path / "out", pairs=tmp_path / "pairs.csv", batch_size=607, epochs=14)
    with pytest.raises(UserError) as caught:
        broken(monkeypatch, nan_weight)
        train.run(o)
    assert str(caught.value).endswith(f"pairs.csv, rows {' '.join(map(str, range(2, 609)))}")


def test_a_rate_that_is_far_too_high_is_named(poisoned, scenes, tmp_path):
    with pytest.raises(UserError, match=r"^step \d: the loss or a gradient is NaN or infinite; lower train\.learning_rate"):
        train.run(options(poisoned, scenes, tmp_path, learning_rate=1e30, warmup_steps=0))
