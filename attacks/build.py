"""Stage: build an attack: the poisoned training pairs, the truth about them, and the attack's own evaluation set.

Writes train.csv, the clean pairs followed by the poisoned ones, with nothing in it that tells them apart; truth.csv, which
does, row by row; targets.csv, the evaluation set, images or captions; manifest.json, what was chosen; and, of backdoors, the
triggered images.
Only measurements, figures and audits may read the truth.
"""

import logging
import shutil
from itertools import chain, repeat
from typing import Any

from attacks import ATTACKS
from attacks.base import AttackOptions, Poisoning
from roclip.core.columns import LABELLED, PAIRS, QUERIES, TRUTH
from roclip.core.errors import UserError
from roclip.core.files import write_json, write_rows
from roclip.core.options import Stage
from roclip.data.pairs import Columns, read_pairs

log = logging.getLogger(__name__)


def run(options: Any) -> None:
    """Raises UserError when there are no pairs or fewer than `clean_pairs`, and as the attack's `poison`."""
    clean = _read_clean(options)
    for folder in ("poisons", "targets"):  # there may be more images in them, of another config
        shutil.rmtree(options.out / folder, ignore_errors=True)
    _write(options, clean, ATTACKS[options.kind](options).poison(clean))


def _read_clean(options: Any) -> Columns:
    pairs = read_pairs(options.train)
    count = len(pairs["path"]) - options.held_out
    kept = f" beside the {options.held_out} of data.held_out" if options.held_out else ""
    if count < 1:
        raise UserError(f"{options.train}: no pairs{kept}; the attack needs them")
    if (options.clean_pairs or 0) > count:
        raise UserError(f"attack.clean_pairs: {options.clean_pairs} is more than the {count} pairs of {options.train}{kept}")
    return {name: cells[: options.clean_pairs or count] for name, cells in pairs.items()}


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
    counts = {"clean_pairs": count, "poisons": len(poisons), "evaluation_images": len(judged)}
    manifest = {"kind": options.kind, **counts, "rate": len(poisons) / count, **poisoning.facts}
    write_json(options.out / "manifest.json", manifest)
    what = f"{len(judged)} {ATTACKS[options.kind].judged_on} to be judged on"
    log.info("%d poisons in %d clean pairs (%.2f%%), %s", len(poisons), count, 100 * manifest["rate"], what)


STAGE = Stage(AttackOptions, run, kinds=ATTACKS)
