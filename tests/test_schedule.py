"""Kinds of epoch and the learning rate."""

import pytest
import torch

from roclip.schedule import is_matching, learning_rate


@pytest.mark.parametrize(("match_every", "matching"), [(0, []), (1, [1, 2, 3, 4, 5, 6]), (2, [2, 4, 6]), (3, [3, 6]), (5, [5])])
def test_matching_epochs(match_every, matching):
    assert [epoch for epoch in range(1, 7) if is_matching(epoch, match_every)] == matching


def test_no_matching_epoch_before_the_first_allowed():
    assert [epoch for epoch in range(1, 9) if is_matching(epoch, 2, match_from=4)] == [4, 6, 8]
    assert [epoch for epoch in range(1, 9) if is_matching(epoch, 3, match_from=4)] == [6]


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
