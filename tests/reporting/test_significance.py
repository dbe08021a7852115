"""McNemar's and Fisher's tests by enumeration, and Holm's correction against its definition and by false findings."""

from fractions import Fraction
from itertools import combinations
from math import comb, isnan, nan

import numpy as np
import pytest

from roclip.reporting.significance import fisher, holm, mcnemar


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (5, 0), (13, 0), (6, 2), (2, 6), (4, 4), (20, 9)])
def test_mcnemar_is_a_fair_coin(first, second):
    n = first + second
    likely = [Fraction(comb(n, k), 2**n) for k in range(n + 1)]
    assert mcnemar(first, second) == pytest.approx(float(sum(p for p in likely if p <= likely[first])))


@pytest.mark.parametrize(("hits", "n", "others", "m"), [(16, 16, 0, 16), (9, 16, 4, 16), (3, 16, 3, 16), (2, 10, 9, 12)])
def test_fisher_counts_the_tables_that_are_no_likelier(hits, n, others, m):
    total = hits + others
    ways = {k: comb(n, k) * comb(m, total - k) for k in range(max(0, total - m), min(n, total) + 1)}
    expected = sum(way for way in ways.values() if way <= ways[hits]) / comb(n + m, total)
    assert fisher(hits, n, others, m) == pytest.approx(expected)


def rejected(values, level):
    """The findings of the closed procedure of Bonferroni tests, of which Holm's is the short form (Marcus 1976)."""
    every = range(len(values))
    subsets = [set(s) for size in range(1, len(values) + 1) for s in combinations(every, size)]
    return {i for i in every if all(min(values[j] for j in s) <= level / len(s) for s in subsets if i in s)}


def test_holm_rejects_what_the_closed_procedure_rejects():
    rng = np.random.default_rng(0)
    for _ in range(100):
        values = list(rng.beta(0.3, 2, rng.integers(1, 7)))
        assert {i for i, p in enumerate(holm(values)) if p <= 0.05} == rejected(values, 0.05)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([]) == []


def test_what_could_not_be_tested_does_not_count():
    found = holm([0.02, nan, 0.01])
    assert found[0] == found[2] == 0.02
    assert isnan(found[1])


def test_any_false_finding_of_a_family_is_rare():
    rng = np.random.default_rng(1)
    false = [min(holm(list(rng.uniform(size=8)))) <= 0.05 for _ in range(2000)]
    assert np.mean(false) == pytest.approx(0.049, abs=0.01)  # 1 - (1 - .05 / 8) ** 8
