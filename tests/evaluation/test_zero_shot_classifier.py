"""Zero-shot classification: ranks by brute force, ties against the wanted class, class features as their definition says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roclip.evaluation.zero_shot_classifier import class_features, prompts, ranks, top_counts


def test_prompts_keep_the_templates_of_a_class_together():
    assert prompts(["cat", "dog"], ["a {}", "the {}"]) == ["a cat", "the cat", "a dog", "the dog"]


def test_class_features_are_normalised_means():
    features = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    assert class_features(features, 2) == pytest.approx(np.array([[0.5**0.5, 0.5**0.5], [0.0, 1.0]]))


@given(st.integers(0, 10_000))
@settings(deadline=None)
def test_ranks_by_sorting(seed):
    rng = np.random.default_rng(seed)
    images, classes = rng.normal(size=(7, 4)), rng.normal(size=(5, 4))
    labels = rng.integers(0, 5, 7)
    expected = [sorted(range(5), key=lambda c: -images[i] @ classes[c]).index(labels[i]) for i in range(7)]
    assert ranks(images, classes, labels).tolist() == expected
    assert ranks(7.5 * images, classes, labels).tolist() == expected


def test_a_model_that_cannot_tell_hits_nothing():
    assert (ranks(np.ones((3, 2)), np.ones((4, 2)), np.zeros(3, int)) == 3).all()


def test_counts_of_top_1_3_and_5():
    rows = top_counts("last_clip", "attack_success", np.array([0, 0, 1, 2, 4, 9]))
    assert [(r["measure"], r["hits"], r["n"]) for r in rows] == [
        ("attack_success_top1", 2, 6),
        ("attack_success_top3", 4, 6),
        ("attack_success_top5", 5, 6),
    ]
