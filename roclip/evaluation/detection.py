"""How well scores tell poisoned pairs from clean ones: AUROC, average precision, false positive rate, each with an interval.

That of AUROC is DeLong's (1988), at 95%. The others are those of a stratified bootstrap, its 2.5% and 97.5% quantiles: poisoned
and clean pairs are drawn again, each with replacement and as many as there are. Each pair counts as an independent draw, so
intervals are too narrow where poisoned pairs repeat one image, and of no width where all poisoned pairs score above all clean
ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from roclip.core.deferred import Deferred
from roclip.core.randomness import numpy_generator

if TYPE_CHECKING:
    import numpy as np
else:
    np = Deferred("numpy")

stats = Deferred("scipy.stats")

CAUGHT = 0.95  # the true positive rate at which the false positive rate is read
DRAWS = 1000  # of the bootstrap
HELD = 50  # draws that are held at a time
MEASURES = ("auroc", "average_precision", "fpr_at_95_tpr")


class Counts(NamedTuple):
    """Pairs by score: of each score that a poisoned pair has, the highest first, all that precision and rates depend on.

    poisoned (..., m): poisoned pairs with the score; clean (..., m + 1): clean ones with the score or between it and the one
    before it, and last those below all poisoned ones.
    """

    poisoned: np.ndarray
    clean: np.ndarray

    @classmethod
    def of(cls, positive: np.ndarray, negative: np.ndarray) -> Counts:
        """Of the scores of poisoned pairs and of clean ones."""
        levels, poisoned = np.unique(-positive, return_counts=True)
        clean = np.bincount(np.searchsorted(levels, -negative), minlength=len(levels) + 1)
        return cls(poisoned, clean)

    def drawn(self, rng: np.random.Generator, draws: int) -> Counts:
        """So many bootstrap draws of the pairs."""
        return Counts(*(rng.multinomial(part.sum(), part / part.sum(), size=draws) for part in self))

    def measures(self) -> np.ndarray:
        """Average precision, and the least share of the clean pairs that goes with 95% of the poisoned ones: (..., 2)."""
        caught, false = self.poisoned.cumsum(-1), self.clean.cumsum(-1)
        precision = caught / np.maximum(caught + false[..., :-1], 1)
        share = self.poisoned / caught[..., -1:]
        first = (caught / caught[..., -1:] >= CAUGHT).argmax(-1)
        taken = np.take_along_axis(false, first[..., None], -1)[..., 0] / false[..., -1]
        return np.stack([(share * precision).sum(-1), taken], -1)


def detection(scores: np.ndarray, is_poison: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Of scores (n,), high where a pair is suspicious, and the truth (n,) bool; NaN without poisoned or without clean pairs.

    Each of MEASURES, and with `_low` and `_high` its interval. fpr_at_95_tpr: the least share of the clean pairs that a
    threshold takes with it which finds 95% of the poisoned ones. seed: of the bootstrap. Of a single poisoned or clean pair
    there are no intervals: how another would have scored is not known.
    """
    names = [f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high")]
    if is_poison.all() or not is_poison.any():
        return dict.fromkeys(names, float("nan"))
    positive, negative = scores[is_poison], scores[~is_poison]
    area, error = auroc(positive, negative)
    arm = float(stats.norm.ppf(0.975)) * error
    counts, rng = Counts.of(positive, negative), numpy_generator("detection", seed)
    again = np.concatenate([counts.drawn(rng, HELD).measures() for _ in range(DRAWS // HELD)])
    low, high = np.quantile(again, (0.025, 0.975), axis=0)
    found = zip(counts.measures(), low, high, strict=True)
    values = [area, max(0.0, area - arm), min(1.0, area + arm), *(value for measure in found for value in measure)]
    single = min(len(positive), len(negative)) == 1
    return {
        name: float("nan") if single and name not in MEASURES else float(value)
        for name, value in zip(names, values, strict=True)
    }


def auroc(positive: np.ndarray, negative: np.ndarray) -> tuple[float, float]:
    """The chance that a poisoned pair scores above a clean one, ties half, and its standard error by DeLong's method.

    By ranks: of each positive the share of negatives below it, and of each negative that of positives above it.
    """
    m, n = len(positive), len(negative)
    among_all = stats.rankdata(np.concatenate([positive, negative]))
    below = (among_all[:m] - stats.rankdata(positive)) / n
    above = 1 - (among_all[m:] - stats.rankdata(negative)) / m
    spread = sum(values.var(ddof=1) / len(values) for values in (below, above) if len(values) > 1)
    return float(below.mean()), float(spread) ** 0.5
