"""The learning rate."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roclip.training.schedule import learning_rate


def test_learning_rate_rises_linearly_and_falls_as_torchs_cosine():
    rates = [learning_rate(step, 100, 10, 1.0) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=90)
    for rate in rates[10:]:
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-6)
        optimizer.step()
        cosine.step()
    assert rates[-1] < 0.001


@given(st.integers(1, 5000), st.integers(0, 5000), st.floats(1e-6, 1))
def test_the_rate_reaches_its_peak_never_exceeds_it_and_ends_near_0(steps, warmup, peak):
    warmup = min(warmup, steps - 1)
    rates = [learning_rate(step, steps, warmup, peak) for step in range(steps)]
    assert all(0 < rate <= peak * (1 + 1e-12) for rate in rates)
    top = max(warmup - 1, 0)
    assert rates[top] == pytest.approx(peak)
    assert rates[:top] == sorted(rates[:top])
    assert all(later <= rate * (1 + 1e-12) for rate, later in pairwise(rates[top:]))
    assert rates[-1] <= peak * (1 + math.cos(math.pi * (1 - 1 / (steps - warmup)))) / 2 * (1 + 1e-9)
