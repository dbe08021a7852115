"""Counts and checkpoints in sentences."""

import pytest

from roclip.core.words import checkpoint_label, counted


def test_a_noun_follows_its_number():
    assert [counted(n, "seed") for n in (0, 1, 2)] == ["0 seeds", "1 seed", "2 seeds"]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("last_clip", "last CLIP epoch"),
        ("last_matching", "last matching epoch"),
        ("last_repair", "last repair epoch"),
        ("last_of_its_kind", "last of its kind epoch"),
        ("epoch_12", "epoch 12"),
        ("given", "given weights"),
        ("last", "last weights"),
    ],
)
def test_a_checkpoint_is_called_by_its_file(name, label):
    assert checkpoint_label(name) == label
