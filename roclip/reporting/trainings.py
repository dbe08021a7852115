"""Attack success (ASR) over trainings: the interval of what the next training may have, and the test of two methods.

The images of a backdoor share one training, so the training is the unit. `interval` is the profile likelihood of a
beta-binomial: every training has a rate of its own from a beta distribution, and hits among its images are binomial. The spread
of the rates is maximised out for each mean. The critical value is that with which the likelihood interval of a normal mean of
unknown variance is Student's t interval, so it is right for few trainings: k log(1 + t² / (k - 1)) for k of them.

Interval and test were chosen by simulation: benchmarks/coverage.py, and docs/statistics.md for the numbers. Where most
trainings end at 1 and few near 0 (mean .9, standard deviation .2), the interval covers less than it says.
"""

from collections.abc import Callable, Sequence
from math import log1p, nan, sqrt
from statistics import mean, variance
from typing import NamedTuple

import numpy as np

from roclip.core.deferred import Deferred

optimize = Deferred("scipy.optimize")
special = Deferred("scipy.special")

# The spread between trainings as the correlation of two images of one training, from none to that of a uniform distribution. A
# beta distribution that is wider at mean .5 has two peaks. It counts only where it fits the trainings better, as where an
# attack took in some and not in others: of trainings that are all alike it would say that the next may be their opposite.
CORRELATIONS = np.geomspace(1e-5, 1 / 3, 60)
TWO_PEAKS = np.append(CORRELATIONS, np.geomspace(1 / 3, 0.99, 20)[1:])
BETTER = 0.01  # in log likelihood; where all trainings end at 0 or 1, every correlation fits
FARTHEST = 16.0  # logit of the highest mean that is tried: 1 - 1e-7
STEPS = np.linspace(-FARTHEST, FARTHEST, 33)


class Count(NamedTuple):
    """Images of one training, and how many of them are hits."""

    hits: int
    n: int


def interval(trainings: Sequence[Count], confidence: float = 0.95) -> tuple[float, float]:
    """The interval of the mean rate of all trainings that could be made; see the top. NaN, NaN of fewer than two."""
    k = len(trainings)
    if k < 2:
        return nan, nan
    likelihood = _profile(trainings)
    best = _peak(likelihood)
    critical = k * log1p(float(special.stdtrit(k - 1, (1 + confidence) / 2)) ** 2 / (k - 1))

    def beyond(x: float) -> float:
        return 2 * (likelihood(best) - likelihood(x)) - critical

    low = float(special.expit(optimize.brentq(beyond, -FARTHEST, best))) if beyond(-FARTHEST) > 0 else 0.0
    high = float(special.expit(optimize.brentq(beyond, best, FARTHEST))) if beyond(FARTHEST) > 0 else 1.0
    return low, high


def _profile(trainings: Sequence[Count]) -> Callable[[float], float]:
    """The log likelihood of the logit of a mean, with the spread that fits it best."""
    one, two = (_likelihood(trainings, correlations) for correlations in (CORRELATIONS, TWO_PEAKS))
    return two if two(_peak(two)) > one(_peak(one)) + BETTER else one


def _likelihood(trainings: Sequence[Count], correlations: np.ndarray) -> Callable[[float], float]:
    hits, n = (np.array(column, float)[:, None] for column in zip(*trainings, strict=True))
    both = 1 / correlations - 1  # a + b of the beta distribution

    def likelihood(x: float) -> float:
        a, b = special.expit(x) * both, special.expit(-x) * both
        return float((special.betaln(hits + a, n - hits + b) - special.betaln(a, b)).sum(axis=0).max())

    return likelihood


def _peak(likelihood: Callable[[float], float]) -> float:
    """Where the likelihood is highest."""
    coarse = int(np.argmax([likelihood(x) for x in STEPS]))
    around = STEPS[max(coarse - 1, 0)], STEPS[min(coarse + 1, len(STEPS) - 1)]
    fine = optimize.minimize_scalar(lambda x: -likelihood(x), bounds=around, method="bounded")
    return max((STEPS[coarse], fine.x), key=likelihood)


def welch(first: Sequence[Count], second: Sequence[Count]) -> float:
    """The two-sided p value of a difference between two methods: Welch's t test on the logits of the trainings' rates.

    (hits + .5) / (n + 1) keeps rates of 0 and 1 finite. Where trainings are more alike than their images let them be, such as
    at rates of 1, the variance is that of the images. Seeds are not paired: what both have in common makes the test
    conservative. NaN where either has fewer than two trainings.
    """
    if min(len(first), len(second)) < 2:
        return nan
    (one, its), (two, others) = map(_logits, (first, second))
    error = its + others
    degrees = error**2 / (its**2 / (len(first) - 1) + others**2 / (len(second) - 1))
    return float(2 * special.stdtr(degrees, -abs(one - two) / sqrt(error)))


def _logits(trainings: Sequence[Count]) -> tuple[float, float]:
    """Mean logit, and its variance."""
    rates = [(hits + 0.5) / (n + 1) for hits, n in trainings]
    middle, images = mean(rates), mean(n for _, n in trainings)
    of_images = 1 / (images * middle * (1 - middle))
    values = [float(special.logit(rate)) for rate in rates]
    return mean(values), max(variance(values), of_images) / len(values)


def difference(first: Sequence[Count], second: Sequence[Count]) -> tuple[float, float]:
    """The 95% interval of the first's mean rate minus the second's, from the intervals of both, squared and added.

    MOVER: Zou and Donner 2008 (Statistics in Medicine 27:1693). NaN, NaN where either has fewer than two trainings.
    """
    if min(len(first), len(second)) < 2:
        return nan, nan
    (low, high), (other_low, other_high) = interval(first), interval(second)
    one, two = rate(first), rate(second)
    below, above = sqrt((one - low) ** 2 + (other_high - two) ** 2), sqrt((high - one) ** 2 + (two - other_low) ** 2)
    return max(-1.0, one - two - below), min(1.0, one - two + above)


def rate(trainings: Sequence[Count]) -> float:
    """The mean of the trainings' rates."""
    return mean(hits / n for hits, n in trainings)
