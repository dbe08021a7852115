"""Scores by neighbours against the definitions, pair by pair in plain Python; and what they find."""

import math
import time

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor

from roclip.core.facts import Facts
from roclip.defences.filters import FILTERS
from roclip.defences.filters import neighbours as module
from roclip.defences.filters.base import Shuffled

K = 5


def pairs_of(images, captions, seed=0):
    images, captions = (features / np.linalg.norm(features, axis=1, keepdims=True) for features in (images, captions))
    return Shuffled([""] * len(images), images.astype("f4"), captions.astype("f4"), np.random.default_rng(seed))


def random_pairs(count=60, dimension=4, seed=0):
    rng = np.random.default_rng(seed)
    return pairs_of(rng.normal(size=(count, dimension)), rng.normal(size=(count, dimension)), seed)


def scored(kind, pairs, **settings):
    chosen = FILTERS[kind]
    return chosen(chosen.Settings(**{"scored_by": {}, "neighbours": K} | settings)).scores(pairs)


def sorted_distances(x, pair, points):
    """(distance, place) of all points that are not of the pair, the nearest first."""
    return sorted((math.dist(x, y), place) for place, (owner, y) in enumerate(points) if owner != pair)[:K]


def by_definition(pairs, score, referred):
    points = [(i, pairs.image_features[i].astype(float)) for i in referred]
    points += [(i, pairs.caption_features[i].astype(float)) for i in referred]
    found = []
    for pair, x in enumerate(pairs.image_features.astype(float)):
        near = sorted_distances(x, pair, points)
        around = [sorted_distances(points[place][1], points[place][0], points) for _, place in near]
        found.append(score([d for d, _ in near], [[d for d, _ in its] for its in around]))
    return np.array(found)


def lid(distances):
    return -1 / (sum(math.log(d / distances[-1]) for d in distances) / K)


DEFINITIONS = {
    "k_distance": lambda near, around: near[-1],
    "slof": lambda near, around: sum(near[-1] / its[-1] for its in around) / K,
    "lid": lambda near, around: lid(near),
    "dao": lambda near, around: sum(lid(its) * math.log(near[-1] / its[-1]) for its in around) / K,
}


@pytest.mark.parametrize("kind", DEFINITIONS)
def test_scores_are_those_of_the_definition(kind, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 7)  # several blocks, the last not full
    pairs = random_pairs()
    expected = by_definition(pairs, DEFINITIONS[kind], range(60))
    assert scored(kind, pairs) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("kind", DEFINITIONS)
def test_references_are_a_random_part_of_the_pairs(kind):
    expected = by_definition(pairs := random_pairs(seed=3), DEFINITIONS[kind], np.random.default_rng(3).choice(60, 20, False))
    assert scored(kind, pairs, references=20) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_distances_are_those_of_scikit_learn():
    """Of images alone: without the captions, which lie far away, and with each image once, its own is the nearest."""
    pairs = random_pairs()
    far = pairs_of(np.hstack([pairs.image_features, np.zeros((60, 1))]), np.eye(5)[[4] * 60])
    ours = scored("k_distance", far)
    oracle = LocalOutlierFactor(n_neighbors=K).fit(far.image_features)
    assert ours == pytest.approx(oracle.kneighbors()[0][:, -1], rel=1e-4)


def test_equal_features_have_finite_scores():
    same = np.ones((30, 4))
    for kind in DEFINITIONS:
        assert np.isfinite(scored(kind, pairs_of(same, same))).all()


def test_neighbours_of_equal_features_are_at_distance_0():
    rng = np.random.default_rng(0)
    images = np.repeat(rng.normal(size=(6, 64)), 10, axis=0)
    assert scored("k_distance", pairs_of(images, rng.normal(size=(60, 64)))).max() == 0


@pytest.mark.parametrize("kind", ["k_distance", "slof", "dao"])
def test_a_few_alike_far_from_all_others_are_found(kind):
    rng = np.random.default_rng(1)
    clean = rng.normal(size=(10, 16))[rng.integers(10, size=500)] + 0.3 * rng.normal(size=(500, 16))
    odd = rng.normal(size=(4, 16)) * 0.1 + 3 * rng.normal(size=16)
    images = np.concatenate([clean, odd])
    scores = scored(kind, pairs_of(images, images + 0.3 * rng.normal(size=images.shape)), neighbours=16)
    assert roc_auc_score([0] * 500 + [1] * 4, scores) > 0.95


def test_fewer_references_than_neighbours_are_one_line():
    facts = Facts(100, (), "", None, 32, 8, 16)
    ((name, message),) = FILTERS["slof"].problems({"keep": 0.9, "neighbours": 17, "references": 16}, facts)
    assert (name, message) == ("references", "16 are fewer than the 17 neighbours that are sought among them")
    assert list(FILTERS["slof"].problems({"keep": 0.9, "neighbours": 16, "references": 16}, facts)) == []


@pytest.mark.parametrize("kind", ["slof", "dao"])
def test_scores_of_40000_pairs_take_seconds_of_one_core(kind):
    """2 s by benchmarks/detectors.py."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        pairs, started = random_pairs(40_000, 128), time.process_time()
        scores = scored(kind, pairs, neighbours=16)
        assert time.process_time() - started < 20
    finally:
        torch.set_num_threads(threads)
    assert np.isfinite(scores).all()


def test_more_neighbours_than_there_are_is_one_line():
    facts = Facts(100, (), "", None, 32, 8, 16)
    settings = {"keep": 0.9, "neighbours": 199, "references": 2048}
    ((name, message),) = FILTERS["slof"].problems(settings, facts)
    assert (name, message) == ("neighbours", "199 is more than the 198 images and captions of 99 other pairs")
    assert list(FILTERS["slof"].problems(settings | {"neighbours": 198}, facts)) == []
    assert list(FILTERS["slof"].problems(settings | {"neighbours": 198, "references": 90}, facts))
