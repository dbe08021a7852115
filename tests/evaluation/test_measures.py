"""The measures on features made by hand, where the answer is known."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from roclip.core.errors import UserError
from roclip.core.files import read_json
from roclip.evaluation import attack_success, linear_probe, zero_shot
from roclip.evaluation.features import AccuracyOptions, Features, MeasureOptions


@pytest.fixture
def features(tmp_path):
    """Three classes on the axes. In last_clip every image points at its label, in last_matching at the next one."""
    rng = np.random.default_rng(0)
    labels = {
        "test": rng.integers(0, 3, 30),
        "probe": rng.integers(0, 3, 60),
        "patch": np.zeros(10, int),
        "clean": np.zeros(0, int),
    }
    arrays = {}
    for checkpoint, shift in (("last_clip", 0), ("last_matching", 1)):
        arrays[f"{checkpoint}/class_features"] = np.eye(3)
        for exam, wanted in labels.items():
            arrays[f"{exam}/labels"] = wanted
            arrays[f"{checkpoint}/{exam}"] = 5 * np.eye(3)[(wanted + shift) % 3] + 0.1 * rng.normal(size=(len(wanted), 3))
    np.savez(tmp_path / "features.npz", **arrays)
    return tmp_path / "features.npz"


def measured(stage, features, options=MeasureOptions, **more):
    stage.run(options(features, features.with_suffix(".json"), **more))
    return {(r["checkpoint"], r["exam"], r["measure"]): (r["hits"], r["n"]) for r in read_json(features.with_suffix(".json"))}


def test_attack_success_counts_the_adversarys_class(features):
    found = measured(attack_success, features)
    assert found["last_clip", "patch", "attack_success_top1"] == (10, 10)
    assert found["last_matching", "patch", "attack_success_top1"] == (0, 10)
    assert found["last_matching", "patch", "attack_success_top3"] == (10, 10)
    assert {exam for _, exam, _ in found} == {"patch"}


def test_zero_shot_counts_the_true_class(features):
    found = measured(zero_shot, features, AccuracyOptions)
    assert found["last_clip", "test", "zero_shot_top1"] == (30, 30)
    assert found["last_matching", "test", "zero_shot_top1"] == (0, 30)


def test_a_linear_probe_needs_no_names(features):
    found = measured(linear_probe, features, AccuracyOptions)
    assert found == {(c, "test", "linear_probe"): (30, 30) for c in ("last_clip", "last_matching")}


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


@pytest.mark.parametrize("stage", [zero_shot, linear_probe])
def test_the_images_of_a_downstream_set_go_by_its_name(stage, features):
    ours, theirs = (measured(stage, features, AccuracyOptions, **more) for more in ({}, {"exam": "cifar10"}))
    assert theirs == {(checkpoint, "cifar10", measure): counts for (checkpoint, _, measure), counts in ours.items()}


def test_a_file_that_holds_no_features_is_named(tmp_path):
    with pytest.raises(UserError, match="run the encode stage first"):
        Features(tmp_path / "absent.npz")
    (tmp_path / "broken.npz").write_bytes(b"broken")
    with pytest.raises(UserError, match="not a feature file"):
        Features(tmp_path / "broken.npz")
