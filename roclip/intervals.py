"""Confidence intervals of shares."""

from scipy.stats import beta


def clopper_pearson(hits: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact binomial interval of `hits` successes in `n` trials (Clopper and Pearson 1934). Raises ValueError for n < 1."""
    if not 0 <= hits <= n or n < 1:
        raise ValueError(f"{hits} hits of {n}")
    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, n - hits + 1))
    high = 1.0 if hits == n else float(beta.ppf(1 - tail, hits + 1, n - hits))
    return low, high
