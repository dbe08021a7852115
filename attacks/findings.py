"""What the data of an attack tell before any training: findings, each a number beside what it is measured against.

A finding is `fine`, a `doubt` or a `fault`. No threshold is a matter of taste: it is a published case that hardly succeeded,
what the clean captions are like themselves, the error of rounding a pixel, or one half, where more is lost than is kept.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from roclip.core.randomness import numpy_generator
from roclip.core.words import counted
from roclip.data.class_mentions import WORD, naming
from roclip.data.crops import crop_box
from roclip.data.settings import QUALITY
from roclip.reporting.intervals import clopper_pearson

FINE, DOUBT, FAULT = "fine", "doubt", "fault"
HALF = 0.5  # where more fails than succeeds, and more of a trigger is lost than kept
ROUNDING = 12**-0.5  # grey levels: the standard deviation of what rounding to whole ones does to a pixel
USUAL = (2.5, 97.5)  # percentiles: the lengths of 95% of the clean captions
IMAGES = 50  # of a trigger are looked at: a mean of 50 shares is known to 14 points at worst (two standard errors)
CROPS = 8  # of each of them
JPEGS = re.compile(r".+\.jpe?g(@.*)?", re.IGNORECASE)  # a file, or a member of a tar
NUMBERS = {"targeted": "captions_per_target"}  # the option that says how many poisons there are; of others `poisons`
Pair = tuple[np.ndarray, np.ndarray]  # an image without and with the trigger, uint8 (side, side, 3)


@dataclass(frozen=True)
class Finding:
    """A row of check.csv."""

    finding: str
    severity: str
    value: float
    threshold: float
    meaning: str
    change: str = ""


@dataclass(frozen=True)
class Case:
    """An attack that hardly succeeded on undefended CLIP: what is no stronger in number and rate is not expected to do better.

    poisons: of a targeted attack those of one target; rate: their share of the clean pairs; kinds: of which it says something,
    all where there are none.
    """

    family: str
    poisons: int
    rate: float
    success: float
    whose: str
    kinds: tuple[str, ...] = ()

    def is_of(self, kind: str, family: str) -> bool:
        return family == self.family and (not self.kinds or kind in self.kinds)

    def beyond(self, pairs: int) -> int:
        """The fewest poisons that are more than this case had, in number or rate."""
        return min(self.poisons, int(self.rate * pairs)) + 1


CASES = (
    Case("backdoor", 59, 0.0005, 0.0025, "59 poisons (0.05%) of COCO, github.com/nishadsinghi/CleanCLIP issue 13"),
    Case("backdoor", 120, 0.0015, 0.076, "120 poisons (0.15%) of COCO, SafeCLIP (ICML 2024), table 1", ("warped",)),
    Case("targeted", 1, 1 / 40_000, 0.38, "1 of 40,000 drawn scenes, docs/findings.md"),
    Case("targeted", 40, 0.0005, 0.625, "40 a target (0.05%) of COCO, SafeCLIP (ICML 2024), table 1"),
)


def number_of_poisons(kind: str, family: str, poisons: float, pairs: int) -> Iterator[Finding]:
    """Whether the poisons, of a target or a trigger, are no more than in a case that failed; nothing without such cases."""
    cases = sorted((case for case in CASES if case.is_of(kind, family)), key=lambda case: case.success)
    what = f"{poisons:g} poisons{' a target' if family == 'targeted' else ''} among {pairs} clean pairs ({poisons / pairs:.3%})"
    for case in cases:
        if poisons <= case.poisons and poisons <= case.rate * pairs:
            severity = FAULT if case.success < HALF else DOUBT
            meaning = f"{what} are no more than a case that reached {case.success:.1%} attack success: {case.whose}."
            change = f"raise {NUMBERS.get(family, 'poisons')} to {case.beyond(pairs)} or more"
            yield Finding("poisons", severity, poisons, case.beyond(pairs), meaning, change)
            return
    if cases:
        meaning = f"{what} are more than in any case that is known to have failed."
        yield Finding("poisons", FINE, poisons, max(case.beyond(pairs) for case in cases), meaning)


def classes_in_captions(captions: Sequence[str], wanted: Mapping[str, int]) -> Iterator[Finding]:
    """Whether clean captions name the classes that the adversary wants; wanted: by class the number of its poisons.

    Less often than poisons do is a doubt: then most of what CLIP learns of the class it learns from poisoned pairs.
    """
    named = {name: len(naming(captions, name)) for name in wanted}
    if not named:
        return
    name = min(named, key=lambda name: named[name] / wanted[name])
    clean, poisons = named[name], wanted[name]
    change = "choose a class that more captions name (target_class, target_classes or adversary_classes)"
    if not clean:
        meaning = f"No clean caption names '{name}', so CLIP knows the class from poisoned pairs alone."
        yield Finding("class_in_captions", FAULT, clean, poisons, meaning, change)
    elif clean < poisons:
        meaning = f"Fewer clean captions ({clean}) than poisoned pairs ({poisons}) are of '{name}'."
        yield Finding("class_in_captions", DOUBT, clean, poisons, meaning, f"{change}, or fewer poisons")
    else:
        meaning = f"{counted(clean, 'clean caption')} name '{name}', which has {counted(poisons, 'poisoned pair')}."
        yield Finding("class_in_captions", FINE, clean, poisons, meaning)


def beside_clean(name: str, hits: int, n: int, clean: float, what: str, change: str) -> Finding:
    """A share of the poisoned captions beside that of the clean ones; a doubt where its 95% interval lies above it.

    what: how the captions are.
    """
    low, _ = clopper_pearson(hits, n)
    meaning = f"{hits / n:.1%} of the poisoned captions {what}, of the clean ones {clean:.1%}."
    if low <= clean:
        return Finding(name, FINE, hits / n, clean, meaning)
    return Finding(name, DOUBT, hits / n, clean, f"{meaning[:-1]}, so that they can be told apart.", change)


def caption_words(clean: Sequence[str], poisoned: Sequence[tuple[str, str]]) -> Finding:
    """Poisoned captions (caption, class) with a word that no clean one has, beside clean ones with a word of their own."""
    held = [set(WORD.findall(caption.lower())) for caption in clean]
    times = Counter(word for words in held for word in words)
    own = sum(any(times[word] == 1 for word in words) for words in held) / len(held)
    strange = [set(WORD.findall(c.lower())) - set(WORD.findall(name.lower())) - times.keys() for c, name in poisoned]
    change = "use captions of the data (captions: corpus), or templates or a sentence of words that these have"
    what = "have a word that no other caption has"
    return beside_clean("caption_words", sum(map(bool, strange)), len(strange), own, what, change)


def caption_length(clean: Sequence[str], poisoned: Sequence[str]) -> Finding:
    """Poisoned captions that are shorter or longer than 95% of the clean ones, in words."""
    lengths, theirs = (np.array([len(caption.split()) for caption in captions]) for captions in (clean, poisoned))
    low, high = np.percentile(lengths, USUAL)
    outside, own = (int(((of < low) | (of > high)).sum()) for of in (theirs, lengths))
    what = f"do not have {low:g} to {high:g} words"
    change = "use captions of the data (captions: corpus), or templates or a sentence that give this length"
    return beside_clean("caption_length", outside, len(theirs), own / len(lengths), what, change)


def caption_form(clean: Sequence[str], poisoned: Sequence[str], templates: Sequence[str]) -> Iterator[Finding]:
    """Poisoned captions that are one of the prompt templates, filled; a template without words of its own says nothing."""
    halves = [template.partition("{}") for template in templates if WORD.search(template.replace("{}", "").lower())]
    if not halves:
        return
    filled = re.compile("|".join(f"{re.escape(before)}.+{re.escape(after)}" for before, _, after in halves), re.IGNORECASE)
    theirs, own = (sum(bool(filled.fullmatch(caption)) for caption in captions) for captions in (poisoned, clean))
    change = "use captions of the data (captions: corpus)"
    yield beside_clean("caption_form", theirs, len(poisoned), own / len(clean), "are a filled prompt template", change)


def trigger_in_context(lengths: Sequence[int], context: int) -> Finding:
    """The share of the poisoned captions that a model reads to their end, where the trigger is. lengths: in tokens."""
    share, usual = sum(length <= context for length in lengths) / len(lengths), (USUAL[1] - USUAL[0]) / 100
    meaning = f"{share:.1%} of the captions with the trigger have no more than the {context} tokens that the model reads."
    if share >= usual:
        return Finding("trigger_in_context", FINE, share, usual, meaning)
    change = "choose a shorter sentence, or a model (train.model) that reads more tokens"
    severity = FAULT if share < HALF else DOUBT
    return Finding("trigger_in_context", severity, share, usual, f"{meaning[:-1]}; of the others it is cut.", change)


def energy(difference: np.ndarray) -> float:
    """The mean square of a difference of images, in grey levels squared."""
    return float(np.square(difference).mean())


def trigger(images: Iterable[Pair], crop_area: float, as_jpeg: bool) -> Iterator[Finding]:
    """What is left of a trigger after the model's resizing, in JPEG where the clean images are stored so, and after crops."""
    pairs = [(clean.astype(float), triggered.astype(float)) for clean, triggered in images]
    size = float(np.mean([energy(triggered - clean) ** 0.5 for clean, triggered in pairs]))
    side, seen = len(pairs[0][0]), f"of {counted(len(pairs), 'image')}"
    meaning = f"The trigger changes pixels {seen} at {side} x {side} by {size:.2f} grey levels (root mean square)."
    visible = size > ROUNDING
    change = "" if visible else "make the trigger larger or stronger: it is no more than rounding does"
    yield Finding("trigger_pixels", FINE if visible else FAULT, size, ROUNDING, meaning, change)
    if not visible:
        return
    pairs = [(clean, triggered) for clean, triggered in pairs if (clean != triggered).any()]
    if as_jpeg:
        kept = float(np.mean([left_in_jpeg(*pair) for pair in pairs]))
        change = "use a trigger of lower frequencies, or keep images as png"
        yield kept_of("trigger_in_jpeg", kept, f"JPEG of quality {QUALITY['jpg']}, as the clean images are stored", change)
    kept = float(np.mean([left_in_crops(*pair, crop_area, number) for number, pair in enumerate(pairs)]))
    change = "use a trigger that fills the image, such as tint or sinusoid, or a larger one in the middle"
    yield kept_of("trigger_in_crops", kept, f"random crops of at least {crop_area:g} of the image, as in augmentation", change)


def kept_of(name: str, share: float, after: str, change: str) -> Finding:
    """A share of the trigger's energy that is left after something that a training may do."""
    meaning = f"{share:.0%} of the trigger's energy is left after {after}."
    if share >= HALF:
        return Finding(name, FINE, share, HALF, meaning)
    return Finding(name, DOUBT, share, HALF, f"{meaning[:-1]}: where that is done, it is what stops the attack.", change)


def left_in_jpeg(clean: np.ndarray, triggered: np.ndarray) -> float:
    """The share of a trigger that is left in JPEG: how far the difference still points the same way, 0 to 1."""
    wanted, left = triggered - clean, jpeg(triggered) - jpeg(clean)
    return float(np.clip((left * wanted).sum() / np.square(wanted).sum(), 0, 1))


def jpeg(image: np.ndarray) -> np.ndarray:
    """An image as it is after JPEG."""
    stored = BytesIO()
    Image.fromarray(image.astype(np.uint8)).save(stored, "JPEG", quality=QUALITY["jpg"])
    return np.asarray(Image.open(stored)).astype(float)


def left_in_crops(clean: np.ndarray, triggered: np.ndarray, crop_area: float, number: int) -> float:
    """How strong a trigger is in random crops, as a share of its energy a pixel in the whole image, at most 1: their mean.

    A crop of a trigger that fills the image is as strong as the whole; one without a patch has nothing of it.
    """
    side, whole, draws = len(clean), energy(triggered - clean), numpy_generator("check", 0, number).random((CROPS, 4))
    boxes = [crop_box(side, side, each, crop_area) for each in draws]
    return float(np.mean([min(1.0, energy(cropped(triggered, box) - cropped(clean, box)) / whole) for box in boxes]))


def cropped(image: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """A crop, resized to the image's side as in training."""
    cut = Image.fromarray(image.astype(np.uint8)).resize(image.shape[1::-1], Image.Resampling.BILINEAR, box)
    return np.asarray(cut).astype(float)


def rows_of(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """The rows of check.csv."""
    return [{**vars(each), **{name: f"{getattr(each, name):.6g}" for name in ("value", "threshold")}} for each in findings]
