"""Stage: build an attack: the poisoned training pairs, the truth about them, and the attack's own evaluation set.

Writes train.csv, the clean pairs followed by the poisoned ones, with nothing in it that tells them apart; truth.csv, which
does, row by row; targets.csv, the evaluation set, images or captions; manifest.json, what was chosen; and, of backdoors, the
triggered images.
Only measurements, figures and audits may read the truth.
"""

import json
import logging
import shutil
from itertools import chain, repeat
from typing import Any

from attacks import ATTACKS
from attacks.base import AttackOptions, Poisoning
from attacks.images import read_image
from roclip.core.columns import LABELLED, PAIRS, QUERIES, TRUTH
from roclip.core.errors import UserError
from roclip.core.files import read_lines, write_json, write_rows
from roclip.core.options import Stage
from roclip.data.image_paths import Roots
from roclip.data.labels import unknown
from roclip.data.pairs import Columns, for_training, read_pairs

log = logging.getLogger(__name__)

COUNTED = ("kind", "clean_pairs", "poisons", "evaluation_images", "rate")  # of the manifest, whatever the attack


def run(options: Any) -> None:
    """Raises UserError when there are no pairs or fewer than `clean_pairs`, as the attack's `poison`, and for what that gives.

    A poisoned image that no training can read would be left out there, and the attack would look like one that was defended.
    """
    clean = _read_clean(options)
    for folder in ("poisons", "targets"):  # there may be more images in them, of another config
        shutil.rmtree(options.out / folder, ignore_errors=True)
    poisoning = ATTACKS[options.kind](options).poison({name: [*cells] for name, cells in clean.items()})
    _check(options, len(clean["path"]), poisoning)
    _write(options, clean, poisoning)


def _check(options: Any, clean: int, poisoning: Poisoning) -> None:
    """Raises UserError for what cannot be an attack: no poisons, nothing to judge, a class of no such name, a broken image.

    clean: how many pairs come before the poisoned ones.
    """
    name = f"the attack '{options.kind}'"
    if not isinstance(poisoning, Poisoning):
        raise UserError(f"{name}: its `poison` gave {type(poisoning).__name__}, no Poisoning (attacks/base.py)")
    widths = {"pairs": 3, "targets": 2, "queries": 3}
    for part, width in widths.items():
        rows = getattr(poisoning, part)
        if not isinstance(rows, (list, tuple)):
            raise UserError(f"{name}: Poisoning.{part} is of type {type(rows).__name__}; it must be a list of tuples")
        for row in rows:
            if not isinstance(row, tuple) or len(row) != width or not all(isinstance(cell, str) for cell in row):
                raise UserError(f"{name}: in Poisoning.{part} is {str(row)[:100]}; each must be a tuple of {width} texts")
    _check_told(name, poisoning)
    judged = poisoning.queries or poisoning.targets
    if ATTACKS[options.kind].family == "clean":
        return
    for found, what in ((poisoning.pairs, "no poisoned pairs"), (judged, "nothing to be judged on")):
        if not found:
            raise UserError(f"{name} has {what}; change its settings, or `poison` in attacks/")
    classes, roots = read_lines(options.classes), Roots((*options.roots, str(options.out)))
    for file, before, rows in (("truth.csv", clean, poisoning.pairs), ("targets.csv", 0, judged)):
        for row, (*_, wanted) in enumerate(rows, before + 1):
            if wanted not in classes:
                raise UserError(unknown(options.out / file, row, wanted, options.classes, classes))
    for path in dict.fromkeys(row[0] for row in chain(poisoning.pairs, poisoning.targets)):
        read_image(path, roots, options.image_size)


def _check_told(name: str, poisoning: Poisoning) -> None:
    """Raises UserError for what an attack says of itself that no file can hold, or that is counted here."""
    shown, count = poisoning.true_classes, len(poisoning.pairs)
    if shown is not None and (not isinstance(shown, (list, tuple)) or [*map(type, shown)] != [str] * count):
        raise UserError(f"{name}: Poisoning.true_classes must be a list of {count} texts, one for each of Poisoning.pairs")
    try:
        facts = json.loads(json.dumps({**poisoning.facts}, allow_nan=False, sort_keys=True))
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: Poisoning.facts are no JSON: {error}; give finite int, float and lists") from None
    if taken := [key for key in COUNTED if key in facts]:
        raise UserError(f"{name}: Poisoning.facts has '{taken[0]}', which the manifest counts itself; call it otherwise")


def _read_clean(options: Any) -> Columns:
    pairs = read_pairs(options.train)
    rows = for_training(pairs["path"], options.held_out)
    count = len(rows)
    kept = f" beside the {options.held_out} of data.held_out" if options.held_out else ""
    if count < 1:
        raise UserError(f"{options.train}: no pairs{kept}; the attack needs them")
    if (options.clean_pairs or 0) > count:
        raise UserError(f"attack.clean_pairs: {options.clean_pairs} is more than the {count} pairs of {options.train}{kept}")
    return {name: [cells[row] for row in rows[: options.clean_pairs or count]] for name, cells in pairs.items()}


def _write(options: Any, clean: Columns, poisoning: Poisoning) -> None:
    poisons, count = poisoning.pairs, len(clean["path"])
    # rows are made one at a time: millions of them at once would fill the memory
    pairs = chain(zip(clean["path"], clean["caption"], strict=True), ((path, caption) for path, caption, _ in poisons))
    write_rows(options.out / "train.csv", tuple(PAIRS), pairs)
    shown = [""] * len(poisons) if poisoning.true_classes is None else poisoning.true_classes
    known = ((1, wanted, true) for (_, _, wanted), true in zip(poisons, shown, strict=True))
    truth = chain(repeat((0, "", ""), count), known)
    write_rows(options.out / "truth.csv", tuple(TRUTH), truth)
    judged, columns = (poisoning.queries, QUERIES) if poisoning.queries else (poisoning.targets, LABELLED)
    write_rows(options.out / "targets.csv", tuple(columns), judged)
    rate = len(poisons) / count
    counted = dict(zip(COUNTED, (options.kind, count, len(poisons), len(judged), rate), strict=True))
    write_json(options.out / "manifest.json", {**counted, **poisoning.facts})
    what = f"{len(judged)} {ATTACKS[options.kind].judged_on} to be judged on"
    log.info("%d poisons in %d clean pairs (%.2f%%), %s", len(poisons), count, 100 * rate, what)


STAGE = Stage(AttackOptions, run, kinds=ATTACKS)
