"""Which captions name a class: the one rule by which attacks choose captions and telemetry counts.

A class is named where it stands as a whole word, in any case, with any blanks between its words, and whether letters with marks
are written as one character or as several. Captions are looked through as CLIP's tokenizer reads them: with HTML's signs, curly
quotes, wide letters and broken encodings mended.
"""

import html
import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

from roclip.core.deferred import Deferred

ftfy = Deferred("ftfy")

BETWEEN = "|"  # classes that are written side by side
WORD = re.compile(r"[a-z0-9_]+")
FOLDED = str.maketrans(
    {"\u017f": "s", "\u212a": "k", "\u0130": "i", "\u0131": "i"}
)  # letters that are s, k and i in another case


# what the tokenizer mends: HTML's signs, curly quotes, letters joined or wide, invisible and control characters, which it takes
# out, UTF-8 that was read as Windows-1252
MENDED = re.compile(
    "[&\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\u0132\u0133\u0149\u01c4-\u01cc\u01f1-\u01f3\u02bc\u2018-\u201f\u2028\u2029"
    "\u206a-\u206f\ufb00-\ufb06\ufeff\uff01-\uffef\ufff9-\ufffc]|"
    "[\u00c2-\u00f4][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]|"
    "[\u00c2\u00c3\u00c5\u00ce\u00d0\u00d9] "  # of a blank that does not break a line
)


def composed(text: str) -> str:
    """A text as CLIP's tokenizer mends it; a letter with its marks is one character, where there is one for it (NFC)."""
    if MENDED.search(text):  # of few captions, for it takes a tenth of a millisecond
        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return text if text.isascii() else unicodedata.normalize("NFC", text)


@cache
def marks() -> str:
    """All characters that are marks on another one, to stand in a pattern: vowels of Hindi are, which `\\w` leaves out."""
    return "".join(re.escape(letter) for letter in map(chr, range(sys.maxunicode)) if unicodedata.category(letter)[0] == "M")


def folded(name: str) -> str:
    """What all spellings of a class have in common: no case, no marks written apart, no invisible characters, plain blanks."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join("".join(letter for letter in text if unicodedata.category(letter) != "Cf").split())


def whole_word(name: str) -> re.Pattern[str]:
    """What finds a class in a caption that is `composed`; its name may begin or end with a sign, as `c++` does."""
    words = r"\s+".join(map(re.escape, composed(name).split()))
    letter = r"\w" if words.isascii() else rf"[\w{marks()}]"
    return re.compile(rf"(?<!{letter}){words}(?!{letter})", re.IGNORECASE)  # re keeps what it has compiled


def naming(captions: Sequence[str], name: str) -> np.ndarray:
    """The rows, counted from 0, whose caption names a class: int (n,)."""
    named = whole_word(name).search
    if not name.isascii():
        return np.array([row for row, caption in enumerate(captions) if named(composed(caption))], np.int64)
    # looking for a substring is ten times as fast as the pattern, but knows no letters that are one only in another case
    small = max(name.lower().split(), key=len)
    maybe = [
        row
        for row, caption in enumerate(captions)
        if small in caption.lower() or "&" in caption or not (caption.isascii() and caption.isprintable())
    ]
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
