"""Stage: filter the pairs of a table before a training.

Writes `kept.csv` (the rows that are kept), `scores.csv` (how suspicious each pair is) and `quarantine.csv` (images that cannot
be read; they are not kept). The filter sees the pairs in a random order, without paths and rows.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from roclip.core.columns import KEPT, SCORES
from roclip.core.errors import UserError
from roclip.core.files import write_rows
from roclip.core.options import Stage, option, part_of
from roclip.data.images import Intake
from roclip.data.pairs import read_pairs
from roclip.defences.filters import FILTERS
from roclip.model.start_weights import latest
from roclip.training.monitor import read_truth
from roclip.training.seen import SeenOptions, encoded, in_order, plain, scores_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FilterOptions(SeenOptions):
    weights: Path | None = option("folder with the weights of the model that scores; the latest are used", None)
    truth: Path | None = option("which pairs are poisoned; only for a filter that reads it, as no defender could", None)
    out: Path = option("folder of the filter", role="output")


def run(options: FilterOptions) -> None:
    """Raises UserError for a filter that needs a model and has none, for one that is told the truth and should not be, and for
    one whose scores or count say not what to keep.
    """
    chosen = FILTERS[options.kind]
    if chosen.needs_model and options.weights is None:
        raise UserError(f"--weights: the filter '{options.kind}' needs the weights of a model that scores")
    if chosen.reads_truth != (options.truth is not None):
        how = "needs to be told which pairs are poisoned" if chosen.reads_truth else "sees only what a defender sees"
        raise UserError(f"--truth: the filter '{options.kind}' {how}")
    table = read_pairs(options.pairs)
    count = len(table["path"])
    pairs, intake = in_order(options, table, np.arange(count)), Intake(options.roots, options.max_bad_fraction)
    if chosen.needs_model:
        shown, rows = encoded(options, pairs, latest(options.weights), intake)
    else:
        shown, rows = plain(options, pairs)
    if chosen.reads_truth:
        is_poison = read_truth(options.truth, options.pairs, count)["is_poison"]
        shown = replace(shown, is_poison=np.array([is_poison[row] == "1" for row in rows]))
    filtering = chosen(part_of(options, chosen.Settings))
    scores = scores_of(f"the filter '{options.kind}'", filtering, shown)
    keep = filtering.count(scores)
    if not isinstance(keep, (int, np.integer)) or not 0 <= keep <= len(scores):  # a slice takes None and -5 too
        raise UserError(f"the filter '{options.kind}': its count gave {keep}, no whole number from 1 to {len(scores)}")
    kept = np.argsort(scores, kind="stable")[:keep]
    if len(kept) < len(scores) and scores.min() == scores.max():
        raise UserError(f"the filter '{options.kind}': all {len(scores)} scores are equal, so none says which pairs to remove")
    if not len(kept):
        raise UserError(f"the filter '{options.kind}' keeps none of {len(scores)} pairs; let it keep more")
    write_rows(options.out / "scores.csv", tuple(SCORES), sorted(zip(rows.tolist(), map("{:.6g}".format, scores), strict=True)))
    write_rows(options.out / "kept.csv", tuple(KEPT), ([row] for row in sorted(rows[kept].tolist())))
    intake.write(options.out / "quarantine.csv")
    log.info("kept %d of %d pairs", len(kept), count)


STAGE = Stage(FilterOptions, run, kinds=FILTERS)
