"""Which split a file or a row is of, by the words in which data sets say so: cc3m-train-0001.tar, val-00000.parquet."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from roclip.core.errors import UserError

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
