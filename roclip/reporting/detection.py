"""How well detectors and filters told poisoned pairs from clean ones: their tables, and what is said of them in the report."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isnan, nan
from pathlib import Path
from statistics import mean
from typing import Any

from roclip.core.columns import DETECTED, DETECTION, FILTERED, MODEL, TRUTH
from roclip.core.errors import UserError
from roclip.core.files import read_columns
from roclip.core.words import checkpoint_label
from roclip.defences.detectors import DETECTORS
from roclip.evaluation.detection import MEASURES
from roclip.experiment.plan import Plan, base
from roclip.reporting.gathered import REMOVE, read_gathered
from roclip.reporting.intervals import over_trainings
from roclip.training.pairs import kept_rows

Row = dict[str, Any]
COUNTS = ("epoch", "n_poisoned", "n", "seeds")
HEADINGS = ("attack", "defence", "checkpoint", "detector", "trainings", "AUROC", "average precision (%)", "false positives (%)")
FILTER_HEADINGS = (
    "attack",
    "defence",
    "seed",
    "pairs",
    "poisoned",
    "kept",
    "poisoned pairs left (%)",
    "clean pairs removed (%)",
)


def detections(folder: Path, plan: Plan) -> list[Row]:
    """The rows of tables/detection.csv: those of each training, and over trainings those of seed `all`.

    Raises UserError for a file that is missing, and for a cell that is no number.
    """
    rows = [
        {"attack": attack, "defence": defence, "seed": str(seed), "seeds": 1} | row
        for attack, defence, seed in plan.detected()
        for row in _read(folder / attack / defence / f"seed{seed}/detection.csv", tuple(DETECTION))
    ]
    return [*rows, *over_seeds(rows)]


def _read(path: Path, columns: Sequence[str]) -> list[Row]:
    """The rows of a table of detections with numbers as numbers, NaN where a cell is empty. Raises UserError."""
    shares = [f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high")]
    counts = [name for name in COUNTS if name in columns]
    return [
        row | {name: int(row[name]) for name in counts} | {name: float(row[name] or "nan") for name in shares}
        for row in read_gathered(path, columns, shares, counts)
    ]


def over_seeds(rows: Sequence[Row]) -> Iterator[Row]:
    """For each checkpoint of an attack and defence and each detector the mean over trainings, with Student's t interval."""
    names = ("attack", "defence", "checkpoint", "epoch", "detector")
    rows = [row for row in rows if not isnan(row["auroc"])]
    for key in dict.fromkeys(tuple(row[name] for name in names) for row in rows):
        own = [row for row in rows if tuple(row[name] for name in names) == key]
        found = {"seed": "all", "seeds": len(own), **{name: sum(row[name] for row in own) for name in ("n_poisoned", "n")}}
        for name in MEASURES:
            values = [row[name] for row in own]
            low, high = over_trainings(values)
            found |= {name: mean(values), f"{name}_low": low, f"{name}_high": high}
        yield {**dict(zip(names, key, strict=True)), **found}


def filtered(filters: Path, attacks: Path, plan: Plan) -> Iterator[Row]:
    """The rows of tables/filters.csv: what each filter left and removed. Raises UserError for files that do not fit."""
    for attack, defence, seed in plan.filtered():
        kept = filters / attack / plan.filter_of(defence) / f"seed{seed}/kept.csv"
        truth = [cell == "1" for cell in read_columns(attacks / attack / f"seed{seed}/truth.csv", tuple(TRUTH))["is_poison"]]
        left = [truth[row] for row in kept_rows(kept, attacks / attack / f"seed{seed}/train.csv", len(truth))]
        poisoned, clean = sum(truth), len(truth) - sum(truth)
        yield {
            "attack": attack, "defence": defence, "seed": str(seed), "pairs": len(truth), "poisoned": poisoned,
            "kept": len(left), "kept_poisoned": sum(left), "poisons_left": sum(left) / poisoned if poisoned else nan,
            "clean_removed": 1 - (len(left) - sum(left)) / clean if clean else nan,
        }  # fmt: skip


def read_detections(path: Path, plan: Plan) -> list[Row]:
    """The rows of tables/detection.csv of attacks and defences that are no variants.

    Raises UserError for a cell that is no number, for a detector that the plan does not name, and for impossible counts.
    """
    rows = _read(path, tuple(DETECTED))
    for number, row in enumerate(rows, 1):
        if row["detector"] not in plan.detectors or not 0 <= row["n_poisoned"] <= row["n"] > 0:
            what = f"{row['detector'][:60]}, {row['n_poisoned']} poisoned of {row['n']}"
            raise UserError(f"{path}, row {number}: not of this plan ({what}); {REMOVE}")
    return [row for row in rows if row["attack"] == base(row["attack"]) and row["defence"] == base(row["defence"])]


def glance(rows: Iterable[Row]) -> list[list[str]]:
    """Cells under HEADINGS, over trainings, of the weights that are judged."""
    shown = [row for row in rows if row["seed"] == "all" and not row["checkpoint"].startswith("epoch_")]
    return [
        [row["attack"], row["defence"], checkpoint_label(row["checkpoint"]), row["detector"], row["seeds"], *_measured(row)]
        for row in shown
    ]


def _measured(row: Row) -> Iterator[str]:
    """Means with their intervals; AUROC as a number, the others in percent."""
    for name in MEASURES:
        factor, digits = (1, 3) if name == "auroc" else (100, 1)
        value, low, high = (f"{factor * row[f'{name}{end}']:.{digits}f}" for end in ("", "_low", "_high"))
        yield "–" if isnan(row[name]) else value if isnan(row[f"{name}_low"]) else f"{value} [{low}, {high}]"


def cautions(rows: Sequence[Row], plan: Plan) -> list[str]:
    """A sentence for each attack and detector whose scores are likely to fail at so many poisoned pairs."""
    found: dict[str, None] = {}
    for row in (row for row in rows if row["seed"] != "all"):
        settings = plan.detectors[row["detector"]]
        if why := DETECTORS[settings["kind"]].caution(settings, row["n"], row["n_poisoned"]):
            found[f"Of {row['detector']} on {row['attack']}, {why}."] = None
    return list(found)


def read_filtered(path: Path) -> list[dict[str, str]]:
    """The rows of tables/filters.csv as text. Raises UserError as `read_gathered`."""
    return read_gathered(path, FILTERED, ("poisons_left", "clean_removed"), ("pairs", "poisoned", "kept", "kept_poisoned"))


def filter_glance(rows: Iterable[Mapping[str, str]]) -> list[list[str]]:
    """Cells under FILTER_HEADINGS."""
    shares = ("poisons_left", "clean_removed")
    names = (*MODEL, "pairs", "poisoned", "kept")
    return [
        [*(row[name] for name in names), *(f"{100 * float(row[name]):.1f}" if row[name] else "–" for name in shares)]
        for row in rows
    ]
