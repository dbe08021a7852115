"""Decoding: any mode becomes RGB, any shape the centre square, and a bad image is a row that is left out."""

import numpy as np
import pytest
from PIL import Image

from roclip.core.errors import UserError
from roclip.data.images import Intake, decode


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "1", "I;16"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("image.jpg" if mode == "CMYK" else "image.png")
    Image.new("RGB", (40, 40), (255, 255, 255)).convert("L" if mode == "I;16" else mode).convert(mode).save(path)
    assert decode(path, 32).shape == (32, 32, 3)
    assert decode(path, 32).dtype == np.uint8


def test_the_centre_square_is_kept(tmp_path):
    image = np.zeros((20, 60, 3), np.uint8)
    image[:, 20:40] = 255
    Image.fromarray(image).save(tmp_path / "wide.png")
    assert decode(tmp_path / "wide.png", 20).min() == 255


def test_an_image_of_the_right_size_is_not_touched(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "same.png")
    assert (decode(tmp_path / "same.png", 32) == image).all()


def test_rows_stay_with_their_images(tmp_path):
    for n in range(5):
        Image.new("RGB", (8, 8), (n, 0, 0)).save(tmp_path / f"{n}.png")
    paths = [str(tmp_path / name) for name in ("0.png", "gone.png", "2.png", "3.png", "4.png")]
    images, rows = Intake([str(tmp_path)], 0.2).load(tmp_path / "t.csv", paths, 8, 2)
    assert rows.tolist() == [0, 2, 3, 4]
    assert images[:, 0, 0, 0].tolist() == [0, 2, 3, 4]
    assert images.shape == (4, 3, 8, 8)
    with pytest.raises(UserError, match=r"1 of 5 images are missing or broken, first in row 2 \(.*gone.png: .*No such file"):
        Intake([str(tmp_path)], 0.19).load(tmp_path / "t.csv", paths, 8, 2)


def test_no_images_at_all_are_fine(tmp_path):
    images, rows = Intake([], 0).load(tmp_path / "t.csv", [], 8, 1)
    assert (len(images), len(rows)) == (0, 0)
