"""Confidence intervals of shares and of differences of shares."""

from collections.abc import Sequence
from math import hypot, nan, sqrt
from statistics import mean, stdev

from roclip.core.deferred import Deferred

special = Deferred("scipy.special")  # what scipy.stats calls for these, and a quarter of its time to import
stats = Deferred("scipy.stats")


def clopper_pearson(hits: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact binomial interval of `hits` successes in `n` trials (Clopper and Pearson 1934). Raises ValueError for n < 1."""
    if not 0 <= hits <= n or n < 1:
        raise ValueError(f"{hits} hits of {n}")
    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else float(special.betaincinv(hits, n - hits + 1, tail))
    high = 1.0 if hits == n else float(special.betaincinv(hits + 1, n - hits, 1 - tail))
    return low, high


def student(values: Sequence[float], least: float = 0.0) -> tuple[float, float, float]:
    """Student's 95% t interval of the mean of values, one a training, and the p value of a mean of 0; NaN of fewer than two.

    least: a standard error of the mean that is known, as that of so many images; three trainings can be equal by chance. The
    wider of the two intervals holds, and the larger of the two p values.
    """
    if len(values) < 2:
        return nan, nan, nan
    middle, error, freedom = mean(values), stdev(values) / sqrt(len(values)), len(values) - 1
    arm = max(float(special.stdtrit(freedom, 0.975)) * error, float(special.ndtri(0.975)) * least)
    p = 2 * float(special.stdtr(freedom, -abs(middle) / error)) if error else float(middle == 0)
    return middle - arm, middle + arm, max(p, 2 * float(special.ndtr(-abs(middle) / least)) if least else 0.0)


def over_trainings(rates: Sequence[float], least: float = 0.0) -> tuple[float, float]:
    """The interval of `student` for shares, one a training, clipped to 0..1; NaN, NaN of fewer than two."""
    low, high, _ = student(rates, least)
    return (max(0.0, low), min(1.0, high)) if low == low else (nan, nan)


def sampling_error(rates: Sequence[float], images: int) -> float:
    """The standard error that the mean of shares of so many independent images each has at least; half a hit and miss added."""
    n = images * len(rates)
    share = (sum(rates) * images + 0.5) / (n + 1)
    return sqrt(share * (1 - share) / n)


def paired_difference(both: int, first_only: int, second_only: int, neither: int) -> tuple[float, float]:
    """The 95% interval, within -1..1, of the first's share of hits minus the second's, both counted on the same trials.

    Method 10 of Newcombe 1998 (Statistics in Medicine 17:2635): the Wilson intervals of the two shares, squared and added, with
    the correlation phi of the trials, of which a continuity correction is taken off. Raises ValueError without trials.
    """
    n = both + first_only + second_only + neither
    if min(both, first_only, second_only, neither) < 0 or n < 1:
        raise ValueError(f"{both} + {first_only} + {second_only} + {neither} trials")
    first, second = both + first_only, both + second_only
    below_first, above_first = _wilson_arms(first, n)
    below_second, above_second = _wilson_arms(second, n)
    covariance = both * neither - first_only * second_only
    if covariance > 0:
        covariance = max(covariance - n / 2, 0)
    spread = sqrt(first * (n - first) * second * (n - second))
    phi = covariance / spread if spread else 0.0
    difference = (first_only - second_only) / n
    return (
        max(-1.0, difference - _third_side(below_first, above_second, phi)),
        min(1.0, difference + _third_side(above_first, below_second, phi)),
    )


def _wilson_arms(hits: int, n: int) -> tuple[float, float]:
    """How far the Wilson interval of a share reaches below and above it."""
    interval = stats.binomtest(hits, n).proportion_ci(confidence_level=0.95, method="wilson")
    return hits / n - interval.low, interval.high - hits / n


def _third_side(a: float, b: float, cosine: float) -> float:
    """The law of cosines: the standard deviation of a difference, from the two and their correlation."""
    return hypot(a - b * cosine, b * sqrt(1 - cosine**2))
