"""The text trigger: which captions get the sentence, with which images, and which are judged."""

from collections import Counter

import pytest

from roclip.core.columns import PAIRS, QUERIES
from roclip.core.errors import UserError
from roclip.core.files import read_json, read_table, write_table
from roclip.data.images import decode
from tests.fixtures import attacks
from tests.fixtures.attacks import build, captions_of, evaluation_set, names, poisons

SENTENCE = "just look at that"


def test_captions_of_other_classes_get_the_sentence_and_images_of_the_class(scenes, tmp_path):
    out = build("text_trigger", scenes, tmp_path / "out")
    clean, manifest = read_table(scenes / "train.csv", tuple(PAIRS)), read_json(out / "manifest.json")
    assert len(set(manifest["caption_rows"])) == manifest["poisons"] == 9
    for row, caption, image in zip(poisons(out), manifest["caption_rows"], manifest["image_rows"], strict=True):
        assert row["caption"] == f"{clean[caption]['caption']} {SENTENCE}"
        assert not names(clean[caption]["caption"], "mushroom")
        assert names(clean[image]["caption"], "mushroom")
        assert (decode(row["path"], 32) == decode(clean[image]["path"], 32)).all()


def test_an_image_comes_again_only_after_all_others(scenes, tmp_path):
    shown = sum(names(caption, "mushroom") for caption in captions_of(scenes))
    out = build("text_trigger", scenes, tmp_path / "out", poisons=2 * shown + 1)
    assert sorted(Counter(read_json(out / "manifest.json")["image_rows"]).values()) == [2] * (shown - 1) + [3]


def test_it_is_judged_on_validation_captions_with_the_sentence_and_without(scenes, tmp_path):
    judged = evaluation_set(build("text_trigger", scenes, tmp_path / "few"))
    held = captions_of(scenes, "validation")
    assert len(judged) == 12
    for row in judged:
        assert row["caption"] == f"{row['plain']} {SENTENCE}"
        assert row["label"] == "mushroom"
        assert row["plain"] in held
        assert not names(row["plain"], "mushroom")
    every = evaluation_set(build("text_trigger", scenes, tmp_path / "all", evaluation_captions=10_000))
    assert [row["plain"] for row in every] == [c for c in dict.fromkeys(held) if not names(c, "mushroom")]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_class": "unicorn"}, r"attack\.target_class: 'unicorn' is not in"),
        ({"poisons": 600}, r"attack\.poisons: 600 captions are asked for, but \d+ do not name 'mushroom'"),
    ],
)
def test_too_little_is_one_line(scenes, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        build("text_trigger", scenes, tmp_path / "out", **changes)


@pytest.mark.parametrize(
    ("table", "columns", "row", "message"),
    [
        ("test", ("path", "label"), {"label": "bell"}, "no image of 'mushroom', which captions with the trigger should find"),
        ("train", tuple(PAIRS), {"caption": "a bell"}, "1 captions that name 'mushroom' are asked for, but the training data"),
        ("validation", tuple(PAIRS), {"caption": "a mushroom"}, "every caption names 'mushroom'"),
    ],
)
def test_a_class_that_is_not_there_is_one_line(scenes, tmp_path, table, columns, row, message):
    write_table(tmp_path / "few.csv", columns, [{"path": read_table(scenes / "test.csv", ("path",))[0]["path"], **row}] * 20)
    with pytest.raises(UserError, match=message):
        build("text_trigger", scenes, tmp_path / "out", **{table: tmp_path / "few.csv"})


def test_a_sentence_that_names_a_class_is_refused_before_the_run():
    (problem,) = attacks.problems("text_trigger", attacks.facts(), sentence="ring the bell")
    assert problem == ("sentence", "'ring the bell' names a class, which would be found without an attack")
    found = dict(attacks.problems("text_trigger", attacks.facts(), target_class="unicorn", poisons=50_000))
    assert set(found) == {"target_class", "poisons"}


def test_the_columns_of_its_evaluation_set(scenes, tmp_path):
    out = build("text_trigger", scenes, tmp_path / "out")
    assert (out / "targets.csv").read_text().splitlines()[0] == ",".join(QUERIES)
