"""RoCLIP's matching epochs, to the bit, against a loop written out here: weights, matches, pool and telemetry."""

import math
from random import Random
from statistics import mean

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from roclip.core.columns import PAIRS, TRUTH
from roclip.core.files import read_table
from roclip.core.randomness import generator
from roclip.data.images import decode
from roclip.defences import augmentation
from roclip.defences.eda import eda
from roclip.model import towers
from roclip.model.pixels import normalise, to_pixels
from roclip.training.schedule import learning_rate
from tests.fixtures.trainings import options, same, training_of

EPOCHS, BATCH, POOL = 4, 64, 100  # clip, matching, clip, matching; a pool that a batch wraps round


@pytest.fixture(scope="module")
def trained(few, scenes, tmp_path_factory):
    """A training that has gone through all of its epochs, their history, and the same by hand."""
    o = options(few, scenes, tmp_path_factory.mktemp("out"), epochs=EPOCHS, pool_size=POOL)
    training = training_of(o)
    history = [training.epoch(epoch) for epoch in range(1, EPOCHS + 1)]
    return training, history, ByHand(o)


def test_views_of_a_batch_are_augmented_apart_and_each_the_same_again(few, scenes, tmp_path):
    training = training_of(options(few, scenes, tmp_path))
    first, again = (next(training.batches.of(1, [torch.arange(BATCH)], (None, None))) for _ in range(2))
    (second,) = first.others
    assert (first.pixels != second.pixels).flatten(1).any(1).all()
    assert torch.equal(first.pixels, again.pixels)
    assert torch.equal(second.pixels, again.others[0].pixels)


class Slot:
    """A caption of the pool: its feature, its row, and the step at which it came in."""

    def __init__(self, feature, row, step):
        self.feature, self.row, self.step = feature, row, step


class ByHand:
    """RoCLIP as the paper has it: figure 1 and section 4, with the augmentation of the project."""

    def __init__(self, o) -> None:
        self.o = o
        self.rows = [
            pair | fact for pair, fact in zip(read_table(o.pairs, tuple(PAIRS)), read_table(o.truth, tuple(TRUTH)), strict=True)
        ]
        config = towers.model_config(o.model)
        self.images = torch.from_numpy(np.stack([decode(row["path"], 32).transpose(2, 0, 1) for row in self.rows]))
        self.tokenizer = towers.tokenizer(config)
        torch.manual_seed(o.seed)
        self.model = towers.create(config).train()
        decayed = [p for p in self.model.parameters() if p.ndim >= 2]
        rest = [p for p in self.model.parameters() if p.ndim < 2]
        groups = [{"params": decayed, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, fused=True)
        self.pool: list[Slot] = []
        self.matches: dict[int, int] = {}
        self.history: list[dict[str, float]] = []
        self.steps, self.next_slot = 0, 0
        for epoch in range(1, EPOCHS + 1):
            self.noted: list[dict[str, float]] = []
            self.epoch(epoch)
            self.history.append({name: mean(step[name] for step in self.noted) for name in self.noted[0]})

    def texts(self, rows, epoch):
        """Features of captions, each edited by EDA anew in every epoch."""
        words = [self.rows[row]["caption"].lower().split() for row in rows]
        edited = [eda(w, Random(f"{self.o.seed},{epoch},{row}")) for w, row in zip(words, rows, strict=True)]
        tokens = self.tokenizer([" ".join(w) for w in edited])
        return self.model.encode_text(tokens[:, : tokens.argmax(1).max() + 1], normalize=True)

    def push(self, features, rows):
        """First in, first out: the oldest captions make room."""
        for feature, row in zip(features, rows, strict=True):
            if len(self.pool) < POOL:
                self.pool.append(Slot(feature, row, self.steps))
            else:
                self.pool[self.next_slot] = Slot(feature, row, self.steps)
            self.next_slot = (self.next_slot + 1) % POOL

    def epoch(self, epoch):
        matching = epoch % 2 == 0
        order = torch.randperm(len(self.rows), generator=generator("order", self.o.seed, epoch))
        draws = torch.rand(len(self.rows), 12, generator=generator("augment", self.o.seed, epoch))
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            if matching:
                chosen = torch.randperm(len(self.rows), generator=generator("pool", self.o.seed, epoch))[:POOL].tolist()
                with torch.no_grad():
                    self.push(self.texts(chosen, epoch), chosen)
            for start in range(0, len(self.rows) // BATCH * BATCH, BATCH):
                self.step(order[start : start + BATCH], draws, epoch, matching)

    def step(self, batch, draws, epoch, matching):
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.steps, EPOCHS * (len(self.rows) // BATCH), self.o.warmup_steps, 1e-3)
        pixels = augmentation.augment(to_pixels(self.images[batch]), draws[batch], self.o.crop_area)
        images = self.model.encode_image(normalise(pixels), normalize=True)
        if matching:
            with torch.no_grad():  # the caption tower learns nothing
                own = self.texts(batch.tolist(), epoch)
                nearest = (images @ torch.stack([slot.feature for slot in self.pool]).T).argmax(dim=1).tolist()
            texts = torch.stack([self.pool[slot].feature for slot in nearest])
        else:
            texts = self.texts(batch.tolist(), epoch)
        logits = self.model.logit_scale.exp() * images @ texts.T
        labels = torch.arange(len(batch))
        loss = (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.model.logit_scale.data.clamp_(0, math.log(100))
        self.note(batch.tolist(), nearest if matching else None, loss.item())
        if matching:
            self.matches |= {row: self.pool[slot].row for row, slot in zip(batch.tolist(), nearest, strict=True)}
            self.push(own, batch.tolist())
        self.steps += 1

    def note(self, batch, nearest, loss):
        """Before the batch's captions enter the pool."""
        noted = {"loss": loss}
        if nearest is not None:
            drawn = [self.pool[slot].row for slot in nearest]
            noted["distinct_neighbours"] = len(set(nearest)) / BATCH
            noted["own_captions"] = sum(row == caption for row, caption in zip(batch, drawn, strict=True)) / BATCH
            noted["pool_age"] = sum(self.steps - slot.step for slot in self.pool) / POOL
            noted["poisons_in_pool"] = sum(self.rows[slot.row]["is_poison"] == "1" for slot in self.pool) / POOL
        self.noted.append(noted)


def test_weights_are_the_same_to_the_bit(trained):
    training, _, by_hand = trained
    assert same(training.model.state_dict(), by_hand.model.state_dict())


def test_every_image_met_the_same_caption(trained):
    training, _, by_hand = trained
    table = training.defence.tables()["matches.csv"]
    rows = [training.rows[training.places[table[column]]].tolist() for column in ("row", "caption_row")]
    assert dict(zip(*rows, strict=True)) == by_hand.matches
    assert len(by_hand.matches) > 128  # of 136; the two matching epochs leave out other 8


def test_the_pool_holds_the_same_captions_in_the_same_slots(trained):
    training, _, by_hand = trained
    pool = training.defence.pool
    assert torch.equal(pool.features, torch.stack([slot.feature for slot in by_hand.pool]))
    assert training.rows[training.places[pool.ids]].tolist() == [slot.row for slot in by_hand.pool]
    assert pool.steps.tolist() == [slot.step for slot in by_hand.pool]
    assert pool.oldest == by_hand.next_slot


def test_the_history_says_what_was_drawn(trained):
    _, history, by_hand = trained
    assert [row["kind"] for row in history] == ["clip", "matching", "clip", "matching"]
    for row, expected in zip(history, by_hand.history, strict=True):
        assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert all(0 < row["distinct_neighbours"] < 1 for row in history[1::2])
    assert all(math.isnan(row["distinct_neighbours"]) for row in history[::2])
