"""What the tables of a plan will be; imported before a run, so nothing slow in here."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from roclip.experiment.plan import Plan, Point

ALWAYS = ("attacks", "utility")


def numbers(point: Point) -> dict[str, float]:
    """The settings of a sweep's point that are numbers."""
    return {key: value for key, value in point.changes.items() if type(value) in (int, float)}


def series(points: Sequence[Point]) -> Iterator[tuple[Point, Point]]:
    """The first and the last point of each series of a sweep, those of one attack and defence, where there is an order."""
    for _, members in groupby(points, lambda point: (point.base_attack, point.base_defence)):
        along = list(members)
        if ordered(along):
            yield along[0], along[-1]


def ordered(points: Sequence[Point]) -> bool:
    """Whether some setting takes another number at every one of two points or more, so that there is a first and a last."""
    found = [numbers(point) for point in points]
    shared = set.intersection(*map(set, found))
    return len(found) > 1 and any(len({point[key] for point in found}) == len(found) for key in shared)


def strengths(plan: Plan) -> dict[tuple[str, str], tuple[str, float]]:
    """By (attack, defence) of the sweeps' points the one number of the attack that the sweep varies, by name and value.

    A variant in which more of the attack changed, such as the size of the data too, answers another question.
    """
    found = {}
    for point in (point for points in plan.sweeps.values() for point in points):
        varied = [(key, value) for key, value in numbers(point).items() if key in plan.attack[point.base_attack]]
        if len(varied) == 1:
            key, value = varied[0]
            if point.attack in (point.base_attack, f"{point.base_attack}~{key}~{value}"):
                found[point.attack, point.defence] = varied[0]
    return found


def paper_tables(plan: Plan) -> list[str]:
    """The names of the tables that the stage paper_tables writes, each as Markdown, LaTeX and CSV."""
    return [*ALWAYS, *(["downstream"] if plan.sets else []), *(["strong_attack"] if strengths(plan) else [])]
