"""What repairs can reach: attack success and accuracy after every epoch of every variant, and the best of them.

A repair that is tuned on one point can look better or worse than it is, for a higher rate lowers success and accuracy alike.
So all variants of a recipe that sweeps make, such as several rates, are taken together, each after each of its epochs. Of these
points, means over the seeds that all variants have, the front holds those than which none has a lower success at no less
accuracy. Clean pairs that are partly poisoned are another threat and no setting: such variants have a front of their own.
Points are of the histories: accuracy is that on validation images. The best of many points was chosen after the fact: the next
repair with the same settings need not be as good.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan, nan
from pathlib import Path
from statistics import mean
from typing import Any

from roclip.core.columns import FRONT
from roclip.core.words import counted
from roclip.experiment.plan import Plan, base
from roclip.reporting.equal_accuracy import Point, main_kinds, number
from roclip.reporting.gathered import read_shares

LOSSES = (0.03, 0.10)  # of the accuracy before the repair that may be lost (Goel et al., arXiv 2311.14948, have the same two)
HEADINGS = (
    "attack", "repair", "variants", "seeds", "accuracy before", "success before",
    *(f"lowest success where at most {loss:.0%} of the accuracy is lost" for loss in LOSSES),
)  # fmt: skip
Row = dict[str, Any]
Repaired = tuple[str, str]  # attack and recipe without its variant, but with its poisoned pairs


@dataclass
class Front:
    """The points of one repair under one attack, by (variant, epoch), and of the models that it repairs, by seed."""

    points: dict[tuple[str, int], dict[str, Point]] = field(default_factory=dict)
    before: dict[str, Point] = field(default_factory=dict)

    def keep_common_seeds(self) -> set[str]:
        """Leave out the seeds that not every variant has, for other seeds are other attacks; those that are left."""
        by_variant: dict[str, set[str]] = {}
        for (variant, _), its in self.points.items():
            by_variant.setdefault(variant, set()).update(its)
        common = set.intersection(*by_variant.values())
        found = {key: {seed: point for seed, point in its.items() if seed in common} for key, its in self.points.items()}
        self.points = {key: its for key, its in found.items() if its}
        return common

    def means(self) -> dict[tuple[str, int], Point]:
        return {key: middle(its.values()) for key, its in self.points.items()}


def middle(points: Iterable[Point]) -> Point:
    """The means of accuracies and of successes; NaN of none."""
    columns = list(zip(*points, strict=True))
    return (mean(columns[0]), mean(columns[1])) if columns else (nan, nan)


def on_front(point: Point, points: Iterable[Point]) -> bool:
    """Whether no other point is better: more accurate and as low a success, or as accurate and a lower one."""
    return not any(
        other != point and other[0] >= point[0] and other[1] <= point[1] for other in points
    )  # fmt: skip


def repair_of(plan: Plan, defence: str) -> str:
    """The recipe of a repair, without its variant: `cleanclip`, or `cleanclip, 5 poisoned pairs`."""
    poisoned = plan.models[defence].settings.get("poisoned_pairs", 0)
    return f"{base(defence)}, {counted(poisoned, 'poisoned pair')}" if poisoned else base(defence)


def fronts(plan: Plan, history: Sequence[Mapping[str, Any]]) -> dict[Repaired, Front]:
    """By attack and repair what it can reach; history: rows in the order of epochs. Epochs without a number are left out."""
    found: dict[Repaired, Front] = {}
    ends: dict[tuple[str, str, str], Point] = {}
    mains = main_kinds(history)
    for row in history:
        point = number(row["zero_shot"]), number(row["attack_success"])
        attack, defence, seed = row["attack"], row["defence"], row["seed"]
        if any(map(isnan, point)):
            continue
        if row["kind"] == mains[defence]:
            ends[attack, defence, seed] = point
        if plan.models[defence].stage == "repair":
            its = found.setdefault((attack, repair_of(plan, defence)), Front())
            its.points.setdefault((defence, int(row["epoch"])), {})[seed] = point
    for (attack, _), front in found.items():
        origins = {plan.models[defence].start_from for defence, _ in front.points}
        seeds = front.keep_common_seeds()
        before = [(seed, ends.get((attack, str(origin), seed))) for origin in origins for seed in seeds]
        front.before = {seed: point for seed, point in before if point and len(origins) == 1}
    return found


def front_rows(plan: Plan, history: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """The rows of front.csv."""
    for (attack, repair), front in fronts(plan, history).items():
        means, (accuracy, success) = front.means(), middle(front.before.values())
        for (defence, epoch), point in means.items():
            yield {
                "attack": attack, "repair": repair, "defence": defence, "epoch": epoch,
                "seeds": len(front.points[defence, epoch]), "accuracy": point[0], "success": point[1],
                "accuracy_before": accuracy, "success_before": success,
                "on_front": int(on_front(point, means.values())),
            }  # fmt: skip


def read_front(path: Path) -> list[dict[str, str]]:
    """The rows of front.csv as text. Raises UserError as `read_shares`."""
    shares, once = ("accuracy", "success", "accuracy_before", "success_before"), ("attack", "repair", "defence", "epoch")
    return read_shares(path, FRONT, shares, ("epoch", "seeds"), once)


def front_table(rows: Iterable[Mapping[str, str]]) -> list[list[str]]:
    """Cells under HEADINGS, a row for each attack and repair; rows: of front.csv."""
    found: dict[Repaired, list[Mapping[str, str]]] = {}
    for row in rows:
        found.setdefault((row["attack"], row["repair"]), []).append(row)
    return [
        [
            *repaired,
            str(len({row["defence"] for row in its})),
            its[0]["seeds"],
            *(percent(its[0][name]) for name in ("accuracy_before", "success_before")),
            *(lowest(its, loss) for loss in LOSSES),
        ]
        for repaired, its in found.items()
    ]


def percent(share: str) -> str:
    """A share of a table, in percent."""
    return f"{100 * float(share):.1f}" if share else "–"


def lowest(rows: Iterable[Mapping[str, str]], loss: float) -> str:
    """The lowest success among the points that keep as much of the accuracy before, and the accuracy with it."""
    rows = list(rows)
    if not rows[0]["accuracy_before"]:
        return "–"
    least = (1 - loss) * float(rows[0]["accuracy_before"])
    kept = [row for row in rows if number(row["accuracy"]) >= least and row["success"]]
    best = min(kept, key=lambda row: (float(row["success"]), -float(row["accuracy"])), default=None)
    return f"{percent(best['success'])} at {percent(best['accuracy'])}" if best else "no epoch"
