"""SafeCLIP against a hand-written loop, its split and schedules by their properties, and resuming in every phase."""

import math
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity, cross_entropy, normalize

from roclip.core.errors import UserError
from roclip.core.facts import Facts
from roclip.core.randomness import generator
from roclip.defences import safeclip
from roclip.defences.loss import unimodal_loss
from roclip.defences.mixture import posterior
from roclip.defences.safeclip import SafeCLIP
from roclip.model.pixels import normalise, to_pixels
from roclip.training import train
from roclip.training.schedule import learning_rate
from tests.fixtures.trainings import options, outputs, resumed, training_of

POOL, BATCH, EPOCHS, PAIRS = 100, 32, 5, 136
GIVEN = {"kind": "safeclip", "batch_size": BATCH, "epochs": EPOCHS, "growth": 0.2, "threshold": 0.5, "rescored": 0.4}


def test_the_unimodal_loss_is_the_formula():
    neighbours, views = (normalize(torch.randn(5, 8, generator=torch.Generator().manual_seed(n)), dim=1) for n in (0, 1))
    scale, total = 7.0, 0.0
    for i in range(5):
        exponents = [math.exp(scale * float(neighbours[i] @ views[k])) for k in range(5)]
        total -= math.log(exponents[i] / sum(exponents)) / 5
    assert unimodal_loss(neighbours, views, torch.tensor(scale)).item() == pytest.approx(total, rel=1e-5)


def in_evaluation(model, pairs, places):
    """Features of pairs as they are."""
    model.eval()
    with torch.no_grad():
        images = model.encode_image(normalise(to_pixels(pairs.images[places])), normalize=True)
        texts = model.encode_text(pairs.captions.tokens(places), normalize=True)
    model.train()
    return images, texts


def unimodal(model, pools, features):
    """The loss of a step, of (first view, second view) of each modality; the pool, a list, is searched and then renewed."""
    losses = []
    for pool, (first, second) in zip(pools, features, strict=True):
        nearest = torch.stack([pool[int(torch.cdist(x[None], torch.stack(pool)).argmin())] for x in first])
        losses.append(cross_entropy(model.logit_scale.exp() * nearest @ second.T, torch.arange(len(first))))
        pool.extend(first)
        del pool[: len(first)]
    return sum(losses) / 2


def continued(start, total, warmup_steps, step):
    """The rate of a step of an epoch before which its phase had `start` steps."""
    return learning_rate(start + step, total, warmup_steps, 1e-3)


def by_hand(o) -> SimpleNamespace:
    """The weights after all epochs and the ids of the safe pairs of each mixed epoch; nothing of defence and pool is used."""
    pairs = training_of(o)  # for its decoded images, its tokens and its first weights
    model, seed, steps = pairs.model, o.seed, PAIRS // BATCH
    groups = [
        {"params": [p for p in model.parameters() if (p.ndim >= 2) == decays], "weight_decay": 0.1 * decays}
        for decays in (1, 0)
    ]
    optimizer = torch.optim.AdamW(groups, fused=True)
    chosen = torch.randperm(PAIRS, generator=generator("pairs", seed))[:POOL]
    pools = [list(features) for features in in_evaluation(model, pairs, chosen)]
    cosines, safe_ids = None, []
    for epoch in range(1, EPOCHS + 1):
        order, parts = torch.randperm(PAIRS, generator=generator("order", seed, epoch)), []
        if epoch == 1:
            parts = [("unimodal", order, partial(continued, 0, steps, min(o.warmup_steps, steps // 10)))]
        elif epoch == 2:
            parts = [("clip", order, lambda step: 1e-5)]
        else:
            again = torch.arange(PAIRS) if epoch == 3 else cosines.argsort(descending=True)[: round(0.4 * PAIRS)]
            images, texts = in_evaluation(model, pairs, pairs.places[again])
            cosines = torch.zeros(PAIRS) if epoch == 3 else cosines
            cosines[again] = (images * texts).sum(1)
            if epoch == 3:
                first = int((posterior(cosines.numpy()) > 0.5).sum())
                counts = [min(PAIRS, round(first + 0.2 * n * PAIRS)) for n in range(3)]
                total = {"clip": sum(n // BATCH for n in counts), "unimodal": sum((PAIRS - n) // BATCH for n in counts)}
            safe = {*cosines.argsort(descending=True)[: counts[epoch - 3]].tolist()}
            safe_ids.append(safe)
            is_safe = torch.tensor([int(pairs.ids[place]) in safe for place in order])
            for kind, places in (("unimodal", order[~is_safe]), ("clip", order[is_safe])):
                start = sum(n // BATCH for n in [PAIRS - n if kind == "unimodal" else n for n in counts][: epoch - 3])
                parts.append((kind, places, partial(continued, start, total[kind], min(o.warmup_steps, total[kind] // 10))))
        for kind, places, rate in parts:
            for step in range(len(places) // BATCH):
                batch = places[step * BATCH : (step + 1) * BATCH]
                pixels = normalise(to_pixels(pairs.images[batch]))
                texts = [pairs.batches.tokens(epoch, batch, view) for view in (0, 1)]
                if kind == "clip":
                    images, captions = model.encode_image(pixels, normalize=True), model.encode_text(texts[0], normalize=True)
                    logits, labels = model.logit_scale.exp() * images @ captions.T, torch.arange(BATCH)
                    loss = (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2
                else:
                    with torch.no_grad():
                        first_views = model.encode_image(pixels, normalize=True), model.encode_text(texts[0], normalize=True)
                    second_views = model.encode_image(pixels, normalize=True), model.encode_text(texts[1], normalize=True)
                    loss = unimodal(model, pools, zip(first_views, second_views, strict=True))
                optimizer.zero_grad()
                loss.backward()
                for group in optimizer.param_groups:
                    group["lr"] = rate(step)
                optimizer.step()
                model.logit_scale.data.clamp_(0, math.log(100))
    return SimpleNamespace(weights=model.state_dict(), safe=safe_ids)


def test_it_is_the_hand_written_loop(few, scenes, tmp_path):
    o = options(few, scenes, tmp_path, augment_images=False, **GIVEN)
    training, safe = training_of(o), []
    for epoch in range(1, EPOCHS + 1):
        row = training.epoch(epoch)
        if row["kind"] == "mixed":
            defence = training.defence
            safe.append({*defence.order[: defence.safe_count(epoch)].tolist()})
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        expected = by_hand(o)
    assert safe == expected.safe
    assert 0 < len(safe[0]) < len(safe[1]) < len(safe[2])
    first = training_of(o).model.state_dict()
    moved, apart = (
        {name: (weights - values[name]).float().norm() for name, weights in training.model.state_dict().items()}
        for values in (first, expected.weights)
    )
    for name in moved:
        if not name.endswith("attn.in_proj_bias"):  # that of the keys has no gradient but rounding, which AdamW makes large
            assert apart[name] <= 2e-3 * moved[name], name


@pytest.mark.parametrize("by", ["cosines", "random"])
def test_it_resumes_to_the_bit_in_every_phase(few, scenes, tmp_path, monkeypatch, by):
    """Four steps an epoch: within the unimodal one, the one at a low rate, and both phases of mixed ones."""
    whole, parts = (options(few, scenes, tmp_path / name, **GIVEN, safe_by=by) for name in ("whole", "parts"))
    train.run(whole)
    resumed(monkeypatch, lambda: train.run(parts), 2, 6, 9, 11, 14)
    assert outputs(parts.out) == outputs(whole.out)
    assert [path.name for path in (whole.out / "weights").iterdir()] == ["last_mixed.safetensors"]  # the others only prepare


def test_where_hardly_a_pair_is_safe_the_log_says_so(few, scenes, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(safeclip, "posterior", lambda cosines: (cosines >= np.sort(cosines)[-3]).astype(float))
    train.run(options(few, scenes, tmp_path, **GIVEN))
    assert caplog.text.count("SafeCLIP: 3 of 136 pairs are safe, fewer than a batch") == 1


def test_the_history_says_what_is_safe_and_how_much_of_it_is_poisoned(few, scenes, tmp_path):
    training = training_of(options(few, scenes, tmp_path, **GIVEN))
    poisoned = {*training.ids[128:].tolist()}
    for epoch in range(1, EPOCHS + 1):
        row = training.epoch(epoch)
        if epoch < 3:
            assert all(math.isnan(row[name]) for name in SafeCLIP.telemetry_columns)
            continue
        safe = {*training.defence.order[: training.defence.safe_count(epoch)].tolist()}
        assert row["safe_pairs"] == pytest.approx(len(safe) / PAIRS)
        assert row["poisons_that_are_safe"] == pytest.approx(len(safe & poisoned) / 8)
        assert row["safe_that_are_poisons"] == pytest.approx(len(safe & poisoned) / len(safe))


def test_phases_hold_every_pair_once_and_rates_rise_and_fall_once(few, scenes, tmp_path):
    training = training_of(options(few, scenes, tmp_path, **GIVEN | {"epochs": 8, "growth": 0.02}))
    defence = training.defence
    for epoch in range(1, 4):
        training.epoch(epoch)
    rates = {"unimodal": [], "clip": []}
    for epoch in range(3, 9):
        phases = defence.phases(epoch)
        assert sorted(torch.cat([phase.ids for phase in phases]).tolist()) == list(range(PAIRS))
        for phase in phases:
            rates[phase.kind] += [phase.rate(step) for step in range(len(phase.ids) // BATCH)]
    for its in rates.values():
        top = its.index(max(its))
        assert max(its) == pytest.approx(1e-3)
        assert all(a < b for a, b in pairwise(its[: top + 1]))
        assert all(a >= b for a, b in pairwise(its[top:]))


def test_of_two_unimodal_epochs_the_rate_falls_over_both_and_the_others_follow(few, scenes, tmp_path):
    defence = training_of(options(few, scenes, tmp_path, **GIVEN | {"unimodal_epochs": 2, "warmup_steps": 0})).defence
    assert [defence.kind(epoch) for epoch in range(1, 6)] == ["unimodal", "unimodal", "low_rate", "mixed", "mixed"]
    first, second, third = (phase for epoch in (1, 2, 3) for phase in defence.phases(epoch))
    found = [phase.rate(step) for phase in (first, second) for step in range(PAIRS // BATCH)]
    assert found == pytest.approx([1e-3 * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)])
    assert (third.kind, third.rate(0)) == ("clip", pytest.approx(1e-5))


def test_pairs_above_the_threshold_are_safe(few, scenes, tmp_path):
    counts = []
    for threshold in (0.1, 0.97):
        defence = training_of(options(few, scenes, tmp_path, **GIVEN | {"threshold": threshold})).defence
        defence.begin_epoch(3)
        counts.append(defence.safe_count(3))
        assert counts[-1] == (posterior(defence.cosines.numpy()) > threshold).sum()
    assert PAIRS > counts[0] > counts[1]


def test_its_control_trusts_as_many_random_pairs(few, scenes, tmp_path):
    """The same ones in all epochs, of which clean and poisoned pairs make up what they make up of all."""
    own, control = (
        training_of(options(few, scenes, tmp_path / by, **GIVEN | {"safe_by": by})).defence for by in ("cosines", "random")
    )
    for defence in (own, control):
        defence.begin_epoch(3)
    counts = [own.safe_count(3), control.safe_count(3)]
    assert counts[0] == counts[1] == (posterior(control.cosines.numpy()) > 0.5).sum()
    order = control.order.clone()
    assert sorted(order.tolist()) == list(range(PAIRS))
    ranks = own.cosines.argsort(descending=True).argsort()[order].float()
    assert abs(np.corrcoef(ranks, np.arange(PAIRS))[0, 1]) < 4 / math.sqrt(PAIRS)  # four deviations of unrelated orders
    control.begin_epoch(4)
    assert control.order.equal(order)
    assert control.safe_count(4) > control.safe_count(3)
    other = training_of(options(few, scenes, tmp_path / "other", **GIVEN | {"safe_by": "random", "seed": 4})).defence
    other.begin_epoch(3)
    assert not other.order.equal(order)


def test_of_the_control_rescored_says_nothing():
    given = {"kind": "safeclip", "safe_by": "random", "rescored": 1.0}
    assert SafeCLIP.simplest(given) == {**given, "rescored": 0.3}
    assert SafeCLIP.simplest({**given, "safe_by": "cosines"}) == {**given, "safe_by": "cosines"}


def test_the_loss_of_a_step_is_the_mean_of_both_modalities(few, scenes, tmp_path):
    training = training_of(options(few, scenes, tmp_path, **GIVEN))
    chosen = torch.randperm(PAIRS, generator=generator("pairs", 3))[:POOL]
    pools = [list(features) for features in in_evaluation(training.model, training, chosen)]
    training.defence.begin_epoch(1)
    batch, model = next(training.batches.of(1, [torch.arange(BATCH)], (None, None))), training.model
    found = training.defence.loss(batch, "unimodal").item()
    with torch.no_grad():
        views = batch, *batch.others
        images = [model.encode_image(view.pixels, normalize=True) for view in views]
        texts = [model.encode_text(view.tokens, normalize=True) for view in views]
        assert found == pytest.approx(unimodal(model, pools, (images, texts)).item(), rel=1e-4)


def test_problems():
    facts = Facts(100, (), "", None, 32, epochs=6, batch_size=16)
    given = {"pool_size": 100, "unimodal_epochs": 4}
    assert list(SafeCLIP.problems(given, facts)) == []
    found = dict(SafeCLIP.problems({"pool_size": 101, "unimodal_epochs": 5}, facts))
    assert found["pool_size"] == "101 is more than the 100 training pairs; make it smaller"
    assert "none of the 6 epochs is left for the safe pairs" in found["unimodal_epochs"]


def test_a_pool_of_more_pairs_than_can_be_read_is_one_line(few, scenes, tmp_path):
    with pytest.raises(UserError, match=r"^--pool_size: 137 is more than the 136 training pairs; make it smaller$"):
        training_of(options(few, scenes, tmp_path, **GIVEN | {"pool_size": 137}))


def test_in_bfloat16_the_second_view_teaches_all_weights(few, scenes, tmp_path):
    """The first view is encoded without gradient in the same autocast: what it has cast must not stand in for the weights."""
    found = {}
    for precision in ("float32", "bf16"):
        training = training_of(options(few, scenes, tmp_path / precision, **GIVEN | {"precision": precision}))
        next(training.steps(1))
        found[precision] = {
            name: weights.grad.float() for name, weights in training.model.named_parameters() if weights.grad is not None
        }
    assert found["bf16"].keys() == found["float32"].keys() >= {"token_embedding.weight", "visual.head.proj.weight"}
    for name, exact in found["float32"].items():
        if not name.endswith("attn.in_proj_bias"):
            assert cosine_similarity(found["bf16"][name].flatten(), exact.flatten(), dim=0) > 0.9, name
