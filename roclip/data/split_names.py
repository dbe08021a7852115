"""Which split a file or a row is of, by the words in which data sets say so: cc3m-train-0001.tar, val-00000.parquet."""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from roclip.core.errors import UserError

log = logging.getLogger(__name__)

SAID = "split"  # a column, or a key in JSON, that says of each row what it is of, as that of Flickr30k does
TO_WRITE, OR_RENAME = "write train, restval, val or test", "or give the column another name"
WORDS = {
    "train": "train", "training": "train", "restval": "train", "validation": "validation", "valid": "validation",
    "val": "validation", "dev": "validation", "eval": "validation", "evaluation": "validation", "test": "test",
    "testing": "test", "probe": "probe",
}  # fmt: skip


def split_of(name: str) -> str:
    """The split that a name says, by its last word of them, as in NAME-SPLIT-NUMBER; nothing for none."""
    words = (WORDS.get(word, "") for word in reversed(re.split(r"[-_.=\s\d]", name.lower())))
    return next(filter(None, words), "")


def by_split(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Files or folders by the split that they are called after; "" for no split."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        found.setdefault(split_of(path.stem), []).append(path)
    return found


def of_split(source: Path, paths: Sequence[Path], split: str) -> list[Path]:
    """Those of the paths in a folder that are called after the split, or all where none is called after any, or all after one.

    Raises UserError where some are called after another split and none after this one, unless all are of one other split.
    """
    found = by_split(paths)
    others = [its[0] for name, its in found.items() if name]
    if split not in found and others and len(found) > 1:
        suffix = others[0].suffix
        raise UserError(
            f"{source}: no file is called after the split '{split}', as {split}-00000{suffix} is, and some are after others, "
            f"such as {' and '.join(path.name for path in others[:2])}; rename some, or name one file"
        )
    return found.get(split) or list(paths)


def said_in(source: Path, names: Iterable[str]) -> str | None:
    """The column or key that says the split, in any case; None for none. Raises UserError for two of them."""
    found = [name for name in names if name.strip().lower() == SAID]
    if len(found) > 1:
        raise UserError(f"{source}: it says the split twice, as '{found[0]}' and as '{found[1]}'; take one out")
    return found[0] if found else None


def splits_said(source: Path, words: Sequence[str]) -> list[str]:
    """The split of each row by its word, "" for none. Raises UserError for a word that is no split: its row would be lost."""
    known = {word: split_of(word) for word in set(words)}
    if wrong := {word for word, split in known.items() if word.strip() and not split}:
        row, word = next((row, word) for row, word in enumerate(words, 1) if word in wrong)
        raise UserError(f"{source}, row {row}: '{word[:100]}' in its column '{SAID}' is no split; {TO_WRITE}, {OR_RENAME}")
    return [known[word] for word in words]


def says_some(source: Path, splits: Iterable[str], split: str) -> bool:
    """Whether some rows are of a split, by the splits of all rows; no: all are read, for none says one, or all say one other.

    Raises UserError where rows are of other splits and none is of this one.
    """
    counts = Counter(splits)
    others = sorted(filter(None, counts))
    if split in counts:
        there = f"{counts[split]} of {counts.total()} rows"
        log.info("%s: %s are of the split '%s', says their column '%s'", source, there, split, SAID)
    elif others and len(counts) > 1:
        raise UserError(
            f"{source}: its column '{SAID}' says of no row that it is of the split '{split}', and of some that they are of "
            f"{' and '.join(others)}; name another source, or take the column out"
        )
    return split in counts
