"""Did the attacks take? What an attack achieved against the baseline, beside its control: the rows of took.csv, and sentences.

An attack that does not succeed on an undefended model says nothing of a defence. It took

- not (`no`), where the 95% interval of its success does not lie above that of its control; where no control was run, above
  chance, one in so many classes;
- (`yes`) where it does, and success is 80% or more;
- `barely` in between: a defence can take away no more than there is.

80%: of 16 targets, as many as the paper has, 13 (81%) are the fewest whose interval lies above one half. One training of a
backdoor has no interval over trainings; there it is that of its images, which is enough to say whether it took in that one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

from roclip.core.columns import TOOK
from roclip.core.errors import UserError
from roclip.core.words import PLAIN_CHECKPOINT
from roclip.experiment.plan import Plan, base
from roclip.reporting.gathered import REMOVE, read_gathered
from roclip.reporting.intervals import clopper_pearson
from roclip.reporting.labels import defence_label
from roclip.reporting.learned import has_learned
from roclip.reporting.phrases import attack_success, moment, shown
from roclip.reporting.results import COUNTED, at, in_percent, is_known, six_digits

YES, BARELY, NO = "yes", "barely", "no"
ENOUGH = 0.8
WORST = ("fault", "doubt")  # severities of findings, the worst first
HEADINGS = ("attack", "did it take?", "attack success (ASR)", "control", "why", "what to change")
NOTHING = "Nothing in its data says why."
LONGER = (
    "raise train.learning_rate or train.epochs: a backdoor of 5.7% at a rate of 1e-6 had 97.7% at 1e-5 "
    "(github.com/nishadsinghi/CleanCLIP issue 3)"
)
NUMBERS = tuple(f"{name}{part}" for name in COUNTED for part in ("", "_low", "_high", "_n", "_seeds"))
Row = Mapping[str, Any]


def ends(row: Row, measure: str) -> tuple[float, float]:
    """The interval of a share of a row of `pivot`; of a single training that of its images."""
    low, high = row[f"{measure}_low"], row[f"{measure}_high"]
    n = row[f"{measure}_n"]
    return clopper_pearson(round(row[measure] * n), round(n)) if isnan(low) else (low, high)


def verdict(row: Row, classes: int) -> str:
    """yes, barely or no, of a row of `pivot`; see the top of this module."""
    low, _ = ends(row, "attack_success")
    above = ends(row, "control")[1] if is_known(row, "control") else 1 / classes
    if low <= above:
        return NO
    return YES if row["attack_success"] >= ENOUGH else BARELY


def verdicts(measured: Sequence[Row], plan: Plan, classes: int, checks: Mapping[str, Sequence[Row]]) -> list[dict[str, Any]]:
    """The rows of took.csv: every attack that is no variant, on the baseline where that has learned anything.

    measured: rows of `pivot`; checks: by attack the rows of check.csv of all its seeds.
    """
    baseline: dict[str, dict[str, Row]] = {}
    for row in measured:
        if row["attack"] == base(row["attack"]) and row["defence"] == plan.baseline:
            baseline.setdefault(row["attack"], {})[row["checkpoint"]] = row
    rows = [at(checkpoints, PLAIN_CHECKPOINT) for checkpoints in baseline.values()]
    judged = (row for row in rows if is_known(row, "attack_success") and has_learned(row, classes))
    harmless = no_cause(plan)
    return [
        _row(row, verdict(row, classes), [each for each in checks.get(row["attack"], ()) if each["finding"] not in harmless])
        for row in judged
    ]


def no_cause(plan: Plan) -> set[str]:
    """The findings that cannot be why an attack fails here: triggered images are no JPEGs, and few baselines make crops."""
    crops = plan.defence.get(plan.baseline, {}).get("train", {}).get("augment_images", False)
    return {"trigger_in_jpeg"} | (set() if crops else {"trigger_in_crops"})


def _row(row: Row, took: str, checks: Iterable[Row]) -> dict[str, Any]:
    reason, change = ("", "") if took == YES else why(row, checks)
    names = {name: row[name] for name in ("attack", "defence", "checkpoint")}
    return {**names, "took": took, **{name: row[name] for name in NUMBERS}, "reason": reason, "change": change}


def written(rows: Iterable[Row]) -> list[Row]:
    """Rows as they are written: numbers with six digits, empty for what was not counted."""
    return [{**row, **{name: six_digits(row[name]) for name in NUMBERS}} for row in rows]


def read_took(path: Path) -> list[Row]:
    """The rows of took.csv, numbers as numbers. Raises UserError as `read_gathered`, and for another word than a verdict."""
    rows = read_gathered(path, TOOK, NUMBERS, once=("attack",))
    for number, row in enumerate(rows, 1):
        if row["took"] not in (YES, BARELY, NO):  # any other would let a defence be claimed
            raise UserError(f"{path}, row {number}: took is '{row['took'][:50]}', not {YES}, {BARELY} or {NO}; {REMOVE}")
    return [{**row, **{name: float(row[name] or "nan") for name in NUMBERS}} for row in rows]


def table(took: Iterable[Row]) -> list[list[str]]:
    """Cells under HEADINGS, a row for each attack."""
    return [
        [row["attack"], row["took"], *(_percent(row, name) for name in COUNTED), row["reason"] or "–", row["change"] or "–"]
        for row in took
    ]


def _percent(row: Row, name: str) -> str:
    return in_percent(row, name) if is_known(row, name) else "–"


def why(row: Row, checks: Iterable[Row]) -> tuple[str, str]:
    """A reason why an attack did not take, and what to change."""
    if row["attack_success"] >= ENOUGH:
        return (
            f"Models that were not trained on it hit {in_percent(row, 'control', '%')} of its evaluation set too, or too few "
            "trainings were run to tell.",
            "choose another adversary's class or trigger, or add seeds",
        )
    found = sorted((each for each in checks if each["severity"] in WORST), key=lambda each: WORST.index(each["severity"]))
    return (found[0]["meaning"], found[0]["change"]) if found else (NOTHING, LONGER)


def failed(took: Iterable[Row]) -> set[str]:
    """The attacks of which nothing is claimed; took: rows of took.csv."""
    return {row["attack"] for row in took if row["took"] == NO}


def in_words(took: Iterable[Row]) -> Iterator[str]:
    """A sentence for each attack that did not take, in place of all claims of a defence against it, or barely did."""
    for row in took:
        beside = f", its control {shown(row, 'control')}" if is_known(row, "control") else ", and no control was run"
        numbers = f"with {defence_label(row['defence'])} {moment(row)} it is {shown(row)}{beside}"
        what = attack_success(row["attack"])
        if row["took"] == NO:
            yield (
                f"The {row['attack'].replace('_', '-')} attack did not take, so no defence against it is judged: {what} is not "
                f"shown to be above chance, {numbers}. {row['reason']} To change it, {row['change']}."
            )
        elif row["took"] == BARELY:
            yield (
                f"The {row['attack'].replace('_', '-')} attack barely took: {what} is below {ENOUGH:.0%}, {numbers}. "
                f"{row['reason']} To change it, {row['change']}."
            )
