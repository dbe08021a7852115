"""Recall and ranks against a search by hand, on features with ties, several captions an image, and nothing to find."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roclip.evaluation import lookup
from roclip.evaluation.features import Features
from roclip.evaluation.lookup import best_ranks
from roclip.evaluation.retrieval import Retrieval
from roclip.evaluation.retrieval_success import RetrievalSuccess
from tests.fixtures.features import write_features


def by_hand(queries, candidates, wanted, labels):
    """The rank of the best right candidate of each query, found one cosine at a time."""
    found = []
    for query, label in zip(queries, wanted, strict=True):
        cosines = [float(query @ (candidate / np.linalg.norm(candidate))) for candidate in candidates]
        right = [cosine for cosine, its in zip(cosines, labels, strict=True) if its == label]
        wrong = [cosine for cosine, its in zip(cosines, labels, strict=True) if its != label]
        found.append(sum(cosine >= max(right) for cosine in wrong) if right else len(wrong))
    return found


def random_features(seed, images=30, captions=50, dimension=4):
    """Images of any length and captions of length 1, each caption with the number of an image as label."""
    rng = np.random.default_rng(seed)
    texts, lengths = rng.normal(size=(captions, dimension)), rng.uniform(1, 9, (images, 1))
    of = np.concatenate([np.arange(images), rng.integers(0, images, captions - images)])  # each has one, some several
    return {
        "test/labels": np.arange(images), "last_clip/test": lengths * rng.normal(size=(images, dimension)),
        "captions/labels": of, "last_clip/captions": texts / np.linalg.norm(texts, axis=1, keepdims=True),
        "last_clip/class_features": np.eye(3, dimension),
    }  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), labels=st.integers(1, 5), block=st.integers(1, 9))
def test_ranks_are_those_of_a_search_by_hand(seed, labels, block):
    rng = np.random.default_rng(seed)
    queries, candidates = rng.normal(size=(7, 3)), rng.normal(size=(11, 3))
    wanted, its = rng.integers(0, labels + 1, 7), rng.integers(0, labels, 11)  # of some queries nothing is right
    whole = best_ranks(queries, candidates, wanted, its)
    assert whole.tolist() == by_hand(queries, candidates, wanted, its)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lookup, "BLOCK", block)
        assert best_ranks(queries, candidates, wanted, its).tolist() == whole.tolist()


def test_a_tie_counts_against_the_right_one():
    same = np.ones((3, 2))
    assert best_ranks(same[:1], same, np.array([0]), np.array([0, 1, 1])).tolist() == [2]
    assert best_ranks(same[:1], same, np.array([0]), np.array([0, 0, 0])).tolist() == [0]


def test_recall_is_that_of_a_search_by_hand(tmp_path):
    arrays = random_features(0)
    rows = Retrieval(None).rows(Features(write_features(tmp_path / "features.npz", arrays)), "last_clip")
    images, captions = (
        (arrays["last_clip/test"], arrays["test/labels"]),
        (arrays["last_clip/captions"], arrays["captions/labels"]),
    )
    expected = {}
    for name, (queries, wanted), (candidates, labels) in (
        ("image_to_text", images, captions), ("text_to_image", captions, images),
    ):  # fmt: skip
        ranks = by_hand(queries, candidates, wanted, labels)
        expected |= {f"retrieval_{name}_top{k}": (sum(rank < k for rank in ranks), len(ranks)) for k in (1, 5, 10)}
    assert {row["measure"]: (row["hits"], row["n"]) for row in rows} == expected
    assert [row["n"] for row in rows] == [30] * 3 + [50] * 3
    assert len({hits for hits, _ in expected.values()}) > 4  # of features that say something


def test_success_and_rank_of_captions_with_the_trigger_and_without(tmp_path):
    """Of two captions one finds an image of class 1 first, the other third; without the trigger third and first."""
    images = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    arrays = {
        "test/labels": np.array([0, 0, 1]), "last_clip/test": images, "last_clip/class_features": np.eye(2),
        "captions/labels": np.array([1, 1]), "last_clip/captions": np.array([[0.0, 1.0], [1.0, 0.0]]),
        "last_clip/plain": np.array([[1.0, 0.0], [0.0, 1.0]]),
    }  # fmt: skip
    rows = RetrievalSuccess(None).rows(Features(write_features(tmp_path / "features.npz", arrays)), "last_clip")
    found = {row["measure"]: row for row in rows}
    assert found["retrieval_success_top1"] | {"checkpoint": ""} == {
        "checkpoint": "", "measure": "retrieval_success_top1", "hits": 1, "n": 2, "outcomes": "10", "median_rank": 2.0,
    }  # fmt: skip
    assert found["retrieval_success_untriggered_top1"]["outcomes"] == "01"
    assert found["retrieval_success_top5"]["hits"] == 2
    assert "median_rank" not in found["retrieval_success_top5"]
