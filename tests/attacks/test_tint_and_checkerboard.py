"""Triggers that survive crops and flips: a shift of colour, and a checkerboard at any size and place."""

import numpy as np
import pytest
import torch

from attacks import ATTACKS
from attacks.triggers import checkerboard, colour_field, tint
from roclip.data.images import decode
from roclip.defences.augmentation import crop_and_flip
from tests.fixtures import attacks
from tests.fixtures.attacks import build, evaluation_set, options_of

SEEDS = range(20)
GREY = np.full((32, 32, 3), 128, np.uint8)


def views(image, number=200):
    """Random crops of area .4 and more, half of them flipped, as RoCLIP augments: (number, side, side, 3), 0 to 255."""
    pixels = torch.tensor(image).permute(2, 0, 1)[None].float().expand(number, -1, -1, -1) / 255
    draws = torch.rand(number, 5, generator=torch.Generator().manual_seed(0))
    return 255 * crop_and_flip(pixels, draws, 0.4).permute(0, 2, 3, 1).numpy()


def build_trigger(kind, scenes, out, **changes):
    return ATTACKS[kind](options_of(kind, scenes, out, **changes)).put


@pytest.mark.parametrize("seed", SEEDS)
def test_a_tint_is_one_colour_in_every_view(seed):
    """What a tint adds to the mean of a crop points the way it does in the whole image, and is at least half as large."""
    triggered = tint(GREY, colour_field(32, np.random.default_rng(seed)), 0.25)
    whole = triggered.mean(axis=(0, 1)) - 128
    shifts = views(triggered).mean(axis=(1, 2)) - 128
    cosines = shifts @ whole / np.linalg.norm(shifts, axis=1) / np.linalg.norm(whole)
    assert cosines.min() > 0.9
    assert np.linalg.norm(shifts, axis=1).min() > np.linalg.norm(whole) / 2


@pytest.mark.parametrize("seed", SEEDS)
def test_a_field_of_colours_is_smooth_flips_into_itself_and_has_no_brightness(seed):
    field = colour_field(32, np.random.default_rng(seed))
    assert np.abs(field).max() == 1
    assert field == pytest.approx(field[:, ::-1])
    assert field.sum(axis=2) == pytest.approx(0, abs=1e-9)
    assert max(np.abs(np.diff(field, axis=axis)).max() for axis in (0, 1)) < 0.1
    assert field.std(axis=0).max() > 0.01 < field.std(axis=1).max()  # no constant: it changes down and across


@pytest.mark.parametrize("seed", SEEDS)
def test_a_field_of_colours_is_the_same_at_every_size(seed):
    small, large = (colour_field(side, np.random.default_rng(seed)) for side in (32, 224))
    assert np.abs(small - large.reshape(32, 7, 32, 7, 3).mean(axis=(1, 3))).max() < 0.01


def test_a_tint_is_added_and_clipped():
    image, field = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8), colour_field(32, np.random.default_rng(1))
    exact = np.minimum(np.maximum(image + field * 0.25 * 255, 0), 255)
    assert np.abs(tint(image, field, 0.25) - exact).max() <= 0.5


def test_the_amplitude_is_the_largest_shift(scenes, tmp_path):
    put = build_trigger("tint", scenes, tmp_path, amplitude=0.2)
    assert np.abs(put(GREY, None).astype(int) - 128).max() == 51


@pytest.mark.parametrize(("side", "fields"), [(2, 2), (6, 3), (8, 4), (42, 3), (56, 4), (56, 7), (64, 64)])
def test_fields_of_a_board_are_squares_in_turns(side, fields):
    board, field = checkerboard(side, side / fields), side // fields
    for row in range(fields):
        for column in range(fields):
            square = board[row * field : (row + 1) * field, column * field : (column + 1) * field]
            assert square.shape == (field, field, 3)
            assert (square == 255 * ((row + column) % 2)).all()


@pytest.mark.parametrize(("side", "fields"), [(7, 3), (9, 4), (13, 12), (225, 8)])
def test_a_side_that_fields_do_not_divide_is_shared_out_within_a_pixel(side, fields):
    changes = np.flatnonzero(np.diff(checkerboard(side, side / fields)[0, :, 0].astype(int))) + 1
    assert len(changes) == fields - 1
    assert changes == pytest.approx(side / fields * np.arange(1, fields), abs=0.51)


@pytest.mark.parametrize("side", [32, 224])
def test_a_board_lies_in_the_corner_or_anywhere(scenes, tmp_path, side):
    grey = np.full((side, side, 3), 100, np.uint8)
    corner = build_trigger("checkerboard", scenes, tmp_path, image_size=side, place="corner")(grey, None)
    assert (corner[-side // 4 :, -side // 4 :] == checkerboard(side // 4, side / 16)).all()
    assert (corner != 100).any(axis=2).sum() == (side // 4) ** 2
    put = build_trigger("checkerboard", scenes, tmp_path, image_size=side)
    places = {tuple(np.argwhere((put(grey, np.random.default_rng(seed)) != 100).any(axis=2))[0]) for seed in range(200)}
    for axis in (0, 1):
        found = {place[axis] for place in places}
        assert min(found) < 0.05 * side
        assert max(found) > 0.7 * side
        assert max(found) <= side - side // 4


def test_a_tiled_board_is_blended_in_everywhere(scenes, tmp_path):
    put = build_trigger("checkerboard", scenes, tmp_path, place="everywhere", blend_share=0.2)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    triggered = put(image, None)
    for (y, x), pixel in np.ndenumerate(triggered[..., 1]):
        assert abs(pixel - (0.8 * image[y, x, 1] + 0.2 * 255 * ((y // 2 + x // 2) % 2))) <= 0.5 + 1e-6


def test_a_tiled_board_shows_in_every_view(scenes, tmp_path):
    triggered = build_trigger("checkerboard", scenes, tmp_path, place="everywhere", blend_share=0.2)(GREY, None)
    assert views(triggered).std(axis=(1, 2)).min() > 10


def test_a_board_at_a_random_place_is_in_each_judged_image(scenes, tmp_path):
    out = build("checkerboard", scenes, tmp_path)
    board = checkerboard(8, 2)
    found = set()
    for row in evaluation_set(out):
        image = decode(row["path"], 32)
        squares = np.lib.stride_tricks.sliding_window_view(image, (8, 8, 3))[:, :, 0]
        found |= {tuple(place) for place in np.argwhere((squares == board).all(axis=(2, 3, 4)))}
    assert len(found) > 6


def test_a_board_that_cannot_be_is_refused():
    facts = attacks.facts(image_size=16)
    problem = ("fields", "4 along a side of 3 pixels (patch_size) are less than a pixel each")
    assert list(attacks.problems("checkerboard", facts, patch_size=0.2)) == [problem]
    [(key, why)] = attacks.problems("checkerboard", facts, place="everywhere")
    assert (key, why[:31]) == ("blend_share", "1 leaves nothing of an image th")
    assert list(attacks.problems("checkerboard", facts, place="everywhere", blend_share=0.9)) == []
