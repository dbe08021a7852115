"""How often intervals of a backdoor's success over trainings hold the true mean, and how often tests find what is not there.

Rates of trainings are drawn from beta distributions and hits among 1000 images from binomial ones. Writes
benchmarks/coverage.csv: for each number of seeds and setting the coverage and mean width of each interval, the share of false
claims of each test between two identical methods, and of true ones between two that differ. It takes 10 minutes on a core:

python -m benchmarks.coverage
"""

import argparse
import csv
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from math import log, sqrt
from pathlib import Path
from statistics import fmean as mean
from statistics import stdev, variance

import numpy as np
from scipy.special import betaln, expit
from scipy.stats import chi2, t

from roclip.reporting import trainings
from roclip.reporting.intervals import clopper_pearson, over_trainings
from roclip.reporting.trainings import CORRELATIONS, Count

IMAGES = 1000
SEEDS = (3, 5, 10)
SETTINGS = (  # mean and standard deviation of the rates
    (0.98, 0.01), (0.95, 0.03), (0.5, 0.15), (0.05, 0.03), (0.99, 0.005), (0.002, 0.002), (0.5, 0.0), (0.98, 0.0), (0.999, 0.0),
    (0.0, 0.0), (1.0, 0.0), (0.9, 0.1), (0.2, 0.1), (0.9, 0.2), (0.7, 0.3),
)  # fmt: skip
APART = (  # two methods that differ
    ((0.9, 0.1), (0.3, 0.2)), ((0.5, 0.15), (0.2, 0.1)), ((0.95, 0.03), (0.8, 0.1)), ((0.98, 0.01), (0.95, 0.03)),
    ((1.0, 0.0), (0.9, 0.1)), ((0.0, 0.0), (0.03, 0.02)),
)  # fmt: skip
Sample = list[Count]
MEANS = np.linspace(-10, 10, 401)[:, None]  # logits


def draw(setting: tuple[float, float], seeds: int, rng: np.random.Generator) -> Sample:
    """The counts of so many trainings."""
    middle, spread = setting
    rates = np.full(seeds, middle)
    if spread:
        both = middle * (1 - middle) / spread**2 - 1
        rates = rng.beta(middle * both, (1 - middle) * both, seeds)
    return [Count(int(hits), IMAGES) for hits in rng.binomial(IMAGES, rates)]


def rates(sample: Sample) -> list[float]:
    return [hits / n for hits, n in sample]


def logits(sample: Sample) -> list[float]:
    return [log((hits + 0.5) / (n - hits + 0.5)) for hits, n in sample]


def pooled(sample: Sample) -> tuple[float, float]:
    return clopper_pearson(sum(hits for hits, _ in sample), sum(n for _, n in sample))


def hull(sample: Sample) -> tuple[float, float]:
    (low, high), (other_low, other_high) = over_trainings(rates(sample)), pooled(sample)
    return min(low, other_low), max(high, other_high)


def of_logits(sample: Sample) -> tuple[float, float]:
    values = logits(sample)
    arm = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / sqrt(len(values))
    return float(expit(mean(values) - arm)), float(expit(mean(values) + arm))


@cache
def likelihoods() -> np.ndarray:
    """Of 0 to 1000 hits, by mean and correlation: as in `trainings.interval` where rates have one peak, on a grid."""
    both, hits = 1 / CORRELATIONS - 1, np.arange(IMAGES + 1)[:, None, None]
    a, b = expit(MEANS) * both, expit(-MEANS) * both
    return betaln(hits + a, IMAGES - hits + b) - betaln(a, b)


def likelihood(sample: Sample) -> np.ndarray:
    return likelihoods()[[hits for hits, _ in sample]].sum(axis=0)


def chi_square(sample: Sample) -> tuple[float, float]:
    """The beta-binomial likelihood with the usual critical value."""
    profile = likelihood(sample).max(axis=1)
    inside = np.flatnonzero(2 * (profile.max() - profile) <= chi2.ppf(0.95, 1))
    low, high = (float(expit(MEANS[place, 0])) for place in (inside[0], inside[-1]))
    return low if inside[0] else 0.0, high if inside[-1] < len(MEANS) - 1 else 1.0


def bayes(sample: Sample) -> tuple[float, float]:
    """Equal tails; priors: Jeffreys' of the mean, the correlation's to the power -.5. Open to the side where all is 0 or 1."""
    log_posterior = likelihood(sample) + 0.5 * np.log(expit(MEANS) * expit(-MEANS)) + 0.5 * np.log(CORRELATIONS)
    posterior = np.exp(log_posterior - log_posterior.max()).sum(axis=1).cumsum()
    places = np.searchsorted(posterior / posterior[-1], [0.025, 0.975])
    low, high = (float(expit(MEANS[place, 0])) for place in places)
    hits = sum(rates(sample))
    return 0.0 if hits == 0 else low, 1.0 if hits == len(sample) else high


INTERVALS: dict[str, Callable[[Sample], tuple[float, float]]] = {
    "beta-binomial likelihood": trainings.interval,
    "the same, chi-square": chi_square,
    "beta-binomial, Bayesian": bayes,
    "t of rates": lambda sample: over_trainings(rates(sample)),
    "t of logits": of_logits,
    "hull of t and Clopper-Pearson": hull,
    "Clopper-Pearson, pooled": pooled,
}


def two_sided(by: float, variance_: float, degrees: float) -> float:
    """The p value of a t test; where nothing varies 1 for equal means and else 0."""
    return 2 * float(t.sf(abs(by) / sqrt(variance_), degrees)) if variance_ > 1e-20 else float(abs(by) < 1e-12)


def welch(first: Sequence[float], second: Sequence[float]) -> float:
    one, two, k = variance(first) / len(first), variance(second) / len(second), len(first)
    degrees = (one + two) ** 2 / ((one**2 + two**2) / (k - 1)) if one + two else k
    return two_sided(mean(first) - mean(second), one + two, degrees)


def paired(first: Sequence[float], second: Sequence[float]) -> float:
    by = [one - two for one, two in zip(first, second, strict=True)]
    return two_sided(mean(by), variance(by) / len(by), len(by) - 1)


TESTS: dict[str, Callable[[Sample, Sample], float]] = {
    "Welch of logits, at least the images' variance": trainings.welch,
    "Welch of rates": lambda one, two: welch(rates(one), rates(two)),
    "Welch of logits": lambda one, two: welch(logits(one), logits(two)),
    "paired t of rates": lambda one, two: paired(rates(one), rates(two)),
    "paired t of logits": lambda one, two: paired(logits(one), logits(two)),
}


def of_intervals(draws: int, rng: np.random.Generator) -> Iterator[tuple]:
    for seeds in SEEDS:
        for setting in SETTINGS:
            samples = [draw(setting, seeds, rng) for _ in range(draws)]
            for name, method in INTERVALS.items():
                found = [method(sample) for sample in samples]
                holds = mean(low - 1e-9 <= setting[0] <= high + 1e-9 for low, high in found)
                yield "coverage", name, seeds, *setting, "", "", f"{holds:.3f}", f"{mean(h - low for low, h in found):.4f}"


def of_tests(draws: int, rng: np.random.Generator) -> Iterator[tuple]:
    """Two identical methods, and pairs that differ."""
    for seeds in SEEDS:
        for one, two in [*((setting, setting) for setting in SETTINGS), *APART]:
            pairs = [(draw(one, seeds, rng), draw(two, seeds, rng)) for _ in range(draws)]
            for name, test in TESTS.items():
                found = mean(test(*pair) < 0.05 for pair in pairs)
                yield "false claims" if one == two else "power", name, seeds, *one, *two, f"{found:.3f}", ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--draws", type=int, default=2000)
    draws = parser.parse_args().draws
    columns = ("what", "method", "seeds", "mean", "sd", "second_mean", "second_sd", "share", "width")
    with open(Path(__file__).with_suffix(".csv"), "w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(columns)
        rows.writerows(of_intervals(draws, np.random.default_rng(0)))
        rows.writerows(of_tests(draws, np.random.default_rng(1)))


if __name__ == "__main__":
    main()
