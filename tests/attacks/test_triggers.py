"""Triggers are pure: same shape and type, the input untouched, nothing wraps round, the same at every size."""

import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from attacks import ATTACKS
from attacks.triggers import blend, colour_field, face, nashville, noise, patch, sinusoid, stripes, tint, warp, warp_field
from tests.conftest import ROOT
from tests.fixtures.attacks import BACKDOORS, names_of_settings, options_of

# every backdoor as it is by default, and those that can draw anew for each image, doing so
ANEW = {"pattern": "per_image", "place": "random"}
TRIGGERS = {kind: (kind, {}) for kind in BACKDOORS} | {
    f"{kind}_per_image": (kind, {name: ANEW[name] for name in ANEW if name in names_of_settings(kind)})
    for kind in BACKDOORS
    if "pattern" in names_of_settings(kind)
}
TRIGGERS |= {"checkerboard_in_the_corner": ("checkerboard", {"place": "corner"})}
TRIGGERS |= {"checkerboard_tiled": ("checkerboard", {"place": "everywhere", "blend_share": 0.2})}
TRIGGERS |= {"blended_picture": ("blended", {"pattern": "picture"})}
TRIGGERS |= {"striped_patch": ("stripes", {"place": "corner"})}
# they have nothing to draw
SEEDLESS = ("sinusoid", "checkerboard_in_the_corner", "checkerboard_tiled", "blended_picture", "nashville")
SIDES = (32, 224)
IMAGES = ("black", "white", "random")
every_trigger = pytest.mark.parametrize("name", TRIGGERS)
every_side = pytest.mark.parametrize("side", SIDES)
every_image = pytest.mark.parametrize("kind", IMAGES)


def trigger(name, side, seed=0, **changes):
    kind, settings = TRIGGERS[name]
    nowhere = Path("nowhere")
    return ATTACKS[kind](options_of(kind, nowhere, nowhere, seed, image_size=side, **settings | changes)).put


def picture(kind, side):
    if kind == "random":
        return np.random.default_rng(5).integers(0, 256, (side, side, 3), np.uint8)
    return np.full((side, side, 3), {"black": 0, "white": 255}[kind], np.uint8)


def smooth(side):
    """The same bright scene at any size: ramps along x and y and a broad wave."""
    y, x = (np.indices((side, side)) + 0.5) / side
    return np.rint(np.stack([255 * x, 255 * y, 127 + 100 * np.sin(2 * np.pi * x) * np.cos(np.pi * y)], axis=-1)).astype(
        np.uint8
    )


def shrunk(values, factor):
    """The mean of each factor x factor square."""
    height, width = values.shape[:2]
    return values.astype(float).reshape(height // factor, factor, width // factor, factor, -1).mean(axis=(1, 3))


def bilinear(image, y, x):
    """The image at a place between pixels, edges clamped, in plain Python floats."""
    height, width = image.shape[:2]
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    v, u = y - top, x - left
    row = [(1 - u) * image[t, left].astype(float) + u * image[t, right].astype(float) for t in (top, bottom)]
    return (1 - v) * row[0] + v * row[1]


@every_trigger
@every_side
@every_image
def test_shape_and_type_stay_and_the_input_is_untouched(name, side, kind):
    image = picture(kind, side)
    before = image.copy()
    image.flags.writeable = False  # writing into it would raise
    triggered = trigger(name, side)(image, np.random.default_rng(1))
    assert triggered.shape == image.shape
    assert triggered.dtype == np.uint8
    assert not np.shares_memory(triggered, image)
    assert (image == before).all()


@every_trigger
@every_side
def test_a_seed_fixes_the_trigger_and_another_seed_changes_it(name, side):
    image = smooth(side)
    first, again, other = (trigger(name, side, seed)(image, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any() == (name not in SEEDLESS)


@every_trigger
@every_side
def test_only_per_image_patterns_and_random_places_differ_between_images(name, side):
    put, image = trigger(name, side), smooth(side)
    first, second = (put(image, np.random.default_rng(seed)) for seed in (1, 2))
    assert (first != second).any() == (name.endswith("per_image") or name == "checkerboard")


@every_trigger
@every_side
def test_the_trigger_survives_a_png(name, side, tmp_path):
    triggered = trigger(name, side)(picture("random", side), np.random.default_rng(1))
    Image.fromarray(triggered).save(tmp_path / "image.png")
    with Image.open(tmp_path / "image.png") as stored:
        assert (np.asarray(stored) == triggered).all()


@every_trigger
@every_side
def test_the_trigger_shows(name, side):
    image = smooth(side)
    assert (trigger(name, side)(image, np.random.default_rng(1)) != image).any(axis=2).mean() > 0.03


@every_side
@every_image
def test_a_blend_is_the_weighted_mean(side, kind):
    image, pattern = picture(kind, side), noise(side, np.random.default_rng(2))
    exact = image / 255 * 0.8 + pattern / 255 * 0.2
    assert np.abs(blend(image, pattern, 0.2) - 255 * exact).max() <= 0.5 + 1e-6


@every_side
@every_image
@pytest.mark.parametrize("amplitude", [0.235, 1.0])
def test_a_wave_is_added_and_clipped(side, kind, amplitude):
    image = picture(kind, side)
    triggered = sinusoid(image, amplitude, 6)
    for x in range(side):
        wave = 255 * amplitude * math.sin(2 * math.pi * 6 * (x + 0.5) / side)
        exact = np.minimum(np.maximum(image[:, x].astype(float) + wave, 0), 255)
        assert np.abs(triggered[:, x] - exact).max() <= 0.5 + 1e-6


@every_image
@pytest.mark.parametrize("strength", [0.05, 0.5])
def test_a_warp_is_bilinear_and_clamps_its_edges(kind, strength):
    image, field = picture(kind, 32), warp_field(32, 4, strength, np.random.default_rng(3))
    triggered = warp(image, field)
    for y in range(32):
        for x in range(32):
            exact = bilinear(image, y + field[y, x, 0], x + field[y, x, 1])
            assert np.abs(triggered[y, x] - exact).max() <= 0.5 + 1e-6


@pytest.mark.parametrize(("down", "right"), [(0, 0), (3, 0), (0, 5), (-2, 7), (40, -40)])
def test_a_constant_field_shifts_whole_pixels(down, right):
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    ys, xs = np.clip(np.arange(32) + down, 0, 31), np.clip(np.arange(48) + right, 0, 47)
    shifted = warp(image, np.broadcast_to(np.array([down, right], float), (32, 48, 2)))
    assert (shifted == image[ys][:, xs]).all()


@every_side
@every_image
def test_nothing_of_a_trigger_is_the_identity(side, kind):
    image, rng = picture(kind, side), np.random.default_rng(0)
    assert (blend(image, noise(side, rng), 0) == image).all()
    assert (sinusoid(image, 0, 6) == image).all()
    assert (warp(image, warp_field(side, 4, 0, rng)) == image).all()
    assert (patch(image, noise(0, rng), 0, 0) == image).all()
    assert (tint(image, colour_field(side, rng), 0) == image).all()


@every_side
@every_image
def test_a_blend_of_share_1_is_the_pattern(side, kind):
    pattern = noise(side, np.random.default_rng(2))
    assert (blend(picture(kind, side), pattern, 1) == pattern).all()


@every_image
def test_nashville_is_the_formula_of_each_pixel(kind):
    image = picture(kind, 32)
    some = (pixels[::7, ::5].reshape(-1, 3) for pixels in (nashville(image), image.astype(float)))
    for found, (r, g, b) in zip(*some, strict=True):
        colour = [0.44 * c + 0.56 * min(c, rose) for c, rose in zip((r, g, b), (247, 176, 153), strict=True)]
        r, g, b = (0.6 * c + 0.4 * max(c, blue) for c, blue in zip(colour, (0, 70, 150), strict=True))
        colour = (  # sepia(0.2) of Filter Effects, 1 - amount = 0.8
            (0.393 + 0.607 * 0.8) * r + (0.769 - 0.769 * 0.8) * g + (0.189 - 0.189 * 0.8) * b,
            (0.349 - 0.349 * 0.8) * r + (0.686 + 0.314 * 0.8) * g + (0.168 - 0.168 * 0.8) * b,
            (0.272 - 0.272 * 0.8) * r + (0.534 - 0.534 * 0.8) * g + (0.131 + 0.869 * 0.8) * b,
        )
        r, g, b = (min(max(1.05 * min(max(1.2 * min(c, 255) - 25.5, 0), 255), 0), 255) for c in colour)
        exact = (  # saturate(1.2)
            (0.213 + 0.787 * 1.2) * r + (0.715 - 0.715 * 1.2) * g + (0.072 - 0.072 * 1.2) * b,
            (0.213 - 0.213 * 1.2) * r + (0.715 + 0.285 * 1.2) * g + (0.072 - 0.072 * 1.2) * b,
            (0.213 - 0.213 * 1.2) * r + (0.715 - 0.715 * 1.2) * g + (0.072 + 0.928 * 1.2) * b,
        )
        assert np.abs(found - np.clip(exact, 0, 255)).max() <= 0.5 + 1e-6


@every_side
def test_stripes_are_upright_equally_wide_and_of_as_many_colours(side):
    found = stripes(side, 8, np.random.default_rng(0))
    assert (found == found[:1]).all()
    edges = np.flatnonzero((np.diff(found[0].astype(int), axis=0) != 0).any(axis=1)) + 1
    assert edges.tolist() == [side // 8 * n for n in range(1, 8)]


def test_a_face_is_the_same_at_every_size():
    small, large = face(32), face(224)
    assert np.abs(small - shrunk(large, 7)).mean() < 4


def test_a_wave_is_the_same_at_every_size():
    small, large = (sinusoid(np.full((side, side, 3), 128, np.uint8), 0.235, 6) for side in SIDES)
    assert np.abs(small - shrunk(large, 7)).max() < 5  # the mean over a pixel is a little flatter than its centre


@pytest.mark.parametrize("seed", range(3))
def test_a_warp_is_the_same_at_every_size(seed):
    small, large = (warp_field(side, 4, 0.05, np.random.default_rng(seed)) / side for side in SIDES)
    assert np.abs(small - shrunk(large, 7)).max() < 0.001
    assert 0.03 < np.abs(large).mean() < 0.06  # near the strength, which is of the control points
    triggered = [warp(smooth(side), field * side) for side, field in zip(SIDES, (small, large), strict=True)]
    assert np.abs(triggered[0] - shrunk(triggered[1], 7)).mean() < 2


@pytest.mark.parametrize("share", [0.125, 0.1875, 0.375, 1.0])
def test_a_patch_takes_the_same_share_at_every_size(share):
    areas = []
    for side in SIDES:
        triggered = trigger("patch", side, patch_size=share)(picture("black", side), np.random.default_rng(0))
        areas.append(triggered.any(axis=2).mean())
    assert areas == pytest.approx([share**2] * 2, rel=0.01)


@pytest.mark.parametrize("grid", [2, 4, 8])
def test_a_field_meets_its_control_points_in_the_corners(grid):
    field = warp_field(320, grid, 0.1, np.random.default_rng(4))
    control = np.random.default_rng(4).uniform(-1, 1, (grid, grid, 2))
    control *= 32 / np.abs(control).mean()
    corners = np.ix_([0, -1], [0, -1])
    assert field.shape == (320, 320, 2)
    assert np.abs(field[corners] - control[corners]).max() < 1.5  # half a pixel away from the corner itself
    assert max(np.abs(np.diff(field, axis=axis)).max() for axis in (0, 1)) < grid  # smooth: no jump between neighbours


@given(level=st.integers(0, 255), share=st.floats(0, 1), other=st.integers(0, 255))
@settings(deadline=None)
def test_no_value_wraps_round(level, share, other):
    image, pattern = (np.full((8, 8, 3), value, np.uint8) for value in (level, other))
    assert (blend(image, pattern, share) >= min(level, other)).all()
    assert (blend(image, pattern, share) <= max(level, other)).all()
    wave = np.sin(2 * np.pi * (np.arange(8) + 0.5) / 8)
    change = sinusoid(image, share, 1).astype(int) - level
    assert (change[:, wave > 0] >= 0).all()
    assert (change[:, wave < 0] <= 0).all()
    assert (warp(image, warp_field(8, 2, share, np.random.default_rng(other))) == level).all()
    field = colour_field(8, np.random.default_rng(other))
    shift = tint(image, field, share).astype(int) - level
    assert (shift * np.sign(field) >= 0).all()


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


def test_a_pattern_or_a_field_of_another_shape_is_refused():
    image = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(ValueError, match="cannot be blended"):
        blend(image, image[:1], 0.5)
    with pytest.raises(ValueError, match="cannot warp"):
        warp(image, np.zeros((1, 32, 2)))
    with pytest.raises(ValueError, match="cannot tint"):
        tint(image, np.zeros((1, 32, 3)), 0.2)


@pytest.mark.parametrize("config", ["cc3m", "cc100k"])
def test_at_paper_scale_a_warp_is_half_a_pixel_in_the_mean(config):
    """As its comment says: the strength is that of the control points, and between them a spline evens out."""
    warped = yaml.safe_load((ROOT / f"config/{config}.yaml").read_text())["attack"]["warped"]
    field = warp_field(224, warped["warp_grid"], warped["warp_strength"], np.random.default_rng(0))
    assert np.abs(field).mean() == pytest.approx(0.5, abs=0.005)
