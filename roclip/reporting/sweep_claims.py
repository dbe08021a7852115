"""Sentences about sweeps whose points lie along a number: from the first of them to the last."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from roclip.experiment.plan import Point
from roclip.reporting.labels import defence_label
from roclip.reporting.phrases import Models, attack_success, both_judged, change, mean, moments, seeds, shown, trials
from roclip.reporting.planned import numbers
from roclip.reporting.results import at, is_known


def of_sweeps(sweeps: Mapping[str, Sequence[Point]], models: Models) -> dict[str, list[str]]:
    """By sweep what changes along each of its series, those of one attack and defence; nothing where there is no order."""
    found: dict[str, list[str]] = {}
    for name, points in sweeps.items():
        for _, members in groupby(points, lambda point: (point.base_attack, point.base_defence)):
            series = list(members)
            if ordered(series):
                found.setdefault(name, []).extend(f"In the sweep {name}, {text}" for text in along(series, models))
    return found


def ordered(points: Sequence[Point]) -> bool:
    """Whether some setting takes another number at every one of two points or more, so that there is a first and a last."""
    found = [numbers(point) for point in points]
    shared = set.intersection(*map(set, found))
    return len(found) > 1 and any(len({point[key] for point in found}) == len(found) for key in shared)


def along(series: Sequence[Point], models: Models) -> Iterator[str]:
    """The first and the last point of a series, whose points differ in their settings only."""
    firsts, lasts = (models.get((point.attack, point.defence), {}) for point in (series[0], series[-1]))
    if not firsts or not lasts:
        return
    start, end = (" and ".join(point.setting().rsplit(", ", 1)) for point in (series[0], series[-1]))
    defence, attack = defence_label(series[0].base_defence), series[0].base_attack
    for checkpoint, last in lasts.items():
        first = at(firsts, checkpoint)
        earlier, later = moments(first, last)
        if both_judged(first, last):
            n, direction, what = trials(first, last), change(first, last), f"{attack_success(attack)} with {defence}"
            if direction:
                verb = "falls" if direction < 0 else "rises"
                yield f"{what} {verb} from {shown(first)} at {start}{earlier} to {shown(last)} at {end}{later} ({n})."
            else:
                yield (
                    f"the data do not show a difference in {what} between {start}, {shown(first)}{earlier}, "
                    f"and {end}, {shown(last)}{later} ({n})."
                )
        if is_known(first, "zero_shot") and is_known(last, "zero_shot"):
            yield (
                f"mean zero-shot accuracy with {defence} under the {attack.replace('_', '-')} attack is "
                f"{mean(first, 'zero_shot')} at {start}{earlier} and {mean(last, 'zero_shot')} at {end}{later} "
                f"({seeds(first, last)})."
            )
