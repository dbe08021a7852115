"""Scenes: the caption tells the truth about the label, splits do not share scenes, and a seed fixes every byte."""

import hashlib
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from scipy.stats import chisquare

from roclip.core.errors import UserError
from roclip.core.files import read_lines, read_table
from roclip.data.scenes import GROUNDS, ScenesOptions, World, draw_scene, glyph, ground_texture, run, scene
from roclip.data.settings import caption_shares
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


def test_probe_images_of_one_class_are_refused_before_anything_is_trained(tmp_path):
    two = tmp_path / "two.txt"
    two.write_text("\n".join(CLASSES[:2]))

    def shown(seed):
        return {scene(options(tmp_path, classes=two, seed=seed), "probe", index)[2] for index in (0, 1)}

    seed = next(seed for seed in range(9) if len(shown(seed)) == 1)
    with pytest.raises(
        UserError, match=r"data\.probe_scenes: all of them show one class, and a linear probe needs two; raise it"
    ):
        run(options(tmp_path / "data", classes=two, seed=seed))


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


WEB = {"class_skew": 0.8, "nameless_captions": 0.2, "wrong_captions": 0.25, "near_duplicates": 0.3, "object_variation": 0.5}


def drawn(split, count, **changes):
    """Image, caption and label of scenes with such settings."""
    given = options(SCENES, **{"captions": SCENES / "captions_web.txt"} | changes)
    return [scene(given, split, index) for index in range(count)]


def test_the_plain_world_is_that_of_the_first_version():
    plain = SCENES / "captions.txt"
    texts = [f"{caption}|{label}" for split in ("train", "test") for _, caption, label in drawn(split, 200, captions=plain)]
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    assert digest == "c620bb28c0952b41d0419175e90944c55937ba5c792f43932c6c8f5484607d71"  # made by the code of version 1


def test_skewed_classes_follow_zipfs_law():
    counts = Counter(label for _, _, label in drawn("train", 3000, class_skew=0.8))
    weights = np.arange(1, len(CLASSES) + 1) ** -0.8
    found = chisquare([counts[name] for name in CLASSES], 3000 * weights / weights.sum())
    assert found.pvalue > 0.001
    assert counts[CLASSES[0]] > 5 * counts[CLASSES[-1]]


def test_captions_name_no_class_or_a_wrong_one_as_often_as_asked():
    texts = [(caption, label) for _, caption, label in drawn("train", 2000, nameless_captions=0.2, wrong_captions=0.25)]
    words = [set(re.findall(r"\w+", caption)) for caption, _ in texts]
    nameless = np.mean([not words & {*CLASSES} for words in words])
    right = np.mean([label in word for word, (_, label) in zip(words, texts, strict=True)])
    assert nameless == pytest.approx(0.2, abs=0.03)
    assert right == pytest.approx(0.8 * 0.75, abs=0.04)  # a random class is the right one once in 50 times
    plain = [(caption, label) for _, caption, label in drawn("train", 200)]
    assert all(label in re.findall(r"\w+", caption) for caption, label in plain)


def test_near_duplicates_repeat_an_earlier_scene_with_its_caption_and_nearly_its_image():
    scenes, plain = drawn("train", 300, near_duplicates=0.3), drawn("train", 300)
    inner = [np.asarray(image, float)[2:-2, 2:-2] for image, _, _ in plain]
    moves = [(down, across) for down in (-1, 0, 1) for across in (-1, 0, 1)]
    repeats = 0
    for number, (image, caption, label) in enumerate(scenes):
        if image.tobytes() == plain[number][0].tobytes():
            continue
        repeats += 1
        moved = [np.roll(np.asarray(image, float), move, (0, 1))[2:-2, 2:-2] for move in moves]
        apart, source = min((np.abs(m - inner[k]).mean(), k) for m in moved for k in range(number))
        assert (caption, label) == plain[source][1:]
        assert 0 < apart < 25
    assert repeats / 300 == pytest.approx(0.3, abs=0.08)


def test_varied_objects_differ_more():
    def spread(variation):
        only = {"classes": SCENES / "classes.txt", "object_variation": variation}
        by_class = {}
        for image, _, label in drawn("test", 400, **only):
            by_class.setdefault(label, []).append(np.asarray(image, float)[8:24, 8:24])
        return np.mean([np.std(images, axis=0).mean() for images in by_class.values() if len(images) > 3])

    assert spread(1.0) > 1.05 * spread(0.0)


@pytest.mark.parametrize("split", ["validation", "test", "probe"])
def test_what_models_are_judged_on_is_neither_skewed_nor_noisy(split):
    hard = WEB | {"object_variation": 0.0}
    assert [row[1:] for row in drawn(split, 100, **hard)] == [row[1:] for row in drawn(split, 100)]


def test_nameless_captions_need_a_pattern_without_a_class(tmp_path):
    with pytest.raises(UserError, match="nameless_captions"):
        run(options(tmp_path, nameless_captions=0.1))


def test_the_share_of_captions_that_name_a_class_is_foretold():
    settings = {"class_skew": 0.8, "nameless_captions": 0.2}
    foretold = caption_shares({"classes": SCENES / "classes.txt", "captions": SCENES / "captions_web.txt", **settings})
    words = [re.findall(r"\w+", caption) for _, caption, _ in drawn("train", 4000, wrong_captions=0.25, **settings)]
    for name in CLASSES[:5]:
        found = np.mean([name in caption for caption in words])
        assert found == pytest.approx(foretold[name], rel=0.15)
