"""The pool is first in, first out, holds no batch before it is pushed, and is searched by the image."""

from collections import deque

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from roclip.defences.pool import Pool


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@given(size=st.integers(1, 20), batches=st.lists(st.integers(1, 30), max_size=12))
@settings(deadline=None)
def test_holds_what_a_bounded_deque_holds(size, batches):
    pool, oracle, row = Pool(size, 3), deque(maxlen=size), 0
    for count in batches:
        rows = torch.arange(row, row + count)
        pool.push(torch.stack([rows, rows, rows], 1).float(), rows, 0)
        oracle.extend(rows.tolist())
        row += count
    held = torch.roll(pool.ids, -pool.oldest).tolist()  # oldest first
    assert [r for r in held if r >= 0] == list(oracle)
    filled = pool.ids >= 0
    assert torch.equal(pool.features[filled][:, 0].long(), pool.ids[filled])


def test_a_push_that_wraps_overwrites_the_oldest_only():
    pool = Pool(4, 2)
    pool.push(unit(3, 2), torch.tensor([0, 1, 2]), 0)
    pool.push(unit(3, 2), torch.tensor([3, 4, 5]), 0)
    assert pool.ids.tolist() == [4, 5, 2, 3]


@pytest.mark.parametrize("bf16", [False, True])
def test_nearest_is_the_largest_cosine_by_brute_force_under_autocast_too(bf16):
    pool, images = Pool(500, 8), unit(100, 8, seed=1)
    features = unit(500, 8, seed=2)
    pool.push(features, torch.arange(500), 0)
    by_hand = [max(range(500), key=lambda j: float((images[i] * features[j]).sum())) for i in range(100)]
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        assert pool.nearest(images).tolist() == by_hand


def test_a_batch_is_found_only_after_it_was_pushed():
    pool, batch = Pool(10, 8), unit(4, 8, seed=3)
    pool.push(unit(10, 8, seed=4), torch.arange(10), 0)
    assert set(pool.ids[pool.nearest(batch)].tolist()) <= set(range(10))
    pool.push(batch, torch.arange(100, 104), 0)
    assert pool.ids[pool.nearest(batch)].tolist() == [100, 101, 102, 103]


def test_keeps_no_gradient():
    features = unit(4, 8).requires_grad_()
    pool = Pool(4, 8)
    pool.push(features, torch.arange(4), 0)
    assert not pool.features.requires_grad
    assert not pool.nearest(features).requires_grad


@pytest.mark.parametrize("count", [5, 10, 23])
def test_of_a_batch_larger_than_the_pool_the_last_stay(count):
    pool = Pool(5, 2)
    pool.push(unit(count, 2), torch.arange(count), 0)
    assert sorted(pool.ids.tolist()) == list(range(count - 5, count))


def test_noise_stands_for_no_caption_and_is_not_normalised():
    pool = Pool(50, 64)
    pool.fill_with_noise(torch.Generator().manual_seed(0))
    assert (pool.ids == -1).all()
    assert pool.features.norm(dim=1).mean().item() == pytest.approx(8, rel=0.1)


def test_the_step_of_each_caption_is_kept():
    pool = Pool(3, 2)
    pool.push(unit(2, 2), torch.tensor([0, 1]), 5)
    pool.push(unit(2, 2), torch.tensor([2, 3]), 9)
    assert dict(zip(pool.ids.tolist(), pool.steps.tolist(), strict=True)) == {1: 5, 2: 9, 3: 9}
