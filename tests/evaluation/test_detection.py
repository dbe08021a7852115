"""Detection measures against scikit-learn, pair by pair, and a bootstrap."""

import math

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from roclip.evaluation.detection import MEASURES, Counts, auroc, detection


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
    assert detection(scores, is_poison)["fpr_at_95_tpr"] == pytest.approx(min(ways))


def test_nineteen_of_twenty_poisoned_pairs_are_enough():
    poisons, clean = np.arange(1.0, 21), np.array([1.5, *np.linspace(0, 0.9, 9)])  # one of the clean is above the last alone
    found = detection(np.concatenate([poisons, clean]), np.repeat([True, False], [20, 10]))
    assert found["fpr_at_95_tpr"] == 0


def measured(positive, negative):
    """Average precision, and the false positive rate at 95%, by thresholds."""
    is_poison, scores = np.repeat([True, False], [len(positive), len(negative)]), np.concatenate([positive, negative])
    false, true, _ = roc_curve(is_poison, scores, drop_intermediate=False)
    return average_precision_score(is_poison, scores), false[np.argmax(true >= 0.95)]


def test_intervals_are_quantiles_over_pairs_that_are_drawn_again():
    """Pair by pair with scikit-learn: counts that are drawn have the same distribution."""
    scores, is_poison = drawn(40, 400, 1.5, digits=1)
    positive, negative = scores[is_poison], scores[~is_poison]
    rng = np.random.default_rng(7)
    again = [measured(rng.choice(positive, 40), rng.choice(negative, 400)) for _ in range(1500)]
    found = detection(scores, is_poison)
    for name, values in zip(MEASURES[1:], zip(*again, strict=True), strict=True):
        low, high = np.quantile(values, (0.025, 0.975))
        assert found[f"{name}_low"] == pytest.approx(low, abs=0.02)
        assert found[f"{name}_high"] == pytest.approx(high, abs=0.03)
        assert found[f"{name}_low"] < found[name] < found[f"{name}_high"]


def test_an_interval_leaves_out_a_fortieth_at_each_end():
    """Where all poisoned pairs score alike, the clean ones that are taken with them are drawn binomially."""
    scores, is_poison = np.repeat([1.0, 1.0, 0.0], [50, 300, 700]), np.arange(1050) < 50
    found = [detection(scores, is_poison, seed) for seed in range(9)]
    for end, quantile in (("low", 0.025), ("high", 0.975)):
        exact = binom.ppf(quantile, 1000, 0.3) / 1000
        assert np.mean([one[f"fpr_at_95_tpr_{end}"] for one in found]) == pytest.approx(exact, abs=0.0015)


def test_the_intervals_are_those_of_the_seed():
    scores, is_poison = drawn(40, 400, 1)
    assert detection(scores, is_poison, 3) == detection(scores, is_poison, 3)
    assert detection(scores, is_poison, 3) != detection(scores, is_poison, 4)


def test_counts_are_by_the_scores_of_poisoned_pairs():
    counts = Counts.of(np.array([3.0, 1.0, 1.0]), np.array([4.0, 3.0, 2.0, 1.0, 0.0, 0.0]))
    assert (counts.poisoned.tolist(), counts.clean.tolist()) == ([1, 2], [2, 2, 2])
    again = counts.drawn(np.random.default_rng(0), 50)
    assert (again.poisoned.sum(1) == 3).all()
    assert (again.clean.sum(1) == 6).all()
    assert all(len({*map(tuple, part.tolist())}) > 2 for part in again)


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


def test_of_a_single_poisoned_or_clean_pair_there_is_no_interval():
    scores, single = np.arange(20.0), np.arange(20) == 15
    for is_poison in (single, ~single):
        found = detection(scores, is_poison)
        assert found["auroc"] == pytest.approx(15 / 19 if single is is_poison else 4 / 19)
        assert all(np.isnan(value) == name.endswith(("_low", "_high")) for name, value in found.items())


def test_without_poisoned_or_clean_pairs_nothing_is_said():
    for is_poison in (np.zeros(4, bool), np.ones(4, bool)):
        assert all(math.isnan(value) for value in detection(np.arange(4.0), is_poison).values())
