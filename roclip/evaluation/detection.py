"""How well scores tell poisoned pairs from clean ones: AUROC with its interval, average precision, false positive rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roclip.core.deferred import Deferred

if TYPE_CHECKING:
    import numpy as np
else:
    np = Deferred("numpy")

metrics, stats = Deferred("sklearn.metrics"), Deferred("scipy.stats")

CAUGHT = 0.95  # the true positive rate at which the false positive rate is read


def detection(scores: np.ndarray, is_poison: np.ndarray) -> dict[str, float]:
    """Of scores (n,), high where a pair is suspicious, and the truth (n,) bool; NaN without poisoned or without clean pairs.

    auroc, auroc_low and auroc_high (DeLong et al. 1988, 95%), average_precision, and false_positives: the least share of the
    clean pairs that a threshold takes with it which finds 95% of the poisoned ones. Each pair counts as an independent draw,
    so the interval is too narrow where poisoned pairs repeat one image.
    """
    if is_poison.all() or not is_poison.any():
        return dict.fromkeys(("auroc", "auroc_low", "auroc_high", "average_precision", "false_positives"), float("nan"))
    area, error = auroc(scores[is_poison], scores[~is_poison])
    arm = float(stats.norm.ppf(0.975)) * error
    false, true, _ = metrics.roc_curve(is_poison, scores, drop_intermediate=False)
    return {
        "auroc": area,
        "auroc_low": max(0.0, area - arm),
        "auroc_high": min(1.0, area + arm),
        "average_precision": float(metrics.average_precision_score(is_poison, scores)),
        "false_positives": float(false[np.argmax(true >= CAUGHT)]),
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
