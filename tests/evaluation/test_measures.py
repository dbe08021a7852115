"""The measures on features made by hand, where the answer is known."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from roclip.core.errors import UserError
from roclip.evaluation import MEASURES, linear_probe
from roclip.evaluation.features import Features
from tests.fixtures.features import CLASSES, LABELS, made_up, write_features


@pytest.fixture
def features(tmp_path):
    """In last_clip every image points at its label, in last_matching at the next class."""
    return Features(write_features(tmp_path / "features.npz", made_up({"last_clip": 0, "last_matching": 1})))


def measured(kind, features):
    measure = MEASURES[kind](MEASURES[kind].Settings())
    rows = [row for checkpoint in features.checkpoints for row in measure.rows(features, checkpoint)]
    return {(row["checkpoint"], row["measure"]): row["hits"] for row in rows}


@pytest.mark.parametrize("kind", ["attack_success", "zero_shot"])
def test_the_label_is_counted_among_the_nearest_classes(kind, features):
    hits = measured(kind, features)
    assert hits["last_clip", f"{kind}_top1"] == 30
    assert hits["last_matching", f"{kind}_top1"] == 0
    assert hits["last_matching", f"{kind}_top3"] == hits["last_matching", f"{kind}_top5"] == 30


def test_outcomes_say_which_images_were_hits(tmp_path):
    arrays = made_up()
    for row in (3, 17):
        arrays["last_clip/test"][row] = np.roll(arrays["last_clip/test"][row], 1)
    features = Features(write_features(tmp_path / "features.npz", arrays))
    rows = MEASURES["attack_success"](None).rows(features, "last_clip")
    assert [row for row, hit in enumerate(rows[0]["outcomes"]) if hit == "0"] == [3, 17]
    assert not any("outcomes" in row for row in rows[1:])


def test_clip_benchmarks_recall_is_a_mean_over_classes(tmp_path):
    labels = {"test": np.array([0] * 8 + [1] * 2)}  # and no image of class 2
    arrays = made_up(labels=labels)
    arrays["last_clip/test"][9] = [5, 0, 0]
    features = Features(write_features(tmp_path / "features.npz", arrays))
    metrics = MEASURES["zero_shot"].metrics(features, "last_clip", [])
    assert metrics == {"acc1": 0.9, "acc5": 1.0, "mean_per_class_recall": 0.75}


def test_a_linear_probe_needs_no_names(features):
    assert measured("linear_probe", features) == {(c, "linear_probe"): 30 for c in ("last_clip", "last_matching")}


def test_a_linear_probe_learns_from_the_probe_images_alone(tmp_path):
    arrays = made_up()
    arrays["last_clip/probe"] = np.roll(arrays["last_clip/probe"], 1, axis=1)
    assert measured("linear_probe", Features(write_features(tmp_path / "features.npz", arrays))) == {
        ("last_clip", "linear_probe"): 0
    }


def test_a_linear_probe_needs_two_classes(tmp_path):
    labels = LABELS | {"probe": np.full(60, CLASSES - 1)}
    features = Features(write_features(tmp_path / "features.npz", made_up(labels=labels)))
    with pytest.raises(UserError, match=r"features\.npz: the probe images must show at least two classes"):
        measured("linear_probe", features)


def test_a_linear_probe_warns_of_classes_that_no_probe_image_shows(tmp_path, caplog, features):
    measured("linear_probe", features)
    assert not caplog.text
    labels = LABELS | {"probe": LABELS["probe"] % 2}
    lacking = Features(write_features(tmp_path / "lacking.npz", made_up({"last_clip": 0, "last_matching": 1}, labels=labels)))
    there = int((LABELS["test"] < 2).sum())
    assert measured("linear_probe", lacking)["last_clip", "linear_probe"] == there
    said = (
        f"{30 - there} of 30 test images are misses, for no probe image shows their classes, 1 in all; add probe images of each"
    )
    assert [record.getMessage() for record in caplog.records] == [f"{tmp_path}/lacking.npz: {said}"], "once"


def test_a_linear_probe_whose_scores_overflow_is_one_line(tmp_path):
    arrays = made_up()
    arrays["last_clip/probe"][:, 0] *= 1e-40  # its weight is beyond float32
    with pytest.raises(UserError, match=r"features\.npz: last_clip: a linear classifier .* scores that are NaN or infinite"):
        measured("linear_probe", Features(write_features(tmp_path / "features.npz", arrays)))


def test_a_linear_probe_is_logistic_regression_to_convergence(monkeypatch):
    images, labels = load_digits(return_X_y=True)
    train, test = slice(0, None, 2), slice(1, None, 2)
    labels = labels * 3 + 5  # class numbers need not be 0, 1, 2
    scaler = StandardScaler().fit(images[train])
    oracle = LogisticRegression(tol=1e-8, max_iter=5000).fit(scaler.transform(images[train]), labels[train])

    def loss(weights, bias):
        likelihoods = log_softmax(scaler.transform(images[train]) @ weights + bias, axis=1)
        return (weights**2).sum() / 2 - likelihoods[labels[train][:, None] == oracle.classes_].sum()

    probe = linear_probe.fit(images[train], labels[train])
    weights, bias = probe.weights * scaler.scale_[:, None], probe.bias + scaler.mean_ @ probe.weights
    assert loss(weights, bias) == pytest.approx(loss(oracle.coef_.T, oracle.intercept_), rel=1e-3)
    assert (probe.predict(images[test]) != oracle.predict(scaler.transform(images[test]))).sum() <= 2

    monkeypatch.setattr(linear_probe, "TOLERANCE", 1e-9)
    weights = linear_probe.fit(images[train], labels[train]).weights * scaler.scale_[:, None]
    assert np.allclose(weights, oracle.coef_.T, atol=5e-3)
