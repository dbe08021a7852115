"""Clopper-Pearson against its definition, tails of the binomial distribution; the paired difference by its coverage."""

from itertools import product
from math import isnan

import numpy as np
import pytest
from scipy.stats import binom, multinomial, norm, ttest_1samp

from roclip.reporting.intervals import clopper_pearson, paired_difference, sampling_error, student


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


def test_the_paired_interval_covers_as_often_as_it_says():
    n = 16
    tables = np.array([t for t in product(range(n + 1), repeat=4) if sum(t) == n])
    intervals = np.array([paired_difference(*map(int, table)) for table in tables])
    coverage = []
    for chances in product(np.arange(1, 18) / 20, repeat=4):
        if sum(chances) == pytest.approx(1):
            true = chances[1] - chances[2]
            covers = (intervals[:, 0] <= true + 1e-12) & (true - 1e-12 <= intervals[:, 1])
            coverage.append(multinomial.pmf(tables, n, chances)[covers].sum())
    assert len(coverage) == 969  # every multinomial of four cells in steps of .05, none of them empty
    assert 0.945 < np.mean(coverage) < 0.975
    assert min(coverage) > 0.90


def test_a_published_paired_interval():
    # responses before and after a therapy (Cavo et al. 2012), as the R package contingencytables of Fagerland, Lydersen and
    # Laake gives its interval
    assert paired_difference(59, 6, 16, 80) == pytest.approx((-0.1186, -0.0046), abs=5e-5)


def test_the_paired_interval_is_symmetric_and_stays_within_one():
    for table in [(3, 5, 1, 7), (9, 0, 4, 3), (0, 16, 0, 0), (5, 2, 2, 7)]:
        both, first, second, neither = table
        low, high = paired_difference(*table)
        assert -1 <= low <= (first - second) / sum(table) <= high <= 1
        assert paired_difference(both, second, first, neither) == pytest.approx((-high, -low))  # methods swapped
        assert paired_difference(neither, first, second, both) == pytest.approx((low, high))  # hits and misses swapped


def test_without_discordant_trials_a_difference_of_zero_is_in():
    for both in range(17):
        low, high = paired_difference(both, 0, 0, 16 - both)
        assert low == pytest.approx(-high)
        assert low < 0 < high


def test_agreement_narrows_the_paired_interval():
    agree, disagree = paired_difference(30, 10, 0, 10), paired_difference(21, 19, 9, 1)
    assert agree[1] - agree[0] < disagree[1] - disagree[0]


@pytest.mark.parametrize("table", [(0, 0, 0, 0), (-1, 4, 4, 4)])
def test_refuses_impossible_trials(table):
    with pytest.raises(ValueError, match="trials"):
        paired_difference(*table)


def test_students_interval_and_p_value_are_scipys():
    values = [0.3, 0.1, 0.45, 0.2, 0.0]
    found = ttest_1samp(values, 0)
    assert student(values) == pytest.approx((*found.confidence_interval(0.95), found.pvalue))
    assert student([0.5, 0.5, 0.5]) == (0.5, 0.5, 0)
    assert all(isnan(number) for number in student([0.3]))


def test_equal_trainings_have_the_interval_of_their_images():
    low, high, p = student([-0.1] * 3, 0.1)
    assert (low, high) == pytest.approx((-0.1 - 1.96 * 0.1, -0.1 + 1.96 * 0.1), abs=1e-3)
    assert p == pytest.approx(2 * norm.sf(1))
    assert student([0.3, 0.1, 0.2], 1e-6) == student([0.3, 0.1, 0.2])
    assert sampling_error([0.5, 0.5], 50) == pytest.approx(0.05)
    assert sampling_error([0.0, 0.0], 50) > 0
