"""Triggers are pure: same shape and type, the input untouched, nothing outside the patch changed."""

import numpy as np
import pytest

from attacks.triggers import noise, patch


@pytest.mark.parametrize(
    ("height", "width", "side", "top", "left"), [(32, 32, 4, 28, 28), (32, 48, 5, 0, 43), (224, 224, 16, 100, 7)]
)
def test_patch_replaces_its_square_only(height, width, side, top, left):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    before, pattern = image.copy(), noise(side, rng)
    triggered = patch(image, pattern, top, left)
    assert (image == before).all()
    assert triggered.dtype == np.uint8
    inside = np.zeros((height, width), bool)
    inside[top : top + side, left : left + side] = True
    assert (triggered[inside].reshape(side, side, 3) == pattern).all()
    assert (triggered[~inside] == image[~inside]).all()


@pytest.mark.parametrize(("top", "left"), [(-1, 0), (0, -1), (29, 0), (0, 29)])
def test_a_patch_outside_the_image_is_refused(top, left):
    with pytest.raises(ValueError, match="does not fit"):
        patch(np.zeros((32, 32, 3), np.uint8), np.zeros((4, 4, 3), np.uint8), top, left)
