"""Trainings side by side (benchmarks/lanes.py) are the project's training: same losses and weights, on a CPU."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import side_by_side
from benchmarks.lane_data import Recipe
from benchmarks.lanes import DRAWN
from roclip.model import towers
from tests.fixtures.lanes import apart, lane_of
from tests.fixtures.made_up import options, training_of, write_data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("made_up"))


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        (Recipe(2, 2), {}),
        (Recipe(2), {"kind": "clip", "augment_images": True, "augment_captions": "each_epoch"}),
        (Recipe(2, augment=False), {"kind": "clip"}),
    ],
)
def test_a_lane_is_the_projects_training(folder, recipe, changes, monkeypatch):
    """Graphs read whole contexts: that differs by rounding, of which AdamW makes a thousandth of the loss in two epochs."""
    monkeypatch.setattr(towers.Towers, "cut", lambda model, tokens, multiple: tokens)
    training = training_of(options(folder, **changes))
    lane, rows = lane_of(training_of(options(folder, **changes)), recipe), []
    expected = [training.epoch(epoch) | training.measurement.measure(training.model, training.runtime)[0] for epoch in (1, 2)]
    assert side_by_side.train([lane], rows.append, float("inf"))
    np.testing.assert_allclose([float(row["loss"]) for row in rows], [row["loss"] for row in expected], atol=1e-3)
    assert apart(lane.model, training.model, lane.beginning) < 0.01
    for row, other in zip(rows, expected, strict=True):
        assert int(row["target_hits"]) / int(row["targets"]) == other["attack_success"]
        assert int(row["zero_shot_hits"]) / int(row["tests"]) == other["zero_shot"]
    if recipe.match_every:
        drawn, other = rows[1], expected[1]
        assert int(drawn["distinct"]) / int(drawn["drawn"]) == pytest.approx(other["distinct_neighbours"], abs=0.02)
        assert int(drawn["poison_adversary"]) / int(drawn["poison"]) == pytest.approx(other["adversary_captions"], abs=0.07)
        assert int(drawn["clean"]) + int(drawn["poison"]) == int(drawn["drawn"]) == 256
        assert int(drawn["poison"]) == 16


def test_a_skipped_epoch_leaves_the_weights_and_moves_the_schedule(folder):
    rows = []
    lane = lane_of(training_of(options(folder)), Recipe(2, 2, "nothing"))
    assert side_by_side.train([lane], rows.append, float("inf"))
    assert [row["kind"] for row in rows] == ["clip", "skipped"]
    other = lane_of(training_of(options(folder)), Recipe(2, 2))
    other.begin(1)
    for _ in range(other.draws.steps):
        other.advance(False)
    for name, tensor in other.model.state_dict().items():
        assert torch.equal(lane.model.state_dict()[name], tensor)
    assert lane.steps_planned() == 8
    assert side_by_side.train([lane_of(training_of(options(folder)), Recipe(2, 2))], rows.append, 0.0) is False


def test_random_captions_are_no_neighbours_and_restart_begins_again(folder):
    lane, first, second = lane_of(training_of(options(folder)), Recipe(2, 2, "random")), [], []
    side_by_side.train([lane], first.append, float("inf"))
    lane.restart(2)
    side_by_side.train([lane], second.append, float("inf"))
    assert [{**row, "seconds": 0} for row in first] == [{**row, "seconds": 0} for row in second]
    nearest = []
    side_by_side.train([lane_of(training_of(options(folder)), Recipe(2, 2))], nearest.append, float("inf"))
    assert first[0]["loss"] == nearest[0]["loss"]
    assert int(first[1]["distinct"]) > int(nearest[1]["distinct"])


def test_a_class_that_is_not_known_is_neither_right_nor_counted(folder):
    lane = lane_of(training_of(options(folder)), Recipe(2, 2))
    shown, named, poison = (x.clone() for x in (lane.world.image_class, lane.world.caption_class, lane.world.is_poison))
    shown[:4], named[:4] = torch.tensor([-1, 2, 2, -1]), torch.tensor([5, 2, 3, -1])
    poison[:4] = torch.tensor([True, False, False, False])
    world = replace(lane.world, image_class=shown, caption_class=named, is_poison=poison)
    lane.pool.ids[:4] = torch.tensor([3, 1, 2, 3])  # the first and the last draw a caption of which nothing is known
    lane.note(world, torch.arange(4), torch.arange(4))
    drawn = dict(zip(DRAWN, lane.drawn.tolist(), strict=True))
    assert drawn == {
        "clean_right": 1, "clean": 2, "poison_right": 0, "poison_adversary": 0, "poison": 1, "distinct": 4, "drawn": 4,
    }  # fmt: skip
