"""Stage: count the hits of every checkpoint of a model on one evaluation set.

Writes a JSON list of rows: `checkpoint`, `evaluation_set`, `measure`, `hits`, `n` and, of the success of an attack at top 1,
`outcomes`, a 1 or 0 for each image or caption of the evaluation set; of captions also the `median_rank` of what they want.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roclip.core.errors import UserError
from roclip.core.files import write_json
from roclip.core.options import Stage, option
from roclip.evaluation import MEASURES
from roclip.evaluation.base import Measure, is_measured
from roclip.evaluation.features import Features


@dataclass(frozen=True, kw_only=True)
class MeasureOptions:
    features: Path = option("features of a model and the evaluation set, a file that the stage encode wrote")
    evaluation_set: str = option("what the rows call the evaluation set: own, pairs, a downstream set, or attack-NAME")
    out: Path = option("the JSON file to write", role="output")


def run(options: Any) -> None:
    """Raises UserError as `Features`, for a set without probe images or captions that a measure needs, or with captions.

    And for rows of a measure that cannot be counted.
    """
    features = Features(options.features)
    measure = MEASURES[options.kind](options)
    if measure.needs_probe and not features.has_probe:
        raise UserError(f"{options.features}: no probe images, which {options.kind} needs; run the encode stage with --probe")
    if measure.of in ("pairs", "captions") and not features.has_captions:
        raise UserError(f"{options.features}: no captions, which {options.kind} needs; run the encode stage with --captions")
    if measure.of not in ("pairs", "captions") and features.has_captions:  # its labels may be no class numbers
        raise UserError(f"{options.features}: a set of captions, which {options.kind} is not for; name another set's features")
    rows = [row for checkpoint in features.checkpoints for row in _rows(options.kind, measure, features, checkpoint)]
    write_json(options.out, [{**row, "evaluation_set": options.evaluation_set} for row in rows])


def _rows(kind: str, measure: Measure, features: Features, checkpoint: str) -> list[dict[str, Any]]:
    """What a measure found. Raises UserError for what is no row, for a name twice, and for one of another measure.

    Hits of all rows of a name are added up, whichever measure gave them.
    """
    rows = measure.rows(features, checkpoint)
    if not isinstance(rows, list) or not rows:
        raise UserError(f"the measure '{kind}' gave {str(rows)[:100]} for {checkpoint}; it must give a list of one row or more")
    names = []
    for row in rows:
        if not isinstance(row, dict) or row.get("checkpoint") != checkpoint or not is_measured({**row, "evaluation_set": ""}):
            told = f"checkpoint ('{checkpoint}'), measure (a text), hits and n (int, 0 <= hits <= n, n > 0)"
            raise UserError(f"the measure '{kind}' gave the row {str(row)[:200]}; each must be a dict of {told}")
        name = row["measure"]
        owners = [other for other in MEASURES if name == other or name.startswith(f"{other}_")]
        if max(owners, key=len, default=None) != kind:  # retrieval_success_top1 is none of retrieval's
            raise UserError(f"the measure '{kind}' gave a row '{name}'; its rows must be called {kind}, or {kind}_ and more")
        if name in names:
            raise UserError(f"the measure '{kind}' gave two rows '{name}' for {checkpoint}; call one otherwise")
        names.append(name)
    return rows


STAGE = Stage(MeasureOptions, run, kinds=MEASURES)
