"""What the data themselves tell before any attack is made on them: findings, and whether each attack can take."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

import numpy as np

from attacks.findings import DOUBT, FAULT, FINE, HALF, USUAL, Finding, classes_in_captions, number_of_poisons
from roclip.data.class_mentions import named_by
from roclip.defences.eda import eda

UNUSUAL = (100 - USUAL[1] + USUAL[0]) / 100  # share of captions beyond which something is no exception any more
SAMPLE = 20_000  # captions that are tokenised and augmented: a share is known to 0.7 points at worst (two standard errors)
ES = re.compile(r".*(s|x|z|ch|sh)")
IES = re.compile(r".*[^aeiou]y")


def plural(name: str) -> str:
    """The regular plural of a class: dog, dogs; box, boxes; puppy, puppies."""
    if IES.fullmatch(name.lower()):
        return f"{name[:-1]}ies"
    return f"{name}es" if ES.fullmatch(name.lower()) else f"{name}s"


def mentions(captions: Sequence[str], classes: Sequence[str]) -> dict[str, tuple[int, int]]:
    """For each class in how many captions it is a whole word, as attacks look for it, and in how many so or in the plural."""
    names = [*classes, *map(plural, classes)]
    alone, either = Counter(), Counter()
    for found in named_by(captions, names):
        alone.update(number for number in found if number < len(classes))
        either.update({number % len(classes) for number in found})
    return {name: (alone[number], either[number]) for number, name in enumerate(classes)}


def sample(captions: Sequence[str]) -> list[str]:
    """Captions at equal distances, SAMPLE of them where there are more."""
    places = np.unique(np.linspace(0, len(captions) - 1, min(SAMPLE, len(captions))).astype(int))
    return [captions[place] for place in places]


def in_another_script(caption: str) -> bool:
    """Whether more than half of its letters are not Latin, of which the tokenizer's words are made."""
    if caption.isascii():
        return False
    letters = [letter for letter in caption if letter.isalpha()]
    return 2 * sum("LATIN" not in unicodedata.name(letter, "") for letter in letters) > len(letters)


def _share(name: str, hits: int, n: int, limit: float, what: str, change: str, about: str = "") -> Finding:
    """A share of the training captions that should not be above a limit."""
    share = hits / max(n, 1)
    meaning = f"{about}{share:.1%} of the training captions {what}."
    return Finding(name, FINE, share, limit, meaning) if share <= limit else Finding(name, DOUBT, share, limit, meaning, change)


def of_captions(captions: Sequence[str], lengths: Sequence[int], context: int, max_bad: float) -> Iterator[Finding]:
    """What is seen of training captions. lengths: in tokens, of `sample(captions)`; context: tokens that a model reads."""
    some = sample(captions)
    about = "About " if len(some) < len(captions) else ""
    yield _share("empty", sum(not c.strip() for c in captions), len(captions), max_bad, "are empty", "take them out")
    repeated = len(captions) - len(set(captions))
    change = "look at the most frequent ones: a filter may be missing"
    yield _share("repeated", repeated, len(captions), HALF, "stand there already", change)
    other = sum(map(in_another_script, captions))
    change = "a tokenizer of English reads them letter by letter: leave them out, or translate them"
    yield _share("other_script", other, len(captions), UNUSUAL, "are in another script than Latin", change)
    cut = sum(length > context for length in lengths)
    change = f"choose a model (train.model) that reads more than {context} tokens, or shorten the captions"
    yield _share("cut", cut, len(lengths), UNUSUAL, f"are cut after {context} tokens", change, about)
    words = [caption.lower().split() for caption in some]
    same = sum(eda(list(each), Random(row)) == each for row, each in enumerate(words) if each) + sum(not each for each in words)
    change = "very short captions, and those of words without synonyms, give augmentation nothing to do"
    yield _share("unchanged", same, len(some), HALF, "are left as they are by a caption augmentation", change, about)


def of_classes(counts: Mapping[str, tuple[int, int]]) -> Finding:
    """How many classes no training caption names, not even in the plural."""
    unnamed = [name for name, (_, either) in counts.items() if not either]
    share = len(unnamed) / len(counts)
    meaning = f"{len(unnamed)} of {len(counts)} classes stand in no training caption"
    if not unnamed:
        return Finding("unnamed_classes", FINE, 0, HALF, f"{meaning}.")
    meaning = f"{meaning}, such as '{unnamed[0]}'."
    change = "zero-shot accuracy on them can only be chance: write classes as captions have them (data.classes)"
    return Finding("unnamed_classes", FINE if share <= HALF else DOUBT, share, HALF, meaning, "" if share <= HALF else change)


TRAINED_ON = {"files": "are trained on", "copies": "are copies of training images"}


def of_broken(split: str, broken: Sequence[tuple[str, str]], n: int, limit: float) -> Finding:
    """Images that cannot be read, each with the reason; limit: the share that may be."""
    meaning = f"{len(broken)} of {n} images of the split {split} are missing or broken"
    example = f", such as {broken[0][0]} ({broken[0][1]})" if broken else ""
    change = "mend them, or raise data.max_bad_fraction; images lie in data.roots only"
    return _lost(f"{split}_broken", len(broken) / n, limit, f"{meaning}{example}.", change)


def of_missing(split: str, missing: Sequence[str], n: int, limit: float) -> Finding:
    """Images that are not there, of those that were looked for; limit: the share that may be."""
    meaning = f"{len(missing)} of {n} images of the split {split} that were looked for are not there"
    example = f", such as {missing[0]}" if missing else ""
    change = "mend the paths, which begin in the folder in which snakemake runs, or raise data.max_bad_fraction"
    return _lost(f"{split}_missing", len(missing) / n, limit, f"{meaning}{example}.", change)


def _lost(name: str, share: float, limit: float, meaning: str, change: str) -> Finding:
    is_fault = share > limit
    return Finding(name, FAULT if is_fault else FINE, share, limit, meaning, change if is_fault else "")


def of_overlap(split: str, kind: str, found: int, n: int, example: str) -> Finding:
    """Images of an evaluation split that are trained on; kind: of TRAINED_ON."""
    name, meaning = f"{split}_{kind}", f"{found} of {n} images of the split {split} {TRAINED_ON[kind]}"
    if not found:
        return Finding(name, FINE, 0, 0, f"{meaning}.")
    return Finding(name, FAULT, found, 0, f"{meaning}, such as {example}.", "take them out of one of both")


def of_shared(split: str, other: str, found: int, n: int, example: str) -> Finding:
    """Images that two evaluation splits share."""
    name, meaning = f"{split}_in_{other}", f"{found} of {n} images of the split {split} are in the split {other} too"
    if not found:
        return Finding(name, FINE, 0, 0, f"{meaning}.")
    why = "the linear probe learns of them" if other == "probe" else "targets are taken from there and trained on"
    return Finding(name, FAULT, found, 0, f"{meaning}, such as {example}: {why}.", "take them out of one of both")


def of_attack(
    settings: Mapping[str, Any], family: str, captions: Sequence[str], counts: Mapping[str, tuple[int, int]]
) -> list[Finding]:
    """Whether an attack can take on the clean captions that it has: settings are complete ones of the config."""
    if family == "clean":
        return []
    pairs, wanted = len(captions), _wanted(settings, counts)
    each = settings.get("captions_per_target") or settings.get("poisons")
    what = "captions" if settings["kind"] == "text_trigger" else family
    found = list(number_of_poisons(settings["kind"], what, each, pairs)) if each else []
    named = {name: number for name, number in wanted.items() if name in counts}
    return [*found, *classes_in_captions(captions, named)]


def _wanted(settings: Mapping[str, Any], counts: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    """The classes that the adversary wants, each with its poisons; of classes that are drawn, those that are named most.

    None where the settings are those of an attack that says neither in the words of the attacks here.
    """
    if "poisons" in settings:
        names = settings.get("target_classes") or [settings.get("target_class")]
        return {name: settings["poisons"] for name in names if name}
    if not {"captions_per_target", "adversary_classes", "targets"} <= settings.keys():
        return {}
    often = sorted(counts, key=lambda name: -counts[name][0])
    names = (settings["adversary_classes"] or often)[: settings["targets"]]
    return dict.fromkeys(names, settings["captions_per_target"])


def verdict(found: Sequence[Finding]) -> str:
    """The worst of an attack's findings in a word."""
    worst = {each.severity for each in found}
    return "no" if FAULT in worst else "perhaps" if DOUBT in worst else "yes"
