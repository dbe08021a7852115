"""The controls of RoCLIP, `match_with`, against loops of plain torch that share the model and the batches alone."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import cross_entropy

from roclip.core.facts import Facts
from roclip.core.options import default_of
from roclip.core.randomness import generator
from roclip.defences.roclip import RoCLIP
from roclip.model import towers
from roclip.model.pixels import normalise, to_pixels
from roclip.training import train
from roclip.training.batches import Batches
from roclip.training.schedule import learning_rate
from roclip.training.trainer import Training
from roclip.training.view import View
from tests.fixtures.trainings import options, outputs, resumed, training_of

CONTROLS = ("random", "permuted", "own", "nothing")
EPOCHS, BATCH, POOL, STEPS = 3, 32, 100, 4  # clip, matching, clip; of 136 pairs
PLAIN = {"augment_images": False, "augment_captions": "never", "epochs": EPOCHS, "batch_size": BATCH}
SETTINGS = {name: default_of(field) for name, field in RoCLIP.Settings.__dataclass_fields__.items()} | {"kind": "roclip"}


def by_hand(o, chosen: str) -> SimpleNamespace:
    """The weights after three epochs, and the losses of each; nothing of trainer, pool and defence is used."""
    pairs = training_of(o)  # for its decoded images, its tokens and its first weights
    model, seed = pairs.model, o.seed
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, fused=True)
    pool, oldest, losses, step = [], 0, [], 0
    for epoch in range(1, EPOCHS + 1):
        matching, order = epoch == 2, torch.randperm(136, generator=generator("order", seed, epoch))
        if matching:
            fill = torch.randperm(136, generator=generator("pool", seed, epoch))[:POOL]
            with torch.no_grad():
                pool = list(model.encode_text(pairs.batches.tokens(epoch, fill), normalize=True))
        losses.append([])
        for number in range(STEPS):
            rate, step = learning_rate(step, EPOCHS * STEPS, o.warmup_steps, 1e-3), step + 1
            if matching and chosen == "nothing":
                continue
            batch = order[number * BATCH : (number + 1) * BATCH]
            images = model.encode_image(normalise(to_pixels(pairs.images[batch])), normalize=True)
            with torch.set_grad_enabled(not matching):
                texts = model.encode_text(pairs.batches.tokens(epoch, batch), normalize=True)
            own = texts
            if matching and chosen != "own":
                stack, draws = torch.stack(pool), generator("match", seed, step - 1)
                slots = (images @ stack.T).argmax(1)
                if chosen == "random":
                    slots = torch.randint(POOL, (BATCH,), generator=draws)
                if chosen == "permuted":
                    slots = slots[torch.randperm(BATCH, generator=draws)]
                texts = stack[slots]
                for feature in own:  # over the oldest
                    pool[oldest], oldest = feature, (oldest + 1) % POOL
            logits, labels = model.logit_scale.exp() * images @ texts.T, torch.arange(BATCH)
            loss = (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2
            optimizer.zero_grad()
            loss.backward()
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            model.logit_scale.data.clamp_(0, math.log(100))
            losses[-1].append(loss.item())
    return SimpleNamespace(weights=model.state_dict(), losses=losses)


@pytest.mark.parametrize("chosen", ["nearest", *CONTROLS])
def test_it_does_what_it_says(chosen, few, scenes, tmp_path):
    o = options(few, scenes, tmp_path, match_with=chosen, pool_size=POOL, **PLAIN)
    training = training_of(o)
    history = [training.epoch(epoch) for epoch in range(1, EPOCHS + 1)]
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        expected = by_hand(o, chosen)
    for name, weights in training.model.state_dict().items():
        assert torch.allclose(weights.float(), expected.weights[name].float(), rtol=0, atol=1e-6), name
    for row, losses in zip(history, expected.losses, strict=True):
        assert row["loss"] == pytest.approx(sum(losses) / len(losses) if losses else math.nan, rel=1e-5, nan_ok=True)
    assert training.steps_taken == EPOCHS * STEPS
    assert [row["kind"] for row in history] == ["clip", "matching", "clip"]
    rates = [learning_rate(epoch * STEPS - 1, EPOCHS * STEPS, o.warmup_steps, 1e-3) for epoch in (1, 2, 3)]
    assert [row["learning_rate"] for row in history] == pytest.approx(rates)


def test_random_captions_are_drawn_evenly_from_the_pool(few, scenes, tmp_path):
    defence = training_of(options(few, scenes, tmp_path, match_with="random", **PLAIN)).defence
    counts = torch.zeros(100)
    for step in range(200):
        defence.trainer._training.steps_taken = step
        counts += torch.bincount(defence._drawn(torch.zeros(BATCH, defence.trainer.dimension)), minlength=100)
    assert (counts - 64).abs().max() < 5 * 8  # of a binomial


def test_permuted_captions_are_those_of_the_batch_in_another_order(few, scenes, tmp_path):
    training = training_of(options(few, scenes, tmp_path, match_with="permuted", **PLAIN))
    training.defence.begin_epoch(2)
    images = torch.randn(BATCH, training.dimension, generator=torch.Generator().manual_seed(0))
    drawn, nearest = training.defence._drawn(images), training.defence.pool.nearest(images)
    assert sorted(drawn.tolist()) == sorted(nearest.tolist())
    assert not torch.equal(drawn, nearest)


def test_nothing_costs_nothing(few, scenes, tmp_path, monkeypatch):
    """No batch is made and no caption encoded in its matching epochs, and the weights stay to the bit."""
    training = training_of(options(few, scenes, tmp_path, match_with="nothing", **PLAIN))
    training.epoch(1)
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    for owner, name in ((Batches, "of"), (Batches, "tokens"), (Training, "take_step"), (View, "random_captions")):
        monkeypatch.setattr(owner, name, None)
    row = training.epoch(2)
    assert all(torch.equal(before[name], value) for name, value in training.model.state_dict().items())
    assert row["pairs_per_second"] == 0
    assert math.isnan(row["loss"])


@pytest.mark.parametrize("chosen", ["own", "nothing"])
def test_where_no_pool_is_needed_there_is_none(chosen, few, scenes, tmp_path):
    training = training_of(options(few, scenes, tmp_path, match_with=chosen, pool_size=10**9, **PLAIN))
    training.epoch(2)
    assert training.defence.pool.features.numel() == 0
    assert training.defence.tables()["matches.csv"]["row"].numel() == 0
    same = RoCLIP.simplest(SETTINGS | {"match_with": chosen, "pool_size": 3, "pool_fill": "noise"})
    assert same == SETTINGS | {"match_with": chosen}
    gradient = RoCLIP.simplest(SETTINGS | {"match_with": chosen, "caption_gradient": "zeros"})
    assert (gradient == SETTINGS | {"match_with": chosen}) == (chosen == "nothing")


@pytest.mark.parametrize("chosen", CONTROLS)
def test_interrupted_it_ends_with_the_same_outputs(chosen, few, scenes, tmp_path, monkeypatch):
    whole, stopped = (options(few, scenes, tmp_path / name, match_with=chosen, epochs=3) for name in ("whole", "stopped"))
    train.run(whole)
    resumed(monkeypatch, lambda: train.run(stopped), 1, 3, 5)  # two steps an epoch
    assert outputs(stopped.out) == outputs(whole.out)
    assert towers.read_record(whole.out / "weights/last_matching.safetensors")["epoch"] == 2


def test_without_matching_epochs_each_of_them_is_plain_clip():
    for chosen in CONTROLS:
        assert RoCLIP.simplest(SETTINGS | {"match_every": 0, "match_with": chosen})["kind"] == "clip"


@pytest.mark.parametrize(("changes", "said"), [
    ({"match_with": "nothing", "match_every": 1}, [("match_with", "nothing is learned where every epoch is a matching epoch")]),
    ({"match_with": "nothing", "match_every": 1, "match_from": 2}, []),
    ({"match_with": "nothing", "pool_size": 401}, []),
    ({"match_with": "own", "pool_size": 401}, []),
    ({"match_with": "random", "pool_size": 401}, [("pool_size", "401 is more than the 400 training pairs")]),
])  # fmt: skip
def test_what_cannot_work_is_said(changes, said):
    facts = Facts(400, ("a",), "classes.txt", 100, 32, epochs=8, batch_size=32)
    found = list(RoCLIP.problems(SETTINGS | {"pool_size": 100} | changes, facts))
    assert [(name, text.partition(";")[0]) for name, text in found] == said
