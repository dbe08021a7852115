"""Stage: measure how well detectors find the poisoned pairs that a model was trained on, at each of its checkpoints.

Writes `detection.csv`, a row for each checkpoint and detector, and `quarantine.csv` (images that cannot be read). Detectors are
filters that only score: they see what a filter sees, in the same order, and nothing of the truth, with which their scores are
then compared. Where no pair is poisoned there is nothing to detect, and no row.
"""

import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from roclip.core.columns import DETECTION
from roclip.core.errors import UserError
from roclip.core.files import write_table
from roclip.core.options import Stage, option, parse, part_of
from roclip.data.images import Intake
from roclip.data.pairs import read_pairs
from roclip.defences.detectors import DETECTORS
from roclip.defences.filters.base import Filter
from roclip.evaluation.detection import detection
from roclip.model import towers
from roclip.training.monitor import read_truth
from roclip.training.pairs import kept_rows
from roclip.training.seen import InOrder, SeenOptions, draws, encoded, in_order, scores_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DetectOptions(SeenOptions):
    weights: Path = option("folder with the checkpoints of a model")
    truth: Path = option("which pairs are poisoned; no detector sees it")
    kept: Path | None = option("the rows that the model was trained on, where a filter kept only some (row)", None)
    detectors: tuple[str, ...] = option(
        f"what is measured, each a word: NAME, or 'NAME --kind KIND --neighbours 32'. Kinds: {', '.join(DETECTORS)}", fewest=1
    )
    out: Path = option("folder of the table", role="output")


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """A detector has those of its kind and no others."""


def detectors(words: Sequence[str]) -> dict[str, Filter]:
    """Detectors by name. Raises UserError for a kind that is none; another wrong flag ends the program as in any stage."""
    found = {}
    for name, *flags in map(shlex.split, words):
        kind = flags[flags.index("--kind") + 1] if "--kind" in flags[:-1] else name
        if kind not in DETECTORS:
            raise UserError(f"--detectors: '{kind}' is no detector; there are {', '.join(DETECTORS)}")
        given = parse(Stage(NoOptions, run, kinds=DETECTORS).options_of(kind), flags, f"roclip detect --detectors {name}")
        found[name] = DETECTORS[kind](part_of(given, DETECTORS[kind].Settings))
    return found


def run(options: DetectOptions) -> None:
    """Raises UserError as `detectors` and `towers.load`, and for a folder without checkpoints."""
    chosen, table = detectors(options.detectors), read_pairs(options.pairs)
    count = len(table["path"])
    is_poison = np.array([cell == "1" for cell in read_truth(options.truth, options.pairs, count)["is_poison"]])
    pairs = in_order(options, table, kept_rows(options.kept, options.pairs, count))
    epochs = {path: towers.read_record(path)["epoch"] for path in towers.checkpoints_in(options.weights)}
    rows, intake = [], Intake(options.roots, options.max_bad_fraction)
    if is_poison[pairs.rows].any():
        for path in sorted(epochs, key=epochs.__getitem__):
            intake = Intake(options.roots, options.max_bad_fraction)  # the images are the same each time
            rows += [{**row, "epoch": epochs[path]} for row in of_checkpoint(options, chosen, pairs, is_poison, path, intake)]
    else:
        log.warning("%s: none of its %d pairs is poisoned; there is nothing to detect", options.pairs, len(pairs.rows))
    write_table(options.out / "detection.csv", tuple(DETECTION), rows)
    intake.write(options.out / "quarantine.csv")


def of_checkpoint(
    options: DetectOptions, chosen: Mapping[str, Filter], pairs: InOrder, is_poison: np.ndarray, weights: Path, intake: Intake
) -> Iterator[dict[str, Any]]:
    """A row for each detector, without the epoch. is_poison: by row of the table."""
    shown, rows = encoded(options, pairs, weights, intake)
    truth = is_poison[rows]
    for name, detector in chosen.items():
        scores = scores_of(f"the detector '{name}'", detector, replace(shown, rng=draws(options)))
        found = detection(scores, truth, options.seed)
        log.info("%s, %s: AUROC %.3f", weights.stem, name, found["auroc"])
        cells = {column: "" if isnan(value) else f"{value:.6f}" for column, value in found.items()}
        yield {"checkpoint": weights.stem, "detector": name, "n_poisoned": int(truth.sum()), "n": len(truth), **cells}


STAGE = Stage(DetectOptions, run)
