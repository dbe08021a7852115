"""A loss or a gradient that is NaN or infinite ends a training in its step, which is named with its rows; good states stay."""

import logging
import re
from dataclasses import replace

import pytest
import torch

from roclip.core.errors import UserError
from roclip.core.randomness import generator
from roclip.defences.base import Defence
from roclip.training import train
from roclip.training.trainer import Training
from tests.fixtures.trainings import options, outputs, states

BATCH, PER_EPOCH, PAIRS = 16, 8, 136
BAD = 11  # a step of the second epoch


def broken(monkeypatch, spoil, step: int = BAD) -> None:
    """Let `spoil(training)` happen before a step."""
    take_step = Training.take_step

    def spoilt(training, *arguments):
        if training.steps_taken == step:
            spoil(training)
        take_step(training, *arguments)

    monkeypatch.setattr(Training, "take_step", spoilt)


def nan_weight(training) -> None:
    with torch.no_grad():
        training.model.logit_scale.fill_(float("nan"))


def infinite_gradient(training) -> None:
    training.model.logit_scale.register_hook(lambda gradient: gradient * float("inf"))


UNUSABLE = {
    "a tensor of shape (16,)": lambda loss: loss.repeat(BATCH),
    "a tensor without a gradient": torch.Tensor.detach,
    "float": torch.Tensor.item,
    "NoneType": lambda loss: None,
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_a_loss_of_which_there_is_no_gradient_is_one_line(few, scenes, tmp_path, monkeypatch, what):
    loss = Defence.loss
    monkeypatch.setattr(Defence, "loss", lambda *arguments: UNUSABLE[what](loss(*arguments)))
    with pytest.raises(UserError) as caught:
        train.run(options(few, scenes, tmp_path, "clip", batch_size=BATCH))
    assert str(caught.value) == f"Defence.loss gave {what}; it must be a tensor of one number with a gradient"


@pytest.mark.parametrize("spoil", [nan_weight, infinite_gradient])
def test_it_ends_within_the_step_and_names_the_rows(few, scenes, tmp_path, monkeypatch, spoil):
    o = options(few, scenes, tmp_path, batch_size=BATCH, checkpoint_minutes=1e-9)  # after every step
    with monkeypatch.context() as context, pytest.raises(UserError) as caught:
        broken(context, spoil)
        train.run(o)
    message = str(caught.value)
    assert message.startswith(f"step {BAD}: the loss or a gradient is NaN or infinite; lower train.learning_rate")
    order = torch.randperm(PAIRS, generator=generator("order", o.seed, 2))
    batch = order[BAD % PER_EPOCH * BATCH :][:BATCH]
    assert [int(row) - 1 for row in re.findall(r"rows ([\d ]+)$", message)[0].split()] == sorted(batch.tolist())
    assert states(o.out)[0] == f"step{BAD:09d}.safetensors"
    assert not (o.out / "weights").exists()


def test_the_state_that_is_kept_is_a_good_one(few, scenes, tmp_path, monkeypatch, caplog):
    """From which the same training, without what was wrong, is resumed to the end as if nothing had been."""
    caplog.set_level(logging.INFO)
    o = options(few, scenes, tmp_path / "broken", batch_size=BATCH, checkpoint_minutes=1e-9)
    with monkeypatch.context() as context, pytest.raises(UserError):
        broken(context, infinite_gradient)
        train.run(o)
    train.run(replace(o, checkpoint_minutes=60))
    assert f"resumed from step {BAD}" in caplog.text
    whole = options(few, scenes, tmp_path / "whole", batch_size=BATCH)
    train.run(whole)
    assert outputs(o.out) == outputs(whole.out)


def test_rows_are_those_of_the_table_when_images_were_left_out(few, scenes, tmp_path, monkeypatch):
    table = (few / "train.csv").read_text().splitlines()
    table[1] = table[1].replace(".png", ".gone")
    (tmp_path / "pairs.csv").write_text("\n".join(table) + "\n")
    o = options(few, scenes, tmp_path / "out", pairs=tmp_path / "pairs.csv", batch_size=PAIRS - 1)
    with pytest.raises(UserError) as caught:
        broken(monkeypatch, nan_weight, step=0)
        train.run(o)
    assert str(caught.value).endswith(f"pairs.csv, rows {' '.join(map(str, range(2, PAIRS + 1)))}")


def test_a_rate_that_is_far_too_high_is_named(few, scenes, tmp_path):
    with pytest.raises(UserError, match=r"^step \d: the loss or a gradient is NaN or infinite; lower train\.learning_rate"):
        train.run(options(few, scenes, tmp_path, learning_rate=1e30, warmup_steps=0))
