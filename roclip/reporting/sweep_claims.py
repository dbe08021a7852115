"""Sentences about sweeps whose points lie along a number: from the first of them to the last."""

from collections.abc import Iterator, Mapping, Sequence

from roclip.experiment.plan import Point
from roclip.reporting.comparisons import Differences, key
from roclip.reporting.labels import defence_label
from roclip.reporting.phrases import (
    Models,
    Row,
    attack_success,
    both_judged,
    change,
    evidence,
    mean,
    moments,
    over_shared,
    seeds,
    tested,
    trials_of,
)
from roclip.reporting.planned import series
from roclip.reporting.results import at, is_known


def of_sweeps(
    sweeps: Mapping[str, Sequence[Point]], models: Models, everything: Models, differences: Differences
) -> dict[str, list[str]]:
    """By sweep what changes along each of its series, those of one attack and defence; nothing where there is no order.

    models: without the success of attacks that did not take; everything: with it, for series along which the attack changes,
    and which may show from where on it takes.
    """
    return {
        name: [
            f"In the sweep {name}, {text}"
            for start, end in series(points)
            for text in along(name, start, end, models if start.attack == end.attack else everything, differences)
        ]
        for name, points in sweeps.items()
    }


def along(name: str, start: Point, end: Point, models: Models, differences: Differences) -> Iterator[str]:
    """The first and the last point of a series, whose points differ in their settings only."""
    firsts, lasts = (models.get((point.attack, point.defence), {}) for point in (start, end))
    if not firsts or not lasts:
        return
    settings = [point.setting(" and ") for point in (start, end)]
    defence, attack = defence_label(start.base_defence), start.base_attack
    for checkpoint, last in lasts.items():
        first = at(firsts, checkpoint)
        places = [f"{setting}{when}" for setting, when in zip(settings, moments(first, last), strict=True)]
        if both_judged(first, last):
            difference = differences.get(key(first, last, f"sweep {name}"))
            yield success(f"{attack_success(attack)} with {defence}", first, last, places, difference)
        if is_known(first, "zero_shot") and is_known(last, "zero_shot"):
            yield (
                f"mean zero-shot accuracy with {defence} under the {attack.replace('_', '-')} attack is "
                f"{mean(first, 'zero_shot')} at {places[0]} and {mean(last, 'zero_shot')} at {places[1]} "
                f"({seeds(first, last)})."
            )


def success(what: str, first: Row, last: Row, places: Sequence[str], difference: Row | None) -> str:
    """What becomes of attack success."""
    one, two = over_shared(first, difference, "baseline_success"), over_shared(last, difference, "success")
    ends, n = f"{one} at {places[0]} {{}} {two} at {places[1]}", trials_of(difference, first, last)
    if not tested(difference):
        return f"{what} is {ends.format('and')} ({n}); of so few trainings no difference is claimed."
    direction = change(difference)
    if direction:
        verb = "falls" if direction < 0 else "rises"
        return f"{what} {verb} from {ends.format('to')} ({n}; {evidence(difference)})."
    return f"the data do not show a difference in {what}: {ends.format('and')} ({n}; {evidence(difference)})."
