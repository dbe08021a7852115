"""Detection measures against scikit-learn, pair by pair, and a bootstrap."""

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from roclip.evaluation.detection import auroc, detection


def drawn(poisons, clean, shift, seed=0, digits=2):
    """Scores with ties, and the truth."""
    rng = np.random.default_rng(seed)
    is_poison = rng.permutation(np.arange(poisons + clean) < poisons)
    return np.round(rng.normal(size=poisons + clean) + shift * is_poison, digits), is_poison


@pytest.mark.parametrize(("poisons", "clean", "shift"), [(5, 200, 1), (80, 300, 0), (200, 30, -1)])
def test_area_and_precision_are_those_of_scikit_learn(poisons, clean, shift):
    scores, is_poison = drawn(poisons, clean, shift, digits=1)
    found = detection(scores, is_poison)
    assert found["auroc"] == pytest.approx(roc_auc_score(is_poison, scores))
    assert found["average_precision"] == pytest.approx(average_precision_score(is_poison, scores))


def test_the_false_positive_rate_is_that_of_the_first_threshold_that_finds_enough():
    scores, is_poison = drawn(40, 500, 1)
    ways = []
    for threshold in scores:
        if (scores[is_poison] >= threshold).mean() >= 0.95:
            ways.append((scores[~is_poison] >= threshold).mean())
    assert detection(scores, is_poison)["false_positives"] == pytest.approx(min(ways))


def test_the_standard_error_is_that_of_a_bootstrap():
    scores, is_poison = drawn(60, 240, 0.7)
    poisons, clean = scores[is_poison], scores[~is_poison]
    rng = np.random.default_rng(1)
    again = [auroc(rng.choice(poisons, 60), rng.choice(clean, 240))[0] for _ in range(3000)]
    assert auroc(poisons, clean)[1] == pytest.approx(np.std(again), rel=0.08)


def test_the_components_are_shares_of_pairs():
    poisons, clean = np.array([3.0, 1.0, 1.0]), np.array([1.0, 2.0])
    wins = [[1.0 if p > c else 0.5 if p == c else 0.0 for c in clean] for p in poisons]
    rows, columns = (np.mean(wins, axis=axis) for axis in (1, 0))
    area, error = auroc(poisons, clean)
    assert area == pytest.approx(np.mean(wins))
    assert error**2 == pytest.approx(rows.var(ddof=1) / 3 + columns.var(ddof=1) / 2)


def test_without_poisoned_or_clean_pairs_nothing_is_said():
    for is_poison in (np.zeros(4, bool), np.ones(4, bool)):
        assert all(math.isnan(value) for value in detection(np.arange(4.0), is_poison).values())
