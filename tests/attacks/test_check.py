"""What is seen of an attack before any training: on real small attacks, and each finding on data made for it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attacks import check, findings
from attacks.findings import DOUBT, FAULT, FINE
from roclip.core.columns import CHECK, PAIRS
from roclip.core.errors import UserError
from roclip.core.files import read_json, read_table, write_json, write_table
from roclip.model import towers
from tests.conftest import SCENES
from tests.fixtures.attacks import BACKDOORS, OF_IMAGES, POISONERS, build

CLEAN = ["a dog on a beach", "a cat in a house", "a dog and a cat", "a beach in the sun", "the house of a dog"] * 20


def checked(out, scenes, **changes):
    """The rows of check.csv of an attack, by finding."""
    given = {
        "train": out / "train.csv", "truth": out / "truth.csv", "manifest": out / "manifest.json", "image_size": 32,
        "templates": SCENES / "templates.txt", "model": "config/models/small.json", "crop_area": 0.4,
        "roots": (str(scenes), str(out)), "out": out / "check.csv",
    }  # fmt: skip
    check.STAGE.run(check.CheckOptions(**given | changes))
    rows = read_table(out / "check.csv", tuple(CHECK))
    assert len({row["finding"] for row in rows}) == len(rows)
    return {row["finding"]: row for row in rows}


@pytest.mark.parametrize("kind", POISONERS)
def test_every_attack_is_looked_at(kind, scenes, tmp_path):
    found = checked(build(kind, scenes, tmp_path / "out"), scenes)
    assert {"class_in_captions", "caption_words", "caption_length", "caption_form"} <= found.keys()
    assert ("trigger_pixels" in found) == (kind in [*BACKDOORS, "several"])
    assert ("poisons" in found) == (kind in OF_IMAGES)  # of captions no case is known
    assert ("trigger_in_context" in found) == (kind == "text_trigger")
    for row in found.values():
        assert row["severity"] in (FINE, DOUBT, FAULT)
        assert bool(row["change"]) == (row["severity"] != FINE)
        assert row["meaning"].endswith(".")
        assert row["meaning"].count(". ") == 0 or "table" in row["meaning"]
        assert np.isfinite([float(row["value"]), float(row["threshold"])]).all()


def test_of_no_attack_there_is_nothing_to_say(scenes, tmp_path):
    assert checked(build("clean", scenes, tmp_path / "out"), scenes) == {}


def test_captions_of_the_corpus_pass_and_templates_are_told_apart(scenes, tmp_path):
    for captions, severity in (("corpus", FINE), ("templates", DOUBT)):
        found = checked(build("sinusoid", scenes, tmp_path / captions, poisons=12, captions=captions), scenes)
        assert found["caption_form"]["severity"] == severity
    assert found["caption_form"]["value"] == "1"


def test_crops_cut_a_patch_in_the_corner_off_and_leave_what_fills_the_image(scenes, tmp_path):
    corner, everywhere = (checked(build(kind, scenes, tmp_path / kind), scenes) for kind in ("patch", "tint"))
    assert corner["trigger_in_crops"]["severity"] == DOUBT
    assert float(everywhere["trigger_in_crops"]["value"]) > 0.9
    whole = checked(tmp_path / "patch", scenes, crop_area=1.0)
    assert float(whole["trigger_in_crops"]["value"]) > 0.9


@pytest.mark.parametrize(
    ("sentence", "severity"), [("look", FINE), ("just look at that thing over there", FAULT), ("look " * 16 + "there", FAULT)]
)
def test_a_trigger_of_text_is_cut_with_captions_that_are_too_long(scenes, tmp_path, sentence, severity):
    row = checked(build("text_trigger", scenes, tmp_path, sentence=sentence), scenes)["trigger_in_context"]
    captions = [pair["caption"] for pair in read_table(tmp_path / "train.csv", tuple(PAIRS)) if sentence in pair["caption"]]
    tokenizer = towers.tokenizer(read_json(Path("config/models/small.json")))
    read = [len(tokenizer.encode(caption)) + 2 <= 16 for caption in captions]  # with the tokens of begin and end
    assert float(row["value"]) == pytest.approx(sum(read) / len(read), abs=1e-3)
    assert row["severity"] == severity


def test_a_trigger_that_is_not_there_is_a_fault(scenes, tmp_path):
    out = build("sinusoid", scenes, tmp_path / "out", amplitude=0.0001)
    row = checked(out, scenes)["trigger_pixels"]
    assert (row["severity"], row["value"]) == (FAULT, "0")


def test_the_difference_is_measured_on_the_images(scenes, tmp_path):
    out = build("sinusoid", scenes, tmp_path / "out")
    clean = read_table(scenes / "train.csv", tuple(PAIRS))
    poisons = read_table(out / "train.csv", tuple(PAIRS))[len(clean) :]
    rows = read_json(out / "manifest.json")["poisoned_rows"]
    pairs = [(clean[row]["path"], poison["path"]) for row, poison in zip(rows, poisons, strict=True)]
    read = [[np.asarray(Image.open(path).convert("RGB"), float) for path in pair] for pair in pairs]
    expected = np.mean([np.sqrt(((one - other) ** 2).mean()) for one, other in read])
    assert float(checked(out, scenes)["trigger_pixels"]["value"]) == pytest.approx(expected, rel=1e-4)


def test_of_several_triggers_the_worst_counts(scenes, tmp_path):
    alone = checked(build("patch", scenes, tmp_path / "patch"), scenes)["trigger_in_crops"]
    out = build("several", scenes, tmp_path / "out", triggers=("tint", "patch"), target_classes=("mushroom",))
    assert float(checked(out, scenes)["trigger_in_crops"]["value"]) == pytest.approx(float(alone["value"]), abs=0.25)


def test_tables_that_do_not_fit_are_one_line(scenes, tmp_path):
    out = build("patch", scenes, tmp_path / "out")
    write_table(tmp_path / "truth.csv", ("is_poison", "adversary_class", "true_class"), [])
    with pytest.raises(UserError, match="not a row for each pair"):
        checked(out, scenes, truth=tmp_path / "truth.csv")
    write_json(tmp_path / "manifest.json", {"kind": "sneaky"})
    with pytest.raises(UserError, match="no kind of attack that is registered"):
        checked(out, scenes, manifest=tmp_path / "manifest.json")


@pytest.mark.parametrize(
    ("kind", "family", "poisons", "pairs", "severity"),
    [
        ("patch", "backdoor", 59, 118_000, FAULT),  # the case itself
        ("patch", "backdoor", 60, 118_000, FINE),
        ("patch", "backdoor", 59, 117_000, FINE),  # as many of fewer pairs are a higher rate
        ("warped", "backdoor", 120, 80_000, FAULT),
        ("patch", "backdoor", 120, 80_000, FINE),
        ("targeted", "targeted", 40, 80_000, DOUBT),
        ("targeted", "targeted", 1, 40_000, FAULT),
        ("targeted", "targeted", 80, 36_000, FINE),  # the default experiment
    ],
)
def test_no_more_poisons_than_in_a_case_that_failed(kind, family, poisons, pairs, severity):
    (found,) = findings.number_of_poisons(kind, family, poisons, pairs)
    assert found.severity == severity
    if severity != FINE:
        assert "COCO" in found.meaning or "drawn scenes" in found.meaning  # whose number it is
        (better,) = findings.number_of_poisons(kind, family, found.threshold, pairs)
        assert better.severity != severity or better.meaning != found.meaning  # what is advised is more than that case


def test_no_case_is_made_up_for_other_families():
    assert list(findings.number_of_poisons("x", "other", 1, 10_000)) == []


@pytest.mark.parametrize(("poisons", "severity"), [(5, FINE), (60, FINE), (61, DOUBT)])
def test_a_class_that_clean_captions_name_less_often_than_poisons(poisons, severity):
    (found,) = findings.classes_in_captions(CLEAN, {"dog": poisons, "cat": 1})
    assert (found.value, found.threshold, found.severity) == (60, poisons, severity)


def test_the_rarest_class_counts_and_none_is_a_fault():
    (found,) = findings.classes_in_captions(CLEAN, {"dog": 5, "bell": 5})
    assert (found.value, found.severity) == (0, FAULT)
    assert "'bell'" in found.meaning


def test_words_that_no_clean_caption_has():
    usual = [("a cat on a beach", "cat")] * 9
    assert findings.caption_words(CLEAN, usual).severity == FINE
    strange = findings.caption_words(CLEAN, [("a photo of a cat", "cat")] * 9)
    assert (strange.severity, strange.value, strange.threshold) == (DOUBT, 1, 0)
    assert findings.caption_words(CLEAN, [("a zebra on a beach", "zebra")] * 9).severity == FINE  # the class itself
    natural = [f"a dog called name{number}" for number in range(100)]  # where every caption has a word of its own
    assert findings.caption_words(natural, [("a dog called rex", "dog")] * 9).severity == FINE


def test_captions_longer_than_the_clean_ones():
    assert findings.caption_length(CLEAN, ["a dog in the sun"] * 9).severity == FINE
    long = findings.caption_length(CLEAN, ["a dog in the sun and so on and so on and so on"] * 9)
    assert (long.severity, long.value) == (DOUBT, 1)


def test_a_template_without_words_says_nothing():
    assert list(findings.caption_form(CLEAN, CLEAN[:3], ["{}", "{}."])) == []
    (found,) = findings.caption_form(CLEAN, ["a photo of a dog."] * 5, ["{}", "a photo of a {}."])
    assert (found.value, found.threshold, found.severity) == (1, 0, DOUBT)
    (found,) = findings.caption_form(CLEAN, ["a dog"] * 5, ["a {}"])  # as most of the clean ones are
    assert found.threshold == pytest.approx(0.8)


def test_fine_colours_are_lost_in_jpeg():
    board = np.indices((32, 32)).sum(0) % 2
    smooth = np.full((32, 32, 3), 128, np.uint8)
    fine = (smooth + 10 * (2 * board - 1)[..., None] * np.array([1, 0, -1])).astype(np.uint8)  # of which JPEG keeps a quarter
    kept = {name: findings.left_in_jpeg(smooth.astype(float), image.astype(float)) for name, image in
            (("fine", fine), ("flat", smooth + 20))}  # fmt: skip
    assert kept["flat"] > 0.9
    assert kept["fine"] < 0.5
    (_, found, _) = findings.trigger([(smooth, fine)], 0.4, True)
    assert (found.finding, found.severity) == ("trigger_in_jpeg", DOUBT)


@pytest.mark.parametrize(("hits", "n", "severity"), [(1, 2, FINE), (50, 100, DOUBT), (12, 100, FINE), (10, 100, FINE)])
def test_a_share_of_few_captions_may_be_chance(hits, n, severity):
    """Beside 10% of the clean ones: 1 of 2 is [1, 99], 12 of 100 [6, 20], 50 of 100 [40, 60]."""
    assert findings.beside_clean("words", hits, n, 0.1, "are odd", "mend it").severity == severity
