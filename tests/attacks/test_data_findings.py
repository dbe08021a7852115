"""What captions tell: counted here by hand or by another rule than the code's."""

import re

import pytest

from attacks.data_findings import in_another_script, mentions, of_attack, of_captions, of_overlap, plural, sample, verdict
from attacks.findings import DOUBT, FAULT, FINE


@pytest.mark.parametrize(
    ("name", "several"),
    [("dog", "dogs"), ("box", "boxes"), ("bus", "buses"), ("beach", "beaches"), ("puppy", "puppies"), ("toy", "toys")],
)
def test_plurals(name, several):
    assert plural(name) == several


def test_classes_are_counted_as_whole_words_and_in_the_plural():
    captions = ["A dog runs", "two dogs", "a dogged man", "DOG and dogs", "a hotdog, a bus", "buses in a hot dog stand"]
    classes = ["dog", "bus", "hot dog", "cat"]
    by_hand = {
        name: (
            sum(bool(re.search(rf"\b{name}\b", text, re.IGNORECASE)) for text in captions),
            sum(bool(re.search(rf"\b({name}|{plural(name)})\b", text, re.IGNORECASE)) for text in captions),
        )
        for name in classes
    }
    assert mentions(captions, classes) == by_hand
    assert by_hand["dog"] == (3, 4)


@pytest.mark.parametrize(
    ("caption", "other"),
    [
        ("a cat", False), ("une forêt d'été", False), ("猫が座っている", True), ("кот на окне", True), ("cat 猫", False),
        ("12, 3 — ½", False), ("", False),
    ],
)  # fmt: skip
def test_scripts(caption, other):
    assert in_another_script(caption) == other


def findings(captions: list[str], lengths: list[int] = [5], context: int = 16) -> dict:  # noqa: B006 (never changed)
    return {each.finding: each for each in of_captions(captions, lengths, context, 0.01)}


def test_shares_of_captions():
    captions = ["", " ", "x", "猫が", "猫が", *(f"a large dog runs along the street number {n}" for n in range(5))]
    found = findings(captions, [3, 16, 17, 40])
    shares = {name: each.value for name, each in found.items()}
    assert shares == {"empty": 0.2, "repeated": 0.1, "other_script": 0.2, "cut": 0.5, "unchanged": pytest.approx(0.5, abs=0.1)}
    severities = {name: each.severity for name, each in found.items()}
    assert severities == {
        "empty": DOUBT,
        "repeated": FINE,
        "other_script": DOUBT,
        "cut": DOUBT,
        "unchanged": found["unchanged"].severity,
    }
    plain = findings([f"a small dog and a large cat in street {n}" for n in range(50)])
    assert {each.severity for each in plain.values()} == {FINE}
    assert all(each.change == "" for each in plain.values())


def test_captions_of_one_word_are_left_as_they_are():
    assert findings(["zzz"] * 10 + ["qqq"] * 10)["unchanged"].value == 1


def test_a_sample_is_spread_over_all_captions():
    captions = [str(n) for n in range(50_000)]
    some = sample(captions)
    assert len(some) == len(set(some)) == 20_000
    assert (some[0], some[-1]) == ("0", "49999")
    assert sample(captions[:7]) == captions[:7]


TARGETED = {"kind": "targeted", "targets": 2, "captions_per_target": 60, "adversary_classes": None}
PATCH = {"kind": "patch", "poisons": 80, "target_class": "cat"}


@pytest.mark.parametrize(
    ("settings", "family", "cats", "word"),
    [
        (TARGETED, "targeted", 100, "yes"),
        (TARGETED | {"captions_per_target": 1}, "targeted", 100, "perhaps"),
        (TARGETED | {"adversary_classes": ("cat", "cow"), "targets": 2}, "targeted", 100, "no"),
        (PATCH, "backdoor", 100, "yes"),
        (PATCH, "backdoor", 20, "perhaps"),
        (PATCH, "backdoor", 0, "no"),
        (PATCH | {"poisons": 3}, "backdoor", 100, "no"),
        ({"kind": "clean"}, "clean", 0, "yes"),
    ],
)
def test_whether_an_attack_can_take(settings, family, cats, word):
    captions = ["a cat"] * cats + ["a dog"] * 90 + ["nothing"] * (10_000 - 90 - cats)
    assert verdict(of_attack(settings, family, captions, mentions(captions, ["cow", "cat", "dog"]))) == word


def test_of_settings_in_other_words_nothing_is_found():
    for settings in ({"kind": "mine"}, {"kind": "mine", "target_class": "cat"}, {"kind": "mine", "captions_per_target": 5}):
        assert "poisons" not in settings
        assert all(each.finding == "poisons" for each in of_attack(settings, "targeted", ["a cat"], {"cat": (1, 1)}))
    assert of_attack({"kind": "mine", "target_class": "cat"}, "backdoor", ["a cat"], {"cat": (1, 1)}) == []


def test_an_image_that_is_trained_on_is_a_fault():
    assert of_overlap("test", "files", 0, 9, "").severity == FINE
    found = of_overlap("test", "copies", 1, 9, "a of b")
    assert (found.severity, found.meaning) == (
        FAULT,
        "1 of 9 images of the split test are copies of training images, such as a of b.",
    )
