"""What the tables of a plan will be; imported before a run, so nothing slow in here."""

from roclip.experiment.plan import Plan, Point

ALWAYS = ("attacks", "utility")


def numbers(point: Point) -> dict[str, float]:
    """The settings of a sweep's point that are numbers."""
    return {key: value for key, value in point.changes.items() if type(value) in (int, float)}


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
