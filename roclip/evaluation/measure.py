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
from roclip.evaluation.features import Features


@dataclass(frozen=True, kw_only=True)
class MeasureOptions:
    features: Path = option("features.npz of a model and the evaluation set, written by the stage encode")
    evaluation_set: str = option("what the rows call the evaluation set: own, pairs, a downstream set, or attack-NAME")
    out: Path = option("the JSON file to write", role="output")


def run(options: Any) -> None:
    """Raises UserError as `Features`, and for a set without probe images or captions that a measure needs, or with captions."""
    features = Features(options.features)
    measure = MEASURES[options.kind](options)
    if measure.needs_probe and not features.has_probe:
        raise UserError(f"{options.features}: no probe images, which {options.kind} needs; run the encode stage with --probe")
    if measure.of in ("pairs", "captions") and not features.has_captions:
        raise UserError(f"{options.features}: no captions, which {options.kind} needs; run the encode stage with --captions")
    if measure.of not in ("pairs", "captions") and features.has_captions:  # its labels may be no class numbers
        raise UserError(f"{options.features}: a set of captions, which {options.kind} is not for; name another set's features")
    rows = [row for checkpoint in features.checkpoints for row in measure.rows(features, checkpoint)]
    write_json(options.out, [{**row, "evaluation_set": options.evaluation_set} for row in rows])


STAGE = Stage(MeasureOptions, run, kinds=MEASURES)
