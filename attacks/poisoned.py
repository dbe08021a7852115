"""What every attack writes: the poisoned pairs, its own exam, and a manifest of what was chosen."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np

from roclip.core.errors import UserError
from roclip.core.files import write_json, write_rows, write_table
from roclip.core.options import option
from roclip.data.class_mentions import naming
from roclip.data.pairs import Columns, read_pairs

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AttackOptions:
    train: Path = option("clean training pairs: a table (path, caption) or any that roclip/data/pairs.py reads")
    validation: Path = option("table of pairs (path, caption) that are not trained on")
    test: Path = option("table of labelled images (path, label)")
    classes: Path = option("file with one class name a line")
    templates: Path = option("file with one prompt template a line")
    out: Path = option("folder of the attack", role="output")
    roots: tuple[str, ...] = option("folders in which images may lie; none outside them is opened")
    seed: int = option("seed of everything that the attack chooses")
    clean_pairs: int | None = option("how many of the clean training pairs are used, from the first on; all without it", None)


def draw_captions(captions: Sequence[str], name: str, count: int, key: str, rng: np.random.Generator) -> np.ndarray:
    """`count` different rows whose caption names the class; those of a smaller count are among those of a larger one.

    Raises UserError, naming class and `key`, when there are fewer.
    """
    rows = naming(captions, name)
    if len(rows) < count:
        raise UserError(f"{key}: {count} captions that name '{name}' are asked for, but the training data has {len(rows)}")
    return np.sort(rng.permutation(rows)[:count])


def write_attack(
    options: AttackOptions, clean: Columns, poisons: Sequence[dict[str, str]], exam: Sequence[dict[str, str]],
    **facts: Any,
) -> None:  # fmt: skip
    """Write train.csv (the clean rows, then the poisons), targets.csv and manifest.json into `options.out`.

    poisons: path, caption and adversary_class, the class that the adversary wants for the pair, empty for clean pairs; exam:
    path and the label that the adversary wants; facts: what else the manifest says; options and hashes are in
    the stage's record.
    """
    # rows are made one at a time: millions of them at once would fill the memory
    rows = zip(clean["path"], clean["caption"], repeat(0), repeat(""))
    appended = ((pair["path"], pair["caption"], 1, pair["adversary_class"]) for pair in poisons)
    write_rows(options.out / "train.csv", ("path", "caption", "is_poison", "adversary_class"), chain(rows, appended))
    pairs = len(clean["path"])
    write_table(options.out / "targets.csv", ("path", "label"), exam)
    manifest = {
        "clean_pairs": pairs,
        "poisons": len(poisons),
        "rate": len(poisons) / pairs,
        "exam_images": len(exam),
        **facts,
    }
    write_json(options.out / "manifest.json", manifest)
    log.info("%d poisons in %d clean pairs (%.2f%%), %d exam images", len(poisons), pairs, 100 * manifest["rate"], len(exam))


def read_clean(options: AttackOptions) -> Columns:
    """The clean training pairs. Raises UserError when there are fewer than `clean_pairs`."""
    pairs = read_pairs(options.train)
    count = len(pairs["path"])
    if (options.clean_pairs or 0) > count:
        raise UserError(f"attack.clean_pairs: {options.clean_pairs} is more than the {count} pairs of {options.train}")
    return {name: cells[: options.clean_pairs] for name, cells in pairs.items()} if options.clean_pairs else pairs
