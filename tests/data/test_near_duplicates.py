"""Copies are found whatever was done to them, and other pictures are not; what cannot be read is said."""

from collections.abc import Mapping

import numpy as np
import pytest
from PIL import Image

from roclip.data.near_duplicates import Hashed, copies, hashed
from tests.fixtures.pictures import copies_of, landscape, stored

KINDS = tuple(copies_of(landscape(0)))
ARRAYS = ("hashes", "mirrored", "sides")


def written(folder, contents: Mapping[str, bytes]) -> list[str]:
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [str(folder / name) for name in contents]


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    folder = tmp_path_factory.mktemp("near")
    paths = written(folder / "train", {f"{n}.jpg": stored(landscape(n), quality=92) for n in range(60)})
    return folder, hashed(paths, [str(folder)], 2)


@pytest.mark.parametrize("kind", KINDS)
def test_copies_are_found_of_the_right_image(training, kind):
    folder, train = training
    paths = written(folder / kind, {f"{n}.x": copies_of(landscape(n))[kind] for n in range(0, 60, 4)})
    assert copies(hashed(paths, [str(folder)], 2), train) == {row: 4 * row for row in range(15)}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Pictures of 32 pixels, those of half the side, and others of half the side; all hashed."""
    folder = tmp_path_factory.mktemp("small")

    def made(name, numbers, side):
        pictures = {f"{n}.jpg": landscape(n).resize((32, 32)).resize((side, side)) for n in numbers}
        paths = written(folder / name, {file: stored(picture, quality=95) for file, picture in pictures.items()})
        return hashed(paths, [str(folder)], 2)

    return made("whole", range(60), 32), made("half", range(60), 16), made("others", range(1000, 1060), 16)


def test_copies_of_16_pixels_are_found_and_other_pictures_as_small_are_none(small):
    whole, half, others = small
    assert whole.sides.tolist() == [32] * 60
    assert half.sides.tolist() == [16] * 60
    found = copies(half, whole)
    assert len(found) >= 57  # 95%
    assert all(row == place for row, place in found.items())
    assert copies(whole, half) == found
    assert copies(others, whole) == copies(whole, others) == copies(others, half) == {}


def test_of_a_small_copy_and_one_that_is_the_same_the_same_is_named(small):
    whole, half, _ = small
    both = Hashed(*(np.concatenate([getattr(part, name) for part in (half, whole)]) for name in ARRAYS), [""] * 120)
    assert copies(whole, both) == {row: 60 + row for row in range(60)}
    assert copies(half, both) == {row: row for row in range(60)}


def test_other_pictures_and_blank_ones_are_no_copies(training):
    folder, train = training
    others = {f"{n}.png": stored(landscape(1000 + n), "PNG") for n in range(60)}
    blank = {f"blank{n}.png": stored(Image.new("RGB", (64, 64), (n, n, n)), "PNG") for n in (0, 128, 255)}
    found = hashed(written(folder / "others", others | blank), [str(folder)], 2)
    assert copies(found, train) == {}
    assert copies(found, found).keys() == set(range(60)), "each is a copy of itself, but for blank ones"


def test_the_distance_is_that_of_the_bits(training):
    """Against bits that are counted one by one."""
    folder, train = training
    paths = written(folder / "far", {f"{n}.png": copies_of(landscape(n))["quality 40"] for n in range(3)})
    for row, hashes in enumerate(hashed(paths, [str(folder)], 1).hashes):
        bits = sum(bin(int(a) ^ int(b)).count("1") for a, b in zip(hashes, train.hashes[row], strict=True))
        other = sum(bin(int(a) ^ int(b)).count("1") for a, b in zip(hashes, train.hashes[row + 9], strict=True))
        assert bits < 40 < other


def test_what_cannot_be_read_is_said_and_compared_with_nothing(training, tmp_path):
    folder, train = training
    contents = {"cut.jpg": stored(landscape(0))[:900], "empty.jpg": b"", "whole.jpg": stored(landscape(0))}
    paths = [*written(folder / "bad", contents), str(folder / "absent.jpg"), "/etc/passwd"]
    found = hashed(paths, [str(folder)], 2)
    assert [bool(fault) for fault in found.faults] == [True, True, False, True, True]
    assert "outside the data roots" in found.faults[4]
    assert copies(found, train) == {2: 0}
    assert copies(found, found) == {2: 2}
    assert copies(train, hashed(paths[:2], [str(folder)], 1)) == {}
    assert not np.any(found.hashes[0])
