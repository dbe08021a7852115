"""Intervals and tests over trainings: against normal theory, by their coverage, and by false claims between equal methods."""

from math import isnan

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import betabinom, t, ttest_ind

from roclip.reporting import trainings
from roclip.reporting.trainings import Count, difference, interval, rate, welch


def counts(*hits, n=1000):
    return [Count(h, n) for h in hits]


def drawn(mean, sd, seeds, draws, rng):
    """Hits of 1000 of beta-binomial trainings, a row a draw."""
    both = mean * (1 - mean) / sd**2 - 1 if sd else 0
    rates = rng.beta(mean * both, (1 - mean) * both, (draws, seeds)) if sd else np.full((draws, seeds), mean)
    return rng.binomial(1000, rates)


def test_one_training_has_no_interval_no_difference_and_no_test():
    assert all(map(isnan, interval(counts(980))))
    assert all(map(isnan, difference(counts(980), counts(20, 30))))
    assert isnan(welch(counts(980), counts(20, 30)))
    assert isnan(welch(counts(980, 970), counts(20)))


@pytest.mark.parametrize("hits", [(500, 540, 460), (480, 520, 500, 470, 530), tuple(range(410, 600, 20))])
def test_in_the_middle_it_is_students_t_interval(hits):
    found, shares = interval(counts(*hits)), np.array(hits) / 1000
    arm = t.ppf(0.975, len(hits) - 1) * shares.std(ddof=1) / np.sqrt(len(hits))
    assert found == pytest.approx((shares.mean() - arm, shares.mean() + arm), abs=0.006)


ONE_PEAK, TWO_PEAKS = 2, 1 / 0.99 - 1  # the least a + b of a beta distribution


@pytest.mark.parametrize(
    ("hits", "least"),
    [
        ((1000, 1000, 900), ONE_PEAK),
        ((0, 3, 9), ONE_PEAK),
        ((980, 990, 960, 985, 940), ONE_PEAK),
        ((700, 20, 450, 300), ONE_PEAK),
    ]
    + [((1000, 1000, 0), TWO_PEAKS), ((990, 980, 995, 0, 3), TWO_PEAKS), ((934, 4, 3), TWO_PEAKS)],
)
def test_its_ends_are_those_of_a_likelihood_computed_another_way(hits, least):
    def profile(mean):
        both = np.geomspace(least, 1e6, 300)  # a + b of the beta distribution
        return max(sum(betabinom.logpmf(h, 1000, mean * both, (1 - mean) * both) for h in hits))

    k, around = len(hits), np.mean(hits) / 1000
    critical = k * np.log(1 + t.ppf(0.975, k - 1) ** 2 / (k - 1))
    best = -minimize_scalar(lambda mean: -profile(mean), bounds=(around / 3, (2 + around) / 3), method="bounded").fun
    for end in interval(counts(*hits)):
        assert 2 * (best - profile(end)) == pytest.approx(critical, abs=0.05)


def test_it_holds_the_rate_of_trainings_some_of_which_an_attack_took_in():
    rng = np.random.default_rng(0)
    for number in range(60):
        rates = rng.beta(*10 ** rng.uniform(-2, 0.5, 2), size=number % 9 + 2)
        sample = counts(*map(int, rng.binomial(1000, rates)))
        low, high = interval(sample)
        assert low - 1e-9 <= rate(sample) <= high + 1e-9, sample


def test_trainings_that_all_end_alike_at_an_end_leave_room_for_others():
    for hits in (0, 1000):
        low, high = interval(counts(hits, hits, hits))
        assert hits / 1000 in (low, high)
        assert 0.05 < high - low < 0.1
    assert interval(counts(0, 0, 0)) == pytest.approx(tuple(1 - end for end in interval(counts(1000, 1000, 1000))[::-1]))
    assert interval(counts(*10 * [0]))[1] < interval(counts(*5 * [0]))[1]


@pytest.mark.parametrize(("mean", "sd"), [(0.98, 0.01), (0.5, 0.15), (0.05, 0.03), (0.002, 0.002), (0.98, 0)])
def test_it_covers_the_mean_in_93_of_100_experiments_of_three_seeds(mean, sd):
    draws = 80  # benchmarks/coverage.py makes more
    samples = drawn(mean, sd, 3, draws, np.random.default_rng(0))
    held = [low <= mean <= high for low, high in (interval(counts(*map(int, hits))) for hits in samples)]
    assert np.mean(held) >= 0.93 - 2 * np.sqrt(0.93 * 0.07 / draws)


def test_of_normal_rates_the_test_is_welchs():
    one, two = (980, 950, 930, 960), (900, 850, 930)
    logits = [np.log((np.array(hits) + 0.5) / (1000.5 - np.array(hits))) for hits in (one, two)]
    assert welch(counts(*one), counts(*two)) == pytest.approx(ttest_ind(*logits, equal_var=False).pvalue, rel=1e-9)
    assert welch(counts(*one), counts(*two)) == welch(counts(*two), counts(*one))


def test_trainings_cannot_be_more_alike_than_their_images_let_them_be():
    assert welch(counts(1000, 1000, 1000), counts(1000, 1000, 1000)) == 1
    assert welch(counts(0, 0, 0), counts(0, 0, 0)) == 1
    assert welch(counts(1000, 1000, 1000), counts(999, 999, 999)) > 0.05  # one image each
    assert welch(counts(1000, 1000, 1000), counts(0, 0, 0)) < 0.001


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_two_identical_methods_differ_in_at_most_5_of_100_experiments(seeds):
    rng, settings = (
        np.random.default_rng(1),
        [(0.98, 0.01), (0.95, 0.03), (0.5, 0.15), (0.002, 0.002), (0.98, 0), (1, 0), (0, 0)],
    )
    for mean, sd in settings:
        one, two = (drawn(mean, sd, seeds, 150, rng) for _ in range(2))
        false = [welch(counts(*map(int, a)), counts(*map(int, b))) < 0.05 for a, b in zip(one, two, strict=True)]
        assert np.mean(false) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 150), (mean, sd)


def test_the_interval_of_a_difference_is_that_of_both_squared_and_added():
    one, two = counts(900, 950, 920), counts(400, 500, 300)
    (low, high), (other_low, other_high) = interval(one), interval(two)
    found = difference(one, two)
    middle = rate(one) - rate(two)
    assert found[0] == pytest.approx(middle - np.hypot(rate(one) - low, other_high - rate(two)))
    assert found[1] == pytest.approx(middle + np.hypot(high - rate(one), rate(two) - other_low))
    assert difference(two, one) == pytest.approx((-found[1], -found[0]))


def test_the_rate_is_a_mean_over_trainings():
    assert rate([Count(1, 10), Count(9, 30)]) == pytest.approx(0.2)
    assert trainings.CORRELATIONS[-1] == pytest.approx(1 / 3)  # of a uniform distribution
