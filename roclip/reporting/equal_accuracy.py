"""Attack success at equal accuracy: what a recipe's success was when its training first had a given zero-shot accuracy.

A recipe that learns more slowly is attacked less, and so is the baseline when it is stopped early. Recipes are therefore
compared at accuracies that both had. Everything is of the histories, whose zero-shot accuracy is of validation images, so that
all epochs are measured alike; the full evaluation of the last weights stands beside it under `end`.

- A curve is of one kind of epoch, for the weights after each kind can be deployed. A recipe's main curve is that of the kind
  clip or, where it has none, as a repair, of the kind of its last epoch; others, as of matching epochs, are judged beside it.
- A curve is made monotone: epochs count that bring the accuracy above that of all before, and between them success is
  interpolated linearly. So a value is that at which training first had the accuracy.
- Nothing is measured before the end of the first epoch, so an accuracy below that of a training's first epoch gives no value;
  nor does one that the training never had. Both are counted. Epochs without a number are left out.
- Accuracies are chosen seed by seed, for the trainings of a seed are those that are compared. `common` is the largest that
  every recipe without variants reached which learned in every seed; `own` that of one recipe after its last epoch.
- The unit is the training: means and Student t intervals over seeds; differences are paired by seed. Where all trainings
  differ alike, as a few can by chance, the standard error is that of so many independent images.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import hypot, isnan, nan
from pathlib import Path
from statistics import mean
from typing import Any

from roclip.core.columns import EQUAL_ACCURACY
from roclip.core.errors import UserError
from roclip.core.words import PLAIN_KIND
from roclip.evaluation import OWN, SUCCESS, attack_set
from roclip.experiment.plan import base
from roclip.reporting.gathered import read_shares
from roclip.reporting.intervals import over_trainings, sampling_error, student
from roclip.reporting.learned import NOT_LEARNED, useful_above

NOT_REACHED = "not reached"
KEY = ("attack", "defence", "kind", "seed", "at", "of")  # by which rows are told apart
ABOVE = "not measured (more accurate from the first epoch on)"
Row = dict[str, Any]
Point = tuple[float, float]  # zero-shot accuracy and attack success, 0 to 1
Recipe = tuple[str, str]  # defence and kind of epoch
Curves = dict[Recipe, dict[str, list[Point]]]  # by seed, a point an epoch


@dataclass(frozen=True)
class Level:
    """Accuracies at which recipes are compared, by seed; `at` is common or own (with `of`, whose)."""

    at: str
    accuracies: Mapping[str, float]
    of: str = ""


def points_of(history: Iterable[Mapping[str, Any]]) -> dict[str, Curves]:
    """By attack the curves of its recipes; history: rows in the order of epochs.

    Raises UserError for a cell that is no number.
    """
    found: dict[str, Curves] = {}
    for row in history:
        try:
            point = number(row["zero_shot"]), number(row["attack_success"])
        except ValueError as error:
            raise UserError(f"history of {row['attack']}/{row['defence']}/seed{row['seed']}: {error}; train it again") from None
        if not any(map(isnan, point)):
            seeds = found.setdefault(row["attack"], {}).setdefault((row["defence"], row["kind"]), {})
            seeds.setdefault(row["seed"], []).append(point)
    return found


def read_equal(path: Path) -> list[dict[str, str]]:
    """The rows of equal_accuracy.csv as text. Raises UserError as `read_shares`."""
    return read_shares(path, EQUAL_ACCURACY, ("accuracy", "success", "low", "high"), ("reached", "seeds"), KEY)


def number(cell: Any) -> float:
    """A cell of a history, NaN where it is empty."""
    return nan if cell == "" else float(cell)


def main_kinds(history: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """By defence the kind of epoch of its main curve: clip where it has such epochs, else that of its last."""
    kinds: dict[str, str] = {}
    for row in history:
        if kinds.get(row["defence"]) != PLAIN_KIND:
            kinds[row["defence"]] = row["kind"]
    return kinds


def rising(points: Iterable[Point]) -> list[Point]:
    """The points that bring the accuracy above all before."""
    found: list[Point] = []
    for point in points:
        if not found or point[0] > found[-1][0]:
            found.append(point)
    return found


def success_at(curve: Sequence[Point], accuracy: float) -> float:
    """Success where a rising curve has an accuracy, between its points linearly; NaN below its first and above its last."""
    for (x, y), (later, end) in pairwise([curve[0], *curve] if curve else []):
        if x <= accuracy <= later:
            return end if later == x else y + (end - y) * (accuracy - x) / (later - x)
    return nan


class Comparison:
    """The curves of one attack, and what they say at equal accuracy.

    curves: of all recipes; mains: by defence the kind of its main curve, which comes first; floor: the accuracy up to which
    nothing was learned; images: how many the attack's evaluation set has.
    """

    def __init__(self, curves: Curves, mains: Mapping[str, str], floor: float, images: int) -> None:
        names = list(dict.fromkeys(defence for defence, _ in curves))
        order = sorted(curves, key=lambda recipe: (names.index(recipe[0]), mains[recipe[0]] != recipe[1]))
        self.raw, self.floor, self.images = {recipe: curves[recipe] for recipe in order}, floor, images
        self.mains = [recipe for recipe in order if mains[recipe[0]] == recipe[1]]
        self.curves = {recipe: {seed: rising(points) for seed, points in seeds.items()} for recipe, seeds in self.raw.items()}

    def learned(self, recipe: Recipe, seed: str) -> bool:
        """Whether a training had, at any epoch, an accuracy that is no chance."""
        return self.curves[recipe][seed][-1][0] > self.floor

    def plain(self) -> list[Recipe]:
        """The main curves of defences that are no variants."""
        return [recipe for recipe in self.mains if recipe[0] == base(recipe[0])]

    def common(self) -> dict[str, float]:
        """By seed the largest accuracy that every recipe reached which learned in every seed."""
        found: dict[str, float] = {}
        for recipe in self.plain() or self.mains:
            if all(self.learned(recipe, seed) for seed in self.curves[recipe]):
                for seed, curve in self.curves[recipe].items():
                    found[seed] = min(curve[-1][0], found.get(seed, 1.0))
        return found

    def levels(self) -> list[Level]:
        common = self.common()
        ends = {recipe: {seed: points[-1][0] for seed, points in self.raw[recipe].items()} for recipe in self.mains}
        own = [
            Level("own", {seed: end for seed, end in its.items() if end > self.floor}, defence)
            for (defence, _), its in ends.items()
        ]
        return [*([Level("common", common)] if common else []), *(level for level in own if level.accuracies)]

    def values(self, recipe: Recipe, level: Level) -> dict[str, float]:
        """Success of each training of a recipe at a level, NaN where it was never measured there."""
        return {seed: success_at(curve, level.accuracies.get(seed, nan)) for seed, curve in self.curves[recipe].items()}

    def state(self, recipe: Recipe, seed: str, level: Level) -> str:
        """Why a training has no value at a level; empty where it has one."""
        if not self.learned(recipe, seed):
            return NOT_LEARNED
        curve, accuracy = self.curves[recipe][seed], level.accuracies.get(seed, nan)
        return ABOVE if accuracy < curve[0][0] else "" if accuracy <= curve[-1][0] else NOT_REACHED

    def judged(self, level: Level) -> list[Recipe]:
        """The recipes that a level is for: at a recipe's own accuracy itself and those without variants, else all."""
        return [r for r in self.curves if not level.of or r[0] == level.of or r in self.plain()]

    def rows(self, attack: str) -> Iterator[Row]:
        """The rows of equal_accuracy.csv but those of the end."""
        for level in self.levels():
            for recipe in self.judged(level):
                states = {seed: self.state(recipe, seed, level) for seed in self.curves[recipe]}
                values = self.values(recipe, level)
                points = {seed: (level.accuracies.get(seed, nan), value) for seed, value in values.items()}
                names = {"attack": attack, "defence": recipe[0], "kind": recipe[1], "at": level.at, "of": level.of}
                yield from rows_of(names | {"floor": self.floor}, points, states, self.images)

    def differences(self, attack: str) -> Iterator[Row]:
        """The rows of equal_differences.csv: every recipe beside each main one without variants, at the same accuracies."""
        for level in self.levels():
            judged = [r for r in self.judged(level) if level.of in ("", r[0])]
            for first, other in ((r, o) for r in judged for o in self.plain() if o != r):
                names = {"attack": attack, "defence": first[0], "kind": first[1], "at": level.at}
                ones, others = self.values(first, level), self.values(other, level)
                both = [seed for seed in ones if seed in others]
                paired = [s for s in both if not isnan(ones[s] + others[s])]
                accuracy = mean([level.accuracies[s] for s in paired]) if paired else nan
                yield (
                    names
                    | {"other": other[0], "accuracy": accuracy, "seeds": len(both)}
                    | difference([ones[s] for s in paired], [others[s] for s in paired], self.images)
                )


def difference(first: Sequence[float], other: Sequence[float], images: int) -> Row:
    """Means of paired values, the mean of their differences, first minus other, its 95% t interval in -1..1, its p value."""
    by = [one - two for one, two in zip(first, other, strict=True)]
    # both of a pair are judged on the same images, so the spread of the differences says what chance does, where there is one
    alike = bool(by) and max(by) - min(by) < 1e-9
    least = hypot(sampling_error(first, images), sampling_error(other, images)) if alike else 0.0
    low, high, p = student(by, least)
    means = [mean(values) if values else nan for values in (first, other, by)]
    shares = dict(zip(("success", "other_success", "difference"), means, strict=True))
    clipped = {"low": max(low, -1.0), "high": min(high, 1.0)} if p == p else {"low": nan, "high": nan}
    return {**shares, **clipped, "p": p, "reached": len(by)}


def rows_of(names: Row, points: Mapping[str, Point], states: Mapping[str, str], images: int) -> Iterator[Row]:
    """A row for each seed, then one of seed `all`, the mean with its interval over the trainings that have a value.

    states: why a training has no value, empty where it has one; of all trainings the most frequent; images: of how many each
    success is a share.
    """
    reached = {seed: point for seed, point in points.items() if not states[seed]}
    for seed, (accuracy, success) in points.items():
        yield {
            **names, "seed": seed, "accuracy": accuracy, "success": nan if states[seed] else success, "low": nan, "high": nan,
            "reached": int(seed in reached), "seeds": 1, "state": states[seed],
        }  # fmt: skip
    rates = [success for _, success in reached.values()]
    low, high = over_trainings(rates, sampling_error(rates, images) if rates else 0.0)
    known = [accuracy for accuracy, _ in (reached or points).values() if not isnan(accuracy)]
    state = "" if reached else Counter(states.values()).most_common(1)[0][0]
    yield {
        **names, "seed": "all", "accuracy": mean(known) if known else nan,
        "success": mean(rates) if rates else nan,
        "low": low, "high": high, "reached": len(reached), "seeds": len(points), "state": state,
    }  # fmt: skip


def ends(measures: Iterable[Mapping[str, Any]], classes: int, mains: Mapping[str, str]) -> Iterator[Row]:
    """The rows of equal_accuracy.csv of the full evaluation: the last weights of each kind, on all test images.

    mains: by defence the kind of its main curve, which comes first.
    """
    found: dict[tuple[str, str, str], dict[str, dict[str, Mapping[str, Any]]]] = {}
    for row in measures:
        wanted = {("zero_shot_top1", OWN): "accuracy"}
        wanted |= {(measure, attack_set(row["attack"])): "success" for measure in SUCCESS}
        if name := wanted.get((row["measure"], row["evaluation_set"])):
            model = found.setdefault((row["attack"], row["defence"], row["checkpoint"].removeprefix("last_")), {})
            model.setdefault(row["seed"], {})[name] = row
    for (attack, defence, kind), seeds in sorted(found.items(), key=lambda item: item[0][2] != mains.get(item[0][1])):
        whole = {seed: rows for seed, rows in seeds.items() if len(rows) == 2 and all(row["n"] for row in rows.values())}
        points = {s: (share(rows["accuracy"]), share(rows["success"])) for s, rows in whole.items()}
        floors = {seed: useful_above(classes, rows["accuracy"]["n"]) for seed, rows in whole.items()}
        states = {seed: "" if points[seed][0] > floors[seed] else NOT_LEARNED for seed in whole}
        if whole:
            names = {"attack": attack, "defence": defence, "kind": kind, "at": "end", "of": ""}
            images = min(rows["success"]["n"] for rows in whole.values())
            yield from rows_of(names | {"floor": max(floors.values())}, points, states, images)


def share(row: Mapping[str, Any]) -> float:
    return row["hits"] / row["n"]


def comparisons(
    history: Sequence[Mapping[str, Any]], classes: int, images: int, judged: Mapping[str, int]
) -> dict[str, Comparison]:
    """By attack its comparison; images: of which accuracies in the history are; judged: how many each attack's set has."""
    mains, floor = main_kinds(history), useful_above(classes, images)
    return {attack: Comparison(curves, mains, floor, judged[attack]) for attack, curves in points_of(history).items()}
