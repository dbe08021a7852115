"""Stage: gather all measures and histories of an experiment.

Writes `measures.csv`, a row for each measure of a model on an evaluation set, with rows pooled over seeds under seed `all`;
`results.csv`, a row for each measure of an attack, defence and checkpoint over all seeds; `differences.csv`, every defence
beside each that is no variant and beside its control, and the ends of sweeps, with p values; `equal_accuracy.csv` and
`equal_differences.csv`, attack success at equal zero-shot accuracy; `front.csv`, what repairs can reach; `sweeps.csv`, a row
for each point of a sweep; `history.csv`, the histories of all models; `took.csv`, whether each attack succeeds on the baseline;
and `measures.md`, the results at a glance. Where the plan has detectors, `detection.csv`, how well they found poisoned pairs,
and where it has filters, `filters.csv`, what these removed. Their columns are in roclip/core/columns.py. Files that the plan
does not name are not read.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roclip.core.atomic import atomic
from roclip.core.columns import (
    CHECK,
    DETECTED,
    DIFFERENCES,
    EQUAL_ACCURACY,
    EQUAL_DIFFERENCES,
    FILTERED,
    FRONT,
    HISTORY,
    LABELLED,
    MEASURES,
    MODEL,
    RESULTS,
    SWEEPS,
    TOOK,
)
from roclip.core.errors import UserError
from roclip.core.files import read_lines, read_table, write_table
from roclip.core.options import Stage, option
from roclip.evaluation import attack_set, measures_of
from roclip.evaluation.base import read_measured
from roclip.experiment.plan import Plan, evaluation_sets, read_plan
from roclip.reporting import took
from roclip.reporting.detection import detections, filtered
from roclip.reporting.differences import differences
from roclip.reporting.equal_accuracy import comparisons, ends, main_kinds
from roclip.reporting.front import front_rows
from roclip.reporting.gathered import read_shares
from roclip.reporting.intervals import clopper_pearson
from roclip.reporting.labels import measure_label
from roclip.reporting.learned import with_learned
from roclip.reporting.results import (
    COUNTED,
    INTERVALS,
    MEANS,
    TARGETED,
    Row,
    accuracy,
    others,
    percent,
    pivot,
    plain,
    results,
    six_digits,
    written,
)

log = logging.getLogger(__name__)
SUCCESS_AND_ACCURACY = ("attack_success", "zero_shot")
MEASURED = ("attack success (ASR)", "control", *map(measure_label, MEANS))
HEADINGS = ("attack", "defence", "checkpoint", "seeds", *MEASURED)
NOTE = (
    f"Percent, top 1. Attack success and control: {INTERVALS} Control: on the attack's evaluation set, a model with the same "
    "defence and seed that was trained without an attack or, where there is none, on an attack of another family (targeted, "
    "backdoor). All others: means ± standard deviations over seeds; of one seed nothing is said of their "
    "spread."
)


@dataclass(frozen=True)
class GatherOptions:
    plan: Path = option("plan.json of the experiment")
    measures: Path = option("folder of the measures, with ATTACK/DEFENCE/seedN/SET/MEASURE.json in it", glob="*.json")
    models: Path = option("folder of the models, with ATTACK/DEFENCE/seedN/history.csv in it", glob="history.csv")
    attacks: Path = option("folder of the attacks, with ATTACK/seedN/check.csv in it", glob="check.csv")
    classes: Path = option("file of the experiment's class names, one a line: chance is one in as many")
    validation: Path = option("labelled images (path, label) of the zero-shot accuracies in the histories")
    validation_images: int = option("how many of them are used after every epoch", minimum=1)
    out: Path = option("folder of the tables", role="output")
    detection: Path | None = option(
        "folder with ATTACK/DEFENCE/seedN/detection.csv in it, where the plan has detectors", None, glob="detection.csv"
    )
    filters: Path | None = option(
        "folder with ATTACK/STEP/seedN/kept.csv in it, where the plan has filters", None, glob="kept.csv"
    )
    truth: Path | None = option("folder with ATTACK/seedN/truth.csv in it, where it has filters", None, glob="truth.csv")


def read_measures(folder: Path, plan: Plan) -> list[Row]:
    """The rows of all measures that the plan names, with attack, defence and seed.

    Raises UserError for a file that is missing, is empty, or is of another evaluation set than its folder says.
    """
    rows = []
    for attack, defence, seed in plan.runs:
        for name in evaluation_sets(plan, attack, defence, seed):
            for measure in measures_of(name, plan.of_captions):
                path = folder / attack / defence / f"seed{seed}" / name / f"{measure}.json"
                found = read_measured(path)
                if any(row["evaluation_set"] != name for row in found):
                    raise UserError(f"{path}: no measures of the evaluation set {name}; remove it and measure again")
                rows += [{"attack": attack, "defence": defence, "seed": str(seed)} | row for row in found]
    return rows


def read_histories(folder: Path, plan: Plan) -> tuple[list[str], list[Row]]:
    """The histories of all models of the plan: the columns, which are those that any defence has, and the rows.

    Raises UserError for a share that is none, and an epoch that is there twice.
    """
    rows = [
        {"attack": attack, "defence": defence, "seed": str(seed)} | row
        for attack, defence, seed in plan.runs
        for row in read_shares(
            folder / attack / defence / f"seed{seed}/history.csv", HISTORY, SUCCESS_AND_ACCURACY, once=("epoch", "kind")
        )
    ]
    return list(dict.fromkeys([*MODEL, *HISTORY, *(column for row in rows for column in row)])), rows


def read_checks(folder: Path, plan: Plan) -> dict[str, list[Row]]:
    """By attack what the stage check found, of all seeds."""
    found: dict[str, list[Row]] = defaultdict(list)
    for place in plan.attack_folders():
        found[place.partition("/")[0]] += read_table(folder / place / "check.csv", tuple(CHECK))
    return found


def pooled(rows: Sequence[Row]) -> list[Row]:
    """The rows, and for each model, checkpoint, evaluation set and measure one of seed `all`: hits and n added up."""
    names = ("attack", "defence", "checkpoint", "evaluation_set", "measure")
    sums: dict[tuple, list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        total = sums[tuple(row[name] for name in names)]
        total[0] += row["hits"]
        total[1] += row["n"]
    return [*rows, *({**dict(zip(names, key, strict=True)), "seed": "all", "hits": h, "n": n} for key, (h, n) in sums.items())]


def with_interval(row: Row, plan: Plan) -> Row:
    """A row of measures.csv: hits among n, and the Clopper-Pearson interval of one model's images or of targets of several."""
    named = {key: row[key] for key in (*MODEL, "checkpoint", "evaluation_set", "measure", "n")}
    of_targets = plan.family.get(row["evaluation_set"].removeprefix(attack_set(""))) == TARGETED
    ends = [f"{end:.6f}" for end in clopper_pearson(row["hits"], row["n"])]
    low, high = ends if row["seed"] != "all" or of_targets else ("", "")
    named["median_rank"] = row.get("median_rank", "")
    return {"experiment": plan.experiment, **named, "value": f"{row['hits'] / row['n']:.6f}", "low": low, "high": high}


def measured(row: Row, more: Sequence[str] = ()) -> list[str]:
    """Cells under MEASURED of a row of `pivot`: shares with intervals, means with standard deviations, and dashes.

    more: measures beside these, whose means follow.
    """
    cells = [percent(row, name) for name in COUNTED] + [accuracy(row, name) for name in (*MEANS, *more)]
    return [cell or "–" for cell in cells]


def headings(rows: Sequence[Row]) -> list[str]:
    """HEADINGS, and what else any of the rows of `pivot` has."""
    return [*HEADINGS, *map(measure_label, others(rows))]


def glance(rows: Sequence[Row]) -> list[list[str]]:
    """Cells under `headings` for each row of `pivot`, of attacks and defences that are no variants."""
    more = others(rows)
    return [[row["attack"], row["defence"], row["checkpoint"], str(row["seeds"]), *measured(row, more)] for row in plain(rows)]


def markdown(rows: Sequence[Row]) -> str:
    """Rows of `pivot` as a Markdown table; attacks and defences that sweeps vary are left to the other tables."""
    named = headings(rows)
    lines = [named, ["---"] * len(named), *glance(rows)]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", NOTE]) + "\n"


def sweep_rows(plan: Plan) -> list[Row]:
    """The rows of sweeps.csv."""
    return [
        {"sweep": name, "setting": point.setting(), "keys": " ".join(point.changes)}
        | {key: getattr(point, key) for key in ("base_attack", "base_defence", "attack", "defence")}
        for name, points in plan.sweeps.items()
        for point in points
    ]


def at_equal_accuracy(measures: Sequence[Row], history: Sequence[Row], classes: int, images: int) -> dict[str, Any]:
    """The tables of attack success at equal accuracy; images: validation images, of which the accuracies in the history are."""
    judged = {row["attack"]: row["n"] for row in measures if row["evaluation_set"] == attack_set(row["attack"])}
    compared = comparisons(history, classes, images, judged).items()
    success = [row for attack, comparison in compared for row in comparison.rows(attack)]
    differences = [row for attack, comparison in compared for row in comparison.differences(attack)]
    return {
        "equal_accuracy": (EQUAL_ACCURACY, with_six_digits([*success, *ends(measures, classes, main_kinds(history))])),
        "equal_differences": (EQUAL_DIFFERENCES, with_six_digits(differences)),
    }


def of_pairs(options: GatherOptions, plan: Plan) -> dict[str, Any]:
    """The tables of detectors and filters, where the plan has some. Raises UserError for a folder that is not named."""
    needed = {"detection": plan.detected(), "filters": plan.filtered(), "truth": plan.filtered()}
    for name, runs in needed.items():
        if runs and not getattr(options, name):
            raise UserError(f"--{name}: must be given, for the plan has {'detectors' if name == 'detection' else 'filters'}")
    tables = {}
    if plan.detectors:
        tables["detection"] = (DETECTED, with_six_digits(detections(options.detection, plan)))
    if plan.filtered():
        tables["filters"] = (FILTERED, with_six_digits(filtered(options.filters, options.truth, plan)))
    return tables


def with_six_digits(rows: Iterable[Row]) -> list[Row]:
    """Rows with floats as they are written, empty for what has no value."""
    return [{name: six_digits(cell) if isinstance(cell, float) else cell for name, cell in row.items()} for row in rows]


def run(options: GatherOptions) -> None:
    plan, classes = read_plan(options.plan), len(read_lines(options.classes))
    rows, history = read_measures(options.measures, plan), read_histories(options.models, plan)
    images = min(options.validation_images, len(read_table(options.validation, tuple(LABELLED))))
    gathered = with_learned(results(rows, plan.family), rows, classes)
    judged = took.verdicts(pivot(gathered), plan, classes, read_checks(options.attacks, plan))
    for sentence in took.in_words(judged):
        log.warning(sentence)
    tables = {
        "measures": (MEASURES, [with_interval(row, plan) for row in pooled(rows)]),
        "results": (RESULTS, written(gathered)),
        "differences": (DIFFERENCES, differences(rows, plan)),
        "sweeps": (SWEEPS, sweep_rows(plan)),
        "history": history,
        "front": (FRONT, with_six_digits(front_rows(plan, history[1]))),
        "took": (TOOK, took.written(judged)),
        **at_equal_accuracy(rows, history[1], classes, images),
        **of_pairs(options, plan),
    }
    for name, (columns, content) in tables.items():
        write_table(options.out / f"{name}.csv", tuple(columns), content)
    with atomic(options.out / "measures.md") as temporary:
        temporary.write_text(markdown(pivot(gathered)), encoding="utf-8")


STAGE = Stage(GatherOptions, run)
