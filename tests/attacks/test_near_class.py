"""The class that a target looks like most, by an independent model on the same pixels."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from threadpoolctl import threadpool_limits

from attacks.near_class import SHRINKAGE, SIDE, discriminants
from roclip.core.errors import UserError
from roclip.core.files import read_table, write_rows
from roclip.data.images import decode
from tests.fixtures.attacks import CLASSES, build, captions_of, evaluation_set, names, poisons, targets_of


def test_discriminants_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels = np.repeat(range(6), [3, 9, 2, 20, 7, 4])
    features, others = rng.normal(size=(45, 10)) + labels[:, None] % 3, rng.normal(size=(30, 10))
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE, priors=[1 / 6] * 6).fit(features, labels)
    expected = theirs.decision_function(others)
    ours = discriminants(features, labels, others)
    assert ours - ours.mean(axis=1, keepdims=True) == pytest.approx(expected - expected.mean(axis=1, keepdims=True), abs=1e-6)


def surrogate(scenes, paths):
    """Scores of all classes for images, by scikit-learn, of all training images whose caption names one class."""
    table = read_table(scenes / "train.csv", ("path", "caption"))
    known = [(row["path"], [name for name in CLASSES if names(row["caption"], name)]) for row in table]
    known = {path: found[0] for path, found in known if len(found) == 1}
    pixels, targets = (np.stack([decode(path, SIDE).ravel() / 255 for path in some]) for some in (known, paths))
    count = len(set(known.values()))
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE, priors=[1 / count] * count)
    with threadpool_limits(1):  # many threads on few cores wait for one another
        model.fit(pixels, list(known.values()))
    return list(model.classes_), model.decision_function(targets)


def test_the_adversary_s_class_is_the_most_probable_that_the_caption_does_not_name(scenes, tmp_path):
    out, plain = (build(kind, scenes, tmp_path / kind, targets=12) for kind in ("near_class", "targeted"))
    paths = [row["path"] for row in evaluation_set(out)]
    assert paths == [row["path"] for row in evaluation_set(plain)]
    (known, scores), shown, corpus = surrogate(scenes, paths), captions_of(scenes, "validation"), captions_of(scenes)
    taken = []
    for target, row in zip(targets_of(out), scores, strict=True):
        may = [
            name for name in known
            if not names(shown[target["validation_row"]], name) and name not in taken
            and sum(names(caption, name) for caption in corpus) >= 3
        ]  # fmt: skip
        assert target["class"] == max(may, key=lambda name: row[known.index(name)])
        taken.append(target["class"])
    assert all(names(row["caption"], row["adversary_class"]) for row in poisons(out))


def test_classes_may_be_limited_and_run_out(scenes, tmp_path):
    allowed = ("mushroom", "kite", "bell", "guitar", "candle")
    out = build("near_class", scenes, tmp_path, adversary_classes=allowed, targets=3)
    assert {row["label"] for row in evaluation_set(out)} < {*allowed}
    with pytest.raises(UserError, match=r"attack\.targets: no class of the surrogate's \d+ is left for .*png"):
        build("near_class", scenes, tmp_path, adversary_classes=allowed[:2], targets=2, surrogate_pairs=20)


def test_broken_training_images_are_left_out_of_the_surrogate(scenes, tmp_path):
    table = read_table(scenes / "train.csv", ("path", "caption"))
    rows = [("absent.png" if number % 50 == 0 else row["path"], row["caption"]) for number, row in enumerate(table)]
    write_rows(tmp_path / "some.csv", ("path", "caption"), rows)
    assert len(evaluation_set(build("near_class", scenes, tmp_path / "out", train=tmp_path / "some.csv"))) == 5
    write_rows(tmp_path / "none.csv", ("path", "caption"), [("absent.png", caption) for _, caption in rows])
    with pytest.raises(UserError, match=r"attack\.surrogate_pairs: none of them has an image"):
        build("near_class", scenes, tmp_path / "out", train=tmp_path / "none.csv")
