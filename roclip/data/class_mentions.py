"""Which captions name a class: the one rule by which attacks choose captions and telemetry counts.

A class is named where it stands as a whole word, in any case, with any blanks between its words, and whether letters with marks
are written as one character or as several.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

BETWEEN = "|"  # classes that are written side by side
WORD = re.compile(r"[a-z0-9_]+")
FOLDED = str.maketrans(
    {"\u017f": "s", "\u212a": "k", "\u0130": "i", "\u0131": "i"}
)  # letters that are s, k and i in another case


def composed(text: str) -> str:
    """A text in which a letter with its marks is one character, where there is one for it (NFC)."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def folded(name: str) -> str:
    """What all spellings of a class have in common: no case, no marks written apart, no invisible characters, plain blanks."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join("".join(letter for letter in text if unicodedata.category(letter) != "Cf").split())


def whole_word(name: str) -> re.Pattern[str]:
    """What finds a class in a caption that is `composed`; its name may begin or end with a sign, as `c++` does."""
    words = r"\s+".join(map(re.escape, composed(name).split()))
    return re.compile(rf"(?<!\w){words}(?!\w)", re.IGNORECASE)  # re keeps what it has compiled


def naming(captions: Sequence[str], name: str) -> np.ndarray:
    """The rows, counted from 0, whose caption names a class: int (n,)."""
    named = whole_word(name).search
    if not name.isascii():
        return np.array([row for row, caption in enumerate(captions) if named(composed(caption))], np.int64)
    # looking for a substring is ten times as fast as the pattern, but knows no letters that are one only in another case
    small = max(name.lower().split(), key=len)
    maybe = [row for row, caption in enumerate(captions) if small in caption.lower() or not caption.isascii()]
    return np.array([row for row in maybe if named(composed(captions[row]))], np.int64)


def named_by(captions: Sequence[str], names: Sequence[str]) -> Iterator[list[int]]:
    """For each caption the numbers of the classes that it names, as `naming` has it, in their order.

    Each caption is gone through once, whatever the number of classes: only those are looked for whose first word stands in it.
    """
    patterns = [whole_word(name) for name in names]
    by_word, others = defaultdict(list), []
    for number, name in enumerate(names):
        first = WORD.match(name.lower()) if name.isascii() else None
        (by_word[first[0]] if first else others).append(number)
    for caption in map(composed, captions):
        words = set(WORD.findall(caption.translate(FOLDED).lower()))
        maybe = [number for word in words if word in by_word for number in by_word[word]]
        yield sorted(number for number in (*maybe, *others) if patterns[number].search(caption))


def classes_named(captions: Sequence[str], names: Sequence[str]) -> list[str]:
    """The classes that each caption names, written side by side; empty where there is none."""
    return [BETWEEN.join(names[number] for number in found) for found in named_by(captions, names)]
