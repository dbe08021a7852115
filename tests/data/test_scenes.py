"""Scenes: the caption tells the truth about the label, splits do not share scenes, and a seed fixes every byte."""

import hashlib
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from roclip.core.errors import UserError
from roclip.core.files import read_lines, read_table
from roclip.data.scenes import GROUNDS, ScenesOptions, World, draw_scene, glyph, ground_texture, run
from tests.conftest import SCENES

CLASSES = read_lines(SCENES / "classes.txt")


def rows(data):
    return read_table(data / "urls.tsv", ("split", "url", "caption", "label"))


def test_every_caption_names_its_main_object(scenes):
    for row in rows(scenes):
        assert re.search(rf"\b{row['label']}\b", row["caption"])
        assert "{" not in row["caption"]
        assert not re.search(r"\ba [aeiou]", row["caption"])


def test_counts_and_sizes(scenes):
    assert Counter(row["split"] for row in rows(scenes)) == {"train": 600, "validation": 40, "test": 100, "probe": 100}
    with Image.open(scenes / rows(scenes)[0]["url"][5:]) as image:
        assert (image.size, image.mode) == ((32, 32), "RGB")


def test_no_scene_is_in_two_places(scenes):
    digests = [hashlib.sha256((scenes / row["url"][5:]).read_bytes()).hexdigest() for row in rows(scenes)]
    assert len(set(digests)) == len(digests)


def options(data, **changes):
    values = {
        "data": data, "classes": SCENES / "classes.txt", "captions": SCENES / "captions.txt", "image_size": 32,
        "train_scenes": 5, "validation_scenes": 2, "test_scenes": 2, "probe_scenes": 2, "seed": 0,
    }  # fmt: skip
    return ScenesOptions(**(values | changes))


def content(data):
    return {p.relative_to(data): p.read_bytes() for p in sorted(data.rglob("*")) if p.is_file()}


def test_a_seed_fixes_every_byte_for_any_number_of_processes(tmp_path):
    run(options(tmp_path / "a"))
    run(options(tmp_path / "b", threads=2))
    run(options(tmp_path / "c", seed=1))
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert content(tmp_path / "a").keys() == content(tmp_path / "c").keys()
    assert content(tmp_path / "a") != content(tmp_path / "c")


def test_scenes_stay_when_more_are_drawn(tmp_path):
    run(options(tmp_path / "a"))
    run(options(tmp_path / "b", train_scenes=9))
    small, large = content(tmp_path / "a"), content(tmp_path / "b")
    assert all(large[path] == small[path] for path in small if path.suffix == ".png")


@pytest.mark.parametrize("colour", GROUNDS)
def test_grounds_have_the_colour_of_their_name(colour):
    rng = np.random.default_rng(0)
    mean = np.mean([ground_texture(64, GROUNDS[colour], rng).reshape(-1, 3).mean(0) for _ in range(100)], axis=0)
    assert mean == pytest.approx(GROUNDS[colour], abs=10)


def test_the_caption_names_the_ground_that_is_drawn():
    plain, colours = World(CLASSES, None, ["{object} on {ground}"], [], 0, 0, 0, 0), {}
    for seed in range(300):
        image, caption, _ = draw_scene(plain, 32, np.random.default_rng(seed), np.random.default_rng(seed))
        colours.setdefault(caption.split(" on ")[1], []).append(np.asarray(image, float)[0].mean(0))
    for colour, rims in colours.items():
        assert np.mean(rims, axis=0) == pytest.approx(GROUNDS[colour], abs=30)


def test_every_class_has_artwork_of_its_own():
    assert len({glyph(name, 32).tobytes() for name in CLASSES}) == len(CLASSES)


def test_an_unknown_class_is_named(tmp_path):
    (tmp_path / "classes.txt").write_text("banana\nflying banana\n")
    with pytest.raises(UserError, match="'flying banana'"):
        run(options(tmp_path / "a", classes=tmp_path / "classes.txt", train_scenes=20))
