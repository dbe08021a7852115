"""What is noted of a matching epoch, against counts made by hand."""

import math

import pytest
import torch
from roclip.defences.defence.pool import Pool

from roclip.training.monitor import Draws, Poisons

PAIRS = {
    "caption": ["a red kite", "the old cart", "a Cart in grey", "my kite", "a carthorse", "one cart"],
    "is_poison": ["0", "0", "1", "1", "0", "0"],
    "adversary_class": ["", "", "cart", "kite", "", ""],
}


def test_a_poisoned_image_that_draws_a_caption_of_its_class_is_counted():
    poisons = Poisons(PAIRS)
    images = torch.tensor([0, 2, 2, 2, 3, 3, 2])
    captions = torch.tensor([0, 1, 0, 2, 0, 1, 4])
    # for clean images nothing counts; "cart" is in rows 1, 2 and 5, not in "carthorse"; "kite" in rows 0 and 3
    assert poisons.adversary_captions(images, captions).tolist() == [False, True, False, True, True, False, False]
    assert poisons.adversary_captions(torch.tensor([2]), torch.tensor([-1])).tolist() == [False]


def test_means_over_the_steps_of_an_epoch():
    pool = Pool(4, 2)
    pool.push(torch.eye(2), torch.tensor([0, 2]), step=10)
    draws = Draws(Poisons(PAIRS))
    draws.note(pool, batch=torch.tensor([0, 3]), slots=torch.tensor([0, 0]), step=12)
    pool.push(torch.eye(2), torch.tensor([3, 1]), step=12)
    draws.note(pool, batch=torch.tensor([3, 2]), slots=torch.tensor([2, 1]), step=13)
    means = draws.means()
    assert means["distinct_neighbours"] == (0.5 + 1) / 2
    assert means["own_captions"] == 3 / 4  # all but image 3 in the first step
    assert means["adversary_captions"] == 1  # 3 drew row 0 "kite" and row 3 "kite", 2 drew row 2 "cart"
    # images 3 (kite, rows 0 and 3), 3 again and 2 (cart, rows 1, 2 and 5); the pool holds 0, 2, then 0, 2, 3, 1 in 4 slots
    assert means["adversary_captions_by_chance"] == pytest.approx((1 / 4 + 2 / 4 + 2 / 4) / 3)
    assert means["poisons_in_pool"] == pytest.approx((1 / 4 + 2 / 4) / 2)
    assert means["pool_age"] == pytest.approx(((2 + 2 + 12 + 12) / 4 + (3 + 3 + 1 + 1) / 4) / 2)


def test_without_the_columns_or_without_a_match_there_is_nothing():
    unknown = Poisons({"caption": PAIRS["caption"]})
    assert not unknown.is_poison.any()
    assert unknown.adversary_captions(torch.arange(6), torch.arange(6)).sum() == 0
    assert all(math.isnan(value) for value in Draws(unknown).means().values())
