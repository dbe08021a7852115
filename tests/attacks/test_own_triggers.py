"""A trigger of somebody's own: what it gives is looked at before it is saved, and a mistake in it is one line."""

import numpy as np
import pytest

from attacks import ATTACKS
from attacks.backdoor import Backdoor
from attacks.images import write_image
from roclip.core.errors import UserError
from roclip.core.files import read_json
from roclip.data.images import decode
from tests.fixtures.attacks import build, pairs, poisons

GIVEN = {
    "float": (lambda image: image * 0.9, "an array of float64 and shape (32, 32, 3)"),
    "int64": (lambda image: image.astype(np.int64), "an array of int64 and shape (32, 32, 3)"),
    "bool": (lambda image: image > 0, "an array of bool and shape (32, 32, 3)"),
    "uint16": (lambda image: image.astype(np.uint16), "an array of uint16 and shape (32, 32, 3)"),
    "channels first": (lambda image: image.transpose(2, 0, 1), "an array of uint8 and shape (3, 32, 32)"),
    "nothing": (lambda image: None, "NoneType"),
    "a list": (np.ndarray.tolist, "list"),
    "empty": (lambda image: image[:0], "an array of uint8 and shape (0, 32, 3)"),
    "larger": (lambda image: np.pad(image, ((4, 4), (4, 4), (0, 0))), "an array of uint8 and shape (40, 40, 3)"),
    "grey": (lambda image: image[..., 0], "an array of uint8 and shape (32, 32)"),
    "RGBA": (lambda image: np.dstack([image, image[..., :1]]), "an array of uint8 and shape (32, 32, 4)"),
}
WANTED = "it must give an array of uint8 (whole numbers from 0 to 255) and"


def register(monkeypatch, trigger):
    """The attack `own`, whose method `trigger` is given."""
    own = type("Own", (Backdoor,), {"trigger": trigger})
    monkeypatch.setitem(ATTACKS, "own", own)


@pytest.mark.parametrize("case", GIVEN)
def test_what_is_no_image_of_the_same_shape_is_one_line(scenes, tmp_path, monkeypatch, case):
    change, what = GIVEN[case]
    register(monkeypatch, lambda attack: lambda image, rng: change(image))
    with pytest.raises(UserError) as caught:
        build("own", scenes, tmp_path)
    assert str(caught.value) == f"the trigger of Own gave {what}; {WANTED} the image's own shape (32, 32, 3)"
    assert not list(tmp_path.rglob("*.*"))


def test_a_method_that_gives_no_function_is_one_line(scenes, tmp_path, monkeypatch):
    register(monkeypatch, lambda attack: None)
    with pytest.raises(UserError, match=r"^Own\.trigger gave NoneType; it must give a function$"):
        build("own", scenes, tmp_path)


def test_a_trigger_may_write_into_the_image_that_it_gets(scenes, tmp_path, monkeypatch):
    def put(image, rng):
        image[:4] = 7
        return image

    register(monkeypatch, lambda attack: put)
    out = build("own", scenes, tmp_path)
    for poison, row in zip(poisons(out), read_json(out / "manifest.json")["poisoned_rows"], strict=True):
        image, before = decode(poison["path"], 32), decode(pairs(out)[row]["path"], 32)
        assert (image[:4] == 7).all()
        assert (before[:4] != 7).any()
        assert (image[4:] == before[4:]).all()


@pytest.mark.parametrize("image", [np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), np.zeros((0, 8, 3), np.uint8), None])
def test_what_is_no_image_is_not_saved(tmp_path, image):
    with pytest.raises(UserError, match=r"a\.png: the attack gave .*; it must give an array of uint8 .* \(height, width, 3\)$"):
        write_image(image, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_an_image_of_any_size_is_saved(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    assert (decode(write_image(image, tmp_path / "a.png"), 8) == image).all()
