"""Data at the edge of what there can be: it works, or it is refused in one line before any training."""

import math

import numpy as np
import pytest

from roclip.core.columns import PAIRS
from roclip.core.errors import UserError
from roclip.core.files import read_table, write_table
from roclip.evaluation.linear_probe import fit
from roclip.training import train
from tests.conftest import SCENES
from tests.fixtures.trainings import options


def first(few, tmp_path, count: int):
    write_table(tmp_path / "pairs.csv", tuple(PAIRS), read_table(few / "train.csv", tuple(PAIRS))[:count])
    return tmp_path / "pairs.csv"


@pytest.mark.parametrize(
    ("pairs", "changes", "message"),
    [
        (0, {}, r"^train\.batch_size: 64 is more than the 0 pairs of .*pairs\.csv"),
        (1, {"batch_size": 2}, r"^train\.batch_size: 2 is more than the 1 pairs"),
        (63, {"pool_size": 10}, r"^train\.batch_size: 64 is more than the 63 pairs"),
        (80, {"pool_size": 81}, r"^--pool_size: 81 is more than the 80 training pairs"),
    ],
)
def test_too_few_pairs_are_refused(few, scenes, tmp_path, pairs, changes, message):
    o = options(few, scenes, tmp_path / "out", pairs=first(few, tmp_path, pairs), truth=None, **changes)
    with pytest.raises(UserError, match=message):
        train.run(o)
    assert not list((tmp_path / "out").rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("pairs", "changes"),
    [
        (64, {"pool_size": 64}),  # one step an epoch, and a pool as large as the data
        (80, {"pool_size": 80}),
        (80, {"pool_size": 1}),
        (80, {"pool_size": 81, "match_every": 0}),  # a pool that nothing fills may be larger
        (2, {"batch_size": 2, "pool_size": 2}),
    ],
)
def test_what_is_just_enough_works(few, scenes, tmp_path, pairs, changes):
    o = options(few, scenes, tmp_path / "out", pairs=first(few, tmp_path, pairs), truth=None, **changes)
    history = train.run(o)
    assert [row["kind"] for row in history] == ["clip", "matching" if o.match_every else "clip"]
    assert all(math.isfinite(row["loss"]) for row in history)
    matched = pairs // o.batch_size * o.batch_size if o.match_every else 0
    assert len(read_table(tmp_path / "out/tables/matches.csv", ("row",))) == matched


def test_a_class_without_images_and_an_evaluation_set_without_any_work(few, scenes, tmp_path):
    (tmp_path / "classes.txt").write_text((SCENES / "classes.txt").read_text() + "unicorn\n")
    write_table(tmp_path / "targets.csv", ("path", "label"), [])
    o = options(few, scenes, tmp_path / "out", classes=tmp_path / "classes.txt", targets=tmp_path / "targets.csv")
    (row, _) = train.run(o)
    assert math.isnan(row["attack_success"])
    assert 0 <= row["zero_shot"] <= 1


def test_a_probe_of_two_images_and_classes_that_it_lacks_works():
    probe = fit(np.array([[0.0, 1.0], [1.0, 0.0]], np.float32), np.array([3, 7]))
    assert probe.predict(np.array([[0.1, 0.9], [0.9, 0.1]], np.float32)).tolist() == [3, 7]
