"""Clopper-Pearson against its definition: tails of the binomial distribution."""

import pytest
from scipy.stats import binom

from roclip.intervals import clopper_pearson


@pytest.mark.parametrize(("hits", "n"), [(0, 16), (2, 16), (15, 16), (16, 16), (3, 300), (500, 1000)])
def test_both_tails_hold_two_and_a_half_percent(hits, n):
    low, high = clopper_pearson(hits, n)
    assert low <= hits / n <= high
    assert low == 0 if hits == 0 else binom.sf(hits - 1, n, low) == pytest.approx(0.025)
    assert high == 1 if hits == n else binom.cdf(hits, n, high) == pytest.approx(0.025)


@pytest.mark.parametrize(("hits", "n"), [(1, 0), (-1, 4), (5, 4)])
def test_refuses_impossible_counts(hits, n):
    with pytest.raises(ValueError, match="hits of"):
        clopper_pearson(hits, n)
