"""Counts, checkpoints and misspelt names in sentences."""

import pytest

from roclip.core.words import checkpoint_label, counted, nearest


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


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("Mushroom", "mushroom"), ("mushrooms", "mushroom"), ("ice_cream", "ice cream"), ("zzz", ""),
        ("golden retriever", "Golden Retriever"),
    ],
)  # fmt: skip
def test_the_name_that_a_misspelt_one_stands_for(label, name):
    assert nearest(label, ["mushroom", "ice cream", "Golden Retriever", "cat"]) == name
