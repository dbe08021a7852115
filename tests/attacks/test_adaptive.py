"""Adaptive targeted attacks: what their captions, images and classes are, by the texts, and by independent computations."""

import math
import re
from functools import cache
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from attacks.bridge import bridged, first_named
from attacks.flood import copies
from attacks.typical import typical
from roclip.core.errors import UserError
from roclip.core.files import read_lines, read_table, write_rows
from roclip.data.images import decode
from tests.conftest import SCENES
from tests.fixtures import attacks
from tests.fixtures.attacks import CLASSES, build, captions_of, evaluation_set, names, poisons, targets_of

# bridge


def test_captions_of_a_bridge_name_what_the_image_shows_and_what_the_adversary_wants(scenes, tmp_path):
    out, corpus = build("bridge", scenes, tmp_path, captions_per_target=6), captions_of(scenes)
    shown, rows = captions_of(scenes, "validation"), iter(poisons(out))
    for target in targets_of(out):
        places = {
            name: shown[target["validation_row"]].find(name) for name in CLASSES if names(shown[target["validation_row"]], name)
        }
        assert target["true_class"] == min(places, key=places.get)
        both = [
            n for n, caption in enumerate(corpus) if names(caption, target["class"]) and names(caption, target["true_class"])
        ]
        composed = target["composed"]
        assert composed == max(0, 6 - len(both))
        assert {*target["caption_rows"][: 6 - composed]} <= {*both}
        assert len({*target["caption_rows"]}) == 6
        for number, row in enumerate(target["caption_rows"]):
            caption = next(rows)["caption"]
            assert names(caption, target["class"])
            assert names(caption, target["true_class"])
            assert caption.startswith(corpus[row])
            assert (caption == corpus[row]) == (number < 6 - composed)


def test_a_stronger_bridge_has_all_poisons_of_the_weaker(scenes, tmp_path):
    few, many = (
        {(row["path"], row["caption"]) for row in poisons(build("bridge", scenes, tmp_path / f"{n}", captions_per_target=n))}
        for n in (2, 6)
    )
    assert few < many


def test_a_bridge_has_the_targets_of_targeted_where_all_captions_name_a_class(scenes, tmp_path):
    bridge, plain = (build(kind, scenes, tmp_path / kind) for kind in ("bridge", "targeted"))
    assert evaluation_set(bridge) == evaluation_set(plain)


def test_a_bridge_begins_at_images_whose_caption_names_a_class_only(scenes, tmp_path):
    a, b, c, *_ = (row["path"] for row in read_table(scenes / "validation.csv", ("path",)))
    write_rows(tmp_path / "few.csv", ("path", "caption"), [(a, "nothing"), (b, "a bell"), (c, "a mushroom")])
    given = {"validation": tmp_path / "few.csv", "adversary_classes": ("mushroom", "kite")}
    for seed in range(5):
        out = build("bridge", scenes, tmp_path / "out", seed, targets=1, **given)
        assert [row["path"] for row in evaluation_set(out)] == [b]
    write_rows(tmp_path / "few.csv", ("path", "caption"), [(a, "nothing")])
    with pytest.raises(UserError, match=r"few\.csv has no image left whose caption names a class but not 'mushroom'"):
        build("bridge", scenes, tmp_path / "out", targets=1, **given)


@pytest.mark.parametrize(
    ("caption", "first"),
    [
        ("a Bear and a kite", "bear"),
        ("a polar bear", "polar bear"),
        ("a kitemark, bears", None),
        ("kite bear", "kite"),
        ("", None),
    ],
)
def test_the_class_that_a_caption_names_first(caption, first):
    assert first_named(caption, ["bear", "kite", "polar bear"]) == first


def test_a_bridge_has_the_right_article():
    assert bridged("a mushroom on red", "cat") == "a mushroom on red and a cat"
    assert bridged("a mushroom on red", "owl") == "a mushroom on red and an owl"


# typical


def features_of(captions, prompts):
    """Cosines to the mean prompt, and between captions, with TF-IDF written out by hand: smooth, L2-normalised."""
    texts = [re.findall(r"\b\w\w+\b", text.lower()) for text in [*captions, *prompts]]
    words = sorted({word for text in texts for word in text})
    counts = np.array([[text.count(word) for word in words] for text in texts], float)
    rows = counts * (np.log((1 + len(texts)) / (1 + (counts > 0).sum(axis=0))) + 1)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    features, mean = rows[: len(captions)], rows[len(captions) :].mean(axis=0)
    return features @ mean / np.linalg.norm(mean), features @ features.T


def test_typical_captions_are_near_the_mean_prompt_and_spread_out(scenes, tmp_path):
    out, corpus = build("typical", scenes, tmp_path, captions_per_target=3, candidates_per_caption=3), captions_of(scenes)
    for target in targets_of(out):
        prompts = [template.format(target["class"]) for template in read_lines(SCENES / "templates.txt")]
        named = [row for row, caption in enumerate(corpus) if names(caption, target["class"])]
        cosines, between = features_of([corpus[row] for row in named], prompts)
        chosen = [named.index(row) for row in target["caption_rows"]]
        nearest = np.argsort(-cosines)[:9]
        assert set(chosen) <= set(nearest)
        assert closest(between, chosen) <= closest(between, nearest[:3])
        spread = [closest(between, trio) for trio in combinations(nearest, 3)]
        assert closest(between, chosen) <= np.median(spread)


def test_typical_captions_are_nearer_than_random_ones_and_more_varied_than_the_nearest():
    patterns, grounds = read_lines(SCENES / "captions.txt"), ("red", "blue", "green", "grey", "teal")
    rng, words = np.random.default_rng(0), {"object": "mushroom", "size": "small", "side": "left"}
    captions = [
        str(rng.choice(patterns)).format(other=rng.choice(CLASSES), ground=rng.choice(grounds), **words) for _ in range(400)
    ]
    prompts = [template.format("mushroom") for template in read_lines(SCENES / "templates.txt")]
    cosines, between = features_of(captions, prompts)
    chosen = typical(captions, prompts, 15, 60)
    pairwise = [between[np.ix_(rows, rows)].mean() for rows in (chosen, np.argsort(-cosines)[:15])]
    assert cosines[chosen].mean() > cosines.mean() + 2 * cosines.std() / math.sqrt(15)
    distinct = np.sort(cosines[[captions.index(caption) for caption in sorted({*captions})]])
    assert cosines[chosen].min() >= distinct[-60] - 1e-9
    assert pairwise[0] < pairwise[1]
    assert len({captions[row] for row in chosen}) == 15


def closest(between, rows):
    """The cosine of the two that are most alike."""
    return max(between[first, second] for first, second in combinations(rows, 2))


def test_the_most_typical_comes_first_and_duplicates_last():
    prompts = ["a photo of a cat", "a picture of a cat"]
    captions = ["the tax form of a cat owner in ohio", "a photo of a cat", "a photo of a cat", "picture: a cat", "red cat sofa"]
    assert typical(captions, prompts, 1, 5) == [1]
    assert typical(captions, prompts, 4, 5)[0] == 1
    assert set(typical(captions, prompts, 4, 5)) == {0, 1, 3, 4}
    assert sorted(typical(captions, prompts, 5, 5)) == [0, 1, 2, 3, 4]
    assert set(typical(captions, prompts, 2, 2)) == {1, 3}  # no others are candidates, and a duplicate is none


# flood


@pytest.mark.parametrize(
    ("pool", "certainty", "clean", "targets"), [(50, 0.9, 1000, 4), (20, 0.5, 700, 10), (800, 0.99, 40_000, 16)]
)
def test_pools_hold_a_poison_of_a_target_with_the_probability(pool, certainty, clean, targets):
    count = copies(pool, certainty, clean, targets)
    pairs, rng, trials = clean + count * targets, np.random.default_rng(0), 20_000
    share = (rng.hypergeometric(count, pairs - count, pool, trials) > 0).mean()
    error = 4 * math.sqrt(certainty * (1 - certainty) / trials)
    assert share > certainty - error
    fewer = (rng.hypergeometric(count - 1, clean + (count - 1) * targets - count + 1, pool, trials) > 0).mean()
    assert fewer < certainty + error + 0.02  # it is not many more than needed
    formula = math.log(1 - certainty) / math.log(1 - pool / pairs)
    assert formula <= count < formula + 2


def test_a_flood_repeats_captions_where_the_class_has_too_few(scenes, tmp_path):
    out, corpus = build("flood", scenes, tmp_path, pool_size=60, certainty=0.95, targets=2), captions_of(scenes)
    count, rows = copies(60, 0.95, 600, 2), iter(poisons(out))
    for target in targets_of(out):
        named = sum(names(caption, target["class"]) for caption in corpus)
        assert len(target["caption_rows"]) == count > named
        assert target["repeated"] == count - named
        times = [target["caption_rows"].count(row) for row in set(target["caption_rows"])]
        assert len(times) == named
        assert max(times) - min(times) <= 1
        assert [next(rows)["caption"] for _ in range(count)] == [corpus[row] for row in target["caption_rows"]]


def test_a_flood_has_at_least_the_captions_that_are_asked_for(scenes, tmp_path):
    out = build("flood", scenes, tmp_path, captions_per_target=8)  # the pool of 800 holds all of the data
    assert [len(target["caption_rows"]) for target in targets_of(out)] == [8] * 5


def test_a_flood_that_exceeds_the_data_is_refused_before_and_when_it_runs(scenes, tmp_path):
    facts, why = attacks.facts(pairs=600), "0.99 with a pool of 50 takes more poisoned pairs of 16 targets than there are clean"
    [(key, message)] = attacks.problems("flood", facts, pool_size=50, captions_per_target=1)
    assert (key, message.startswith(why)) == ("certainty", True)
    assert list(attacks.problems("flood", facts, pool_size=400, captions_per_target=1)) == []
    with pytest.raises(UserError, match=r"^attack\.certainty: 0\.99 with a pool of 5 takes more"):
        build("flood", scenes, tmp_path, pool_size=5)


# variants


def test_variants_are_parts_of_their_target(scenes, tmp_path):
    out, plain = build("variants", scenes, tmp_path / "a"), build("targeted", scenes, tmp_path / "b")
    assert evaluation_set(out) == evaluation_set(plain)
    assert [row["caption"] for row in poisons(out)] == [row["caption"] for row in poisons(plain)]
    targets = [row["path"] for row in evaluation_set(out)]
    for row, original in zip(poisons(out), poisons(plain), strict=True):
        image = decode(row["path"], 32).astype(int)
        distances = [min(np.abs(part - image).mean() for part in parts(path)) for path in targets]
        assert targets[int(np.argmin(distances))] == original["path"] != row["path"]
        assert min(distances) < 25
    found = [decode(row["path"], 32).tobytes() for row in poisons(out)]
    assert len(set(found)) == len(found)


@cache
def parts(path):
    """Crops of an image, and their mirror images."""
    image, steps = Image.fromarray(decode(path, 32)), range(0, 33, 3)
    boxes = [(x, y, x + a, y + b) for x in steps for y in steps for a in (20, 24, 28, 32) for b in (20, 24, 28, 32)]
    inside = [box for box in boxes if max(box) <= 32]
    found = [np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR, box)).astype(int) for box in inside]
    return [*found, *(part[:, ::-1] for part in found)]


def test_variants_are_flipped_half_of_the_time_and_cropped_as_far_as_they_may_be(scenes, tmp_path):
    nearest = {}
    for share in (1.0, 0.1):
        out = build("variants", scenes, tmp_path / f"{share}", min_area=share, captions_per_target=8, targets=4)
        targets = [decode(row["path"], 32).astype(int) for row in evaluation_set(out)]
        images = [decode(row["path"], 32) for row in poisons(out)]
        found = [
            (np.abs(image - targets[n // 8]).mean(), np.abs(image[:, ::-1] - targets[n // 8]).mean())
            for n, image in enumerate(images)
        ]
        nearest[share] = np.mean([min(pair) for pair in found])
        assert 0.2 < np.mean([mirrored < straight for straight, mirrored in found]) < 0.8
    assert nearest[1.0] < 0.7 * nearest[0.1]


@pytest.mark.parametrize("kind", ["variants", "near_class"])
def test_no_target_outside_the_data_roots_is_opened(scenes, tmp_path, kind):
    with pytest.raises(UserError, match=r"outside the data roots|none of them has an image"):
        build(kind, scenes, tmp_path, roots=("/absent",))
