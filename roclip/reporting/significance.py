"""p values of differences of shares of images, and Holm's correction of several."""

from collections.abc import Sequence
from math import isnan, nan

from roclip.core.deferred import Deferred

stats = Deferred("scipy.stats")


def mcnemar(first_only: int, second_only: int) -> float:
    """The exact two-sided p value of two shares of hits on the same trials (McNemar 1947).

    Under no difference the trials that only one of the two hits are as often the first's as the second's.
    """
    discordant = first_only + second_only
    return float(stats.binomtest(first_only, discordant).pvalue) if discordant else 1.0


def fisher(hits: int, n: int, other_hits: int, other_n: int) -> float:
    """Fisher's exact two-sided p value of two shares of hits on different trials."""
    return float(stats.fisher_exact([[hits, n - hits], [other_hits, other_n - other_hits]]).pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """p values of one family, corrected so that the chance of any false finding stays below the level (Holm 1979).

    The smallest of m is multiplied by m, the next by m - 1, and so on; none is less than one before it. NaN, of what could not
    be tested, stays NaN and does not count.
    """
    order = sorted((i for i, p in enumerate(values) if not isnan(p)), key=lambda i: values[i])
    corrected, least = [nan] * len(values), 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * values[i]))
        corrected[i] = least
    return corrected
