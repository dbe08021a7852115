"""Which captions name a class: the one rule by which attacks choose captions and telemetry counts."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

BETWEEN = "|"  # classes that are written side by side
WORD = re.compile(r"[a-z0-9_]+")
FOLDED = str.maketrans(
    {"\u017f": "s", "\u212a": "k", "\u0130": "i", "\u0131": "i"}
)  # letters that are s, k and i in another case


def naming(captions: Sequence[str], name: str) -> np.ndarray:
    """The rows, counted from 0, whose caption names a class as a whole word, in any case: int (n,)."""
    named = re.compile(rf"\b{re.escape(name)}\b", re.IGNORECASE).search
    if not name.isascii():
        return np.array([row for row, caption in enumerate(captions) if named(caption)], np.int64)
    # looking for a substring is ten times as fast as the pattern, but knows no letters that are one only in another case
    small = name.lower()
    maybe = [row for row, caption in enumerate(captions) if small in caption.lower() or not caption.isascii()]
    return np.array([row for row in maybe if named(captions[row])], np.int64)


def named_by(captions: Sequence[str], names: Sequence[str]) -> Iterator[list[int]]:
    """For each caption the numbers of the classes that it names, as `naming` has it, in their order.

    Each caption is gone through once, whatever the number of classes: only those are looked for whose first word stands in it.
    """
    patterns = [re.compile(rf"\b{re.escape(name)}\b", re.IGNORECASE) for name in names]
    by_word, others = defaultdict(list), []
    for number, name in enumerate(names):
        first = WORD.match(name.lower()) if name.isascii() else None
        (by_word[first[0]] if first else others).append(number)
    for caption in captions:
        words = set(WORD.findall(caption.translate(FOLDED).lower()))
        maybe = [number for word in words if word in by_word for number in by_word[word]]
        yield sorted(number for number in (*maybe, *others) if patterns[number].search(caption))


def classes_named(captions: Sequence[str], names: Sequence[str]) -> list[str]:
    """The classes that each caption names, written side by side; empty where there is none."""
    return [BETWEEN.join(names[number] for number in found) for found in named_by(captions, names)]
