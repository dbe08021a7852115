"""The results of an experiment: what each attack achieved against each defence.

Interface, for all that reads tables/results.csv:

- `read_results(path)` gives its rows, one for each measure of a model's checkpoint, as dictionaries with the keys of
  `columns.RESULTS`. value, low, high and sd are floats from 0 to 1, NaN where the cell is empty; n and seeds are integers.
- `pivot(rows)` gives one dictionary for each attack, defence and checkpoint, in the order of the rows, with the keys `attack`,
  `defence`, `checkpoint`, `seeds` (an integer, of the measures on the model itself), `learned`, and for each measure M the
  floats `M`, `M_low`, `M_high`, `M_sd`, `M_n`, `M_seeds`, NaN where they were not counted. The measures of `COUNTED` and
  `MEANS` are always there, so `row["control"]` never fails; ask `is_known(row, "control")`.
  `pandas.DataFrame(pivot(rows))` is a table for drawing.
- `others(rows)` names the measures of such rows that are neither in `COUNTED` nor in `MEANS`.
- `percent(row, M)` and `accuracy(row, M)` put a measure of such a row in words, `93.8 [69.8, 99.8]` and `94.6 ± 0.3`. Where
  `row["learned"]` is false the model is near chance, and its attack success is put as `not learned`.

The unit of a targeted attack is the target, one draw each: targets of all seeds are pooled, with Clopper-Pearson's interval.
The images of a backdoor share one training, so there the unit is the training (roclip/reporting/trainings.py): of one there is
no interval. The family of the attack decides.

Rows of measures come in as dictionaries: attack, defence, seed, checkpoint, evaluation_set, measure, hits, n, and outcomes.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import isnan, nan
from pathlib import Path
from statistics import mean, stdev
from typing import Any, TypeVar

from roclip.core.columns import RESULTS
from roclip.core.errors import UserError
from roclip.core.words import counted
from roclip.evaluation import MEASURES, OWN, PAIRS, SUCCESS, attack_set
from roclip.experiment.plan import base, control_attack
from roclip.reporting.gathered import REMOVE, read_shares
from roclip.reporting.intervals import clopper_pearson, over_trainings
from roclip.reporting.learned import NOT_LEARNED
from roclip.reporting.trainings import Count, interval

COUNTED = ("attack_success", "control")  # shares with intervals
MEANS = tuple(name for name, measure in MEASURES.items() if measure.of == "labelled")  # means over seeds, with deviations
SHARES = ("value", "low", "high", "sd")  # columns that are shares, and may be empty
COUNTS = ("n", "seeds")
KEY = ("attack", "defence", "checkpoint", "measure")  # by which rows are told apart
TARGETED = "targeted"  # the family of attacks whose targets are one draw each
INTERVALS = (
    "95% intervals. The targets of a targeted attack are pooled over seeds (Clopper-Pearson). The images of a backdoor share "
    "one training, so its interval is over trainings (beta-binomial likelihood), and one training has none."
)
Row = dict[str, Any]
Value = TypeVar("Value")


def read_results(path: Path) -> list[Row]:
    """The rows of results.csv, numbers as numbers. Raises UserError as `read_shares`, and for what cannot be."""
    rows: list[Row] = []
    for number, row in enumerate(read_shares(path, RESULTS, SHARES, COUNTS, KEY), 1):
        if row["learned"] not in ("0", "1"):
            learned = row["learned"][:50]
            raise UserError(f"{path}, row {number}: learned is '{learned}' and neither 0 nor 1; {REMOVE}")
        if empty := [name for name in COUNTS if int(row[name]) == 0]:
            raise UserError(f"{path}, row {number}: {empty[0]} is 0, and nothing was counted; {REMOVE}")
        shares = {name: float(row[name] or "nan") for name in SHARES}
        if shares["value"] < shares["low"] or shares["value"] > shares["high"]:
            raise UserError(
                f"{path}, row {number}: {row['value'][:50]} is not in its interval, {row['low'][:50]} to {row['high'][:50]}; "
                f"{REMOVE}"
            )
        rows.append(row | shares | {name: int(row[name]) for name in (*COUNTS, "learned")})
    return rows


def pivot(rows: Iterable[Row]) -> list[Row]:
    """One row for each attack, defence and checkpoint with the measures as columns; see the top of this module."""
    rows = list(rows)
    measures = dict.fromkeys([*COUNTED, *MEANS, *(row["measure"] for row in rows)])
    parts = ("", "_low", "_high", "_sd", "_n", "_seeds")
    blank = {f"{measure}{part}": nan for measure in measures for part in parts}
    found: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        key = row["attack"], row["defence"], row["checkpoint"]
        names = dict(zip(("attack", "defence", "checkpoint"), key, strict=True))
        wide = found.setdefault(key, {**names, "seeds": 0, "learned": bool(row.get("learned", True)), **blank})
        cells = (row["value"], row["low"], row["high"], row["sd"], float(row["n"]), float(row["seeds"]))
        wide |= zip((f"{row['measure']}{part}" for part in parts), cells, strict=True)
        if row["measure"] != "control":  # that is of other models
            wide["seeds"] = max(wide["seeds"], row["seeds"])
    return list(found.values())


def others(rows: Sequence[Row]) -> list[str]:
    """The measures of rows of `pivot` beyond those that are always there, such as retrieval."""
    names = [key.removesuffix("_seeds") for key in (rows[0] if rows else {}) if key.endswith("_seeds")]
    return [name for name in names if name not in (*COUNTED, *MEANS)]


def plain(rows: Iterable[Row]) -> list[Row]:
    """The rows of attacks and defences that are no variants."""
    return [row for row in rows if row["attack"] == base(row["attack"]) and row["defence"] == base(row["defence"])]


def is_known(row: Mapping[str, Any], measure: str) -> bool:
    """Whether a row of `pivot` has a measure."""
    return not isnan(row[measure])


def results(rows: Sequence[Row], family: Mapping[str, str]) -> list[Row]:
    """The rows of results.csv: the measures of each attack, defence and checkpoint, in the order of the rows.

    attack_success: on the attack's own evaluation set; control: on the same set, of models with the same defence and checkpoint
    that were trained on no attack or on one of another family, see `control_of`; accuracies and the like: on the experiment's
    own test images and pairs, and what else is counted on the attack's set; means, t intervals and sample standard deviations
    over seeds. What was not counted has no row.
    """
    found = []
    for attack, defence, checkpoint in dict.fromkeys((r["attack"], r["defence"], r["checkpoint"]) for r in rows):
        judged = [r for r in rows if r["defence"] == defence and r["checkpoint"] == checkpoint]
        on_set = [r for r in judged if r["evaluation_set"] == attack_set(attack) and r["measure"] in SUCCESS]
        share = _of_targets if family[attack] == TARGETED else _of_trainings
        measured = {
            "attack_success": share([r for r in on_set if r["attack"] == attack]),
            "control": share(control_of(attack, on_set, family)),
        }
        by_measure: dict[str, list[Row]] = {}
        for r in judged:
            of_model = r["attack"] == attack and r["evaluation_set"] in (OWN, PAIRS, attack_set(attack))
            if of_model and r["measure"] not in SUCCESS and (name := headline(r["measure"])):
                by_measure.setdefault(name, []).append(r)
        counts = {name: [Count(r["hits"], r["n"]) for r in own] for name, own in by_measure.items()}
        measured |= {name: _mean(own, over_trainings([hits / n for hits, n in own])) for name, own in counts.items()}
        model = {"attack": attack, "defence": defence, "checkpoint": checkpoint}
        found += [{**model, "measure": name, **cells} for name, cells in measured.items() if cells]
    return found


def headline(measure: str) -> str | None:
    """The name in results.csv of a measure: `zero_shot` for `zero_shot_top1`; None for those among several classes."""
    name, _, rank = measure.partition("_top")
    return name if rank in ("", "1") else None


def control_of(attack: str, on_set: Sequence[Row], family: Mapping[str, str]) -> list[Row]:
    """Of the rows on an attack's evaluation set its controls: one a seed, so every image counts once for a seed."""
    by_seed: dict[str, dict[str, Row]] = {}
    for r in on_set:
        by_seed.setdefault(r["seed"], {})[r["attack"]] = r
    chosen = [rows.get(control_attack(attack, list(rows), family)) for rows in by_seed.values()]
    return [row for row in chosen if row]


def _of_targets(rows: Sequence[Row]) -> Row:
    """Pooled share with its Clopper-Pearson interval; nothing where nothing was counted."""
    hits, n = sum(r["hits"] for r in rows), sum(r["n"] for r in rows)
    if n == 0:
        return {}
    low, high = clopper_pearson(hits, n)
    shares = {"value": round(hits / n, 6), "low": round(low, 6), "high": round(high, 6), "sd": nan}
    return {**shares, "n": n, "seeds": len({r["seed"] for r in rows})}


def _of_trainings(rows: Sequence[Row]) -> Row:
    """Mean share with the interval over trainings, one row a seed; nothing where nothing was counted."""
    counts = [Count(r["hits"], r["n"]) for r in rows if r["n"]]
    return _mean(counts, interval(counts)) if counts else {}


def _mean(counts: Sequence[Count], ends: tuple[float, float]) -> Row:
    """Mean and standard deviation of shares, one a seed, beside the ends of an interval, which never leave the mean out."""
    value, deviation = spread([hits / n for hits, n in counts])
    low, high = (round(limit(value, end), 6) for limit, end in zip((min, max), ends, strict=True)) if len(counts) > 1 else ends
    return {"value": value, "low": low, "high": high, "sd": deviation, "n": sum(n for _, n in counts), "seeds": len(counts)}


def spread(shares: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation of shares, one a seed, to six digits; of one seed there is no deviation."""
    return round(mean(shares), 6), round(stdev(shares), 6) if len(shares) > 1 else nan


def written(rows: Iterable[Row]) -> list[Row]:
    """Rows as they are written: shares with six digits, empty for what was not counted."""
    return [row | {name: six_digits(row[name]) for name in SHARES} for row in rows]


def six_digits(value: float) -> str:
    """A number as tables hold it, empty where there is none."""
    return "" if isnan(value) else f"{value:.6f}"


def at(checkpoints: Mapping[str, Value], checkpoint: str) -> Value:
    """What a defence has at a checkpoint; at its first, where it has no checkpoint of that name."""
    return checkpoints[checkpoint] if checkpoint in checkpoints else next(iter(checkpoints.values()))


def percent(row: Mapping[str, Any], measure: str) -> str:
    """A share of a row of `pivot` in percent, as `93.8 [69.8, 99.8]`; nothing when it was not counted.

    A share without an interval is that of a single training, `93.8 (1 training)`.
    """
    if not is_known(row, measure):
        return ""
    return NOT_LEARNED if measure == "attack_success" and not row["learned"] else in_percent(row, measure)


def in_percent(row: Mapping[str, Any], measure: str, unit: str = "") -> str:
    """A share with its interval or, where there is none, the number of its trainings."""
    share, low, high = (f"{100 * row[key]:.1f}" for key in (measure, f"{measure}_low", f"{measure}_high"))
    if is_known(row, f"{measure}_low"):
        return f"{share}{unit} [{low}, {high}]"
    trainings = f"({counted(round(row[f'{measure}_seeds']), 'training')})" if is_known(row, f"{measure}_seeds") else ""
    return f"{share}{unit} {trainings}".rstrip()


def accuracy(row: Mapping[str, Any], measure: str) -> str:
    """A mean of a row of `pivot` in percent, `94.6 ± 0.3` if there is a standard deviation; nothing when it was not counted."""
    return " ± ".join(f"{100 * row[key]:.1f}" for key in (measure, f"{measure}_sd") if is_known(row, key))
