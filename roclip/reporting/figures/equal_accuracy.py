"""Figure: attack success against clean accuracy along the epochs, so that recipes are compared at equal accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from roclip.core.columns import HISTORY, MODEL
from roclip.core.deferred import Deferred
from roclip.reporting.figures.base import Figure, has_epochs, is_base, plain_runs, read
from roclip.reporting.figures.style import empty, grid, label_edges, legend_below, looks_of, percent_axis
from roclip.reporting.planned import strengths

if TYPE_CHECKING:
    import pandas as pd

    from roclip.experiment.plan import Plan

equal = Deferred("roclip.reporting.equal_accuracy")
plt = Deferred("matplotlib.pyplot")

NAME = "equal_accuracy"
QUESTION = "At equal accuracy, with which defence does the attack succeed least? (lower is safer)"
FEW = 5  # seeds, of which each has a line of its own
Panels = Mapping[str, str]  # attacks by the titles of their panels


class EqualAccuracy(Figure):
    """Attack success against zero-shot accuracy, a line along the epochs for each defence: lower at the same place is safer.

    Training begins at the left and ends at the marker. Lines are means over seeds, thin ones single seeds; shown are epochs of
    the kind clip or, of a defence without them, of the kind of its last. In the shaded range nothing was learned: no success
    there is no defence. A dotted line is the largest accuracy that all defences which learned reach, mean over seeds. Accuracy
    is that on validation images.
    """

    reads = ("tables/history.csv", "tables/equal_accuracy.csv")

    @classmethod
    def names(cls, plan: Plan) -> list[str]:
        sweeps = [f"{NAME}_{sweep}" for sweep in plan.sweeps if len(by_strength(plan, sweep)) > 1]
        return [*([NAME] if by_attack(plan) else []), *sweeps]

    @classmethod
    def draw(cls, name: str, plan: Plan, results: Path) -> plt.Figure:
        history = read(results / cls.reads[0], (*MODEL, *HISTORY))
        floor, common = marks(read(results / cls.reads[1], ("attack", "at", "seed", "accuracy", "floor")))
        panels = by_attack(plan) if name == NAME else by_strength(plan, name.removeprefix(f"{NAME}_"))
        return equal_accuracy(history, panels, floor, common)


def by_attack(plan: Plan) -> Panels:
    """The attacks without variants that some defence with epochs meets."""
    runs = [(attack, defence) for attack, defence, _ in plain_runs(plan) if plan.family[attack] != "clean"]
    return {f"attack: {attack}": attack for attack, defence in runs if has_epochs(plan, defence)}


def by_strength(plan: Plan, sweep: str) -> Panels:
    """The attacks of a sweep that varies one number of an attack, in the order of the number."""
    varied = strengths(plan)
    found = {
        (point.base_attack, *varied[point.attack, point.defence]): point.attack
        for point in plan.sweeps[sweep]
        if (point.attack, point.defence) in varied and is_base(point.defence) and has_epochs(plan, point.defence)
    }
    return {f"{attack}, {key} {value}": found[attack, key, value] for attack, key, value in sorted(found)}


def marks(table: pd.DataFrame) -> tuple[float, dict[str, float]]:
    """From equal_accuracy.csv the accuracy up to which nothing was learned, and by attack that which all reach."""
    common = table[(table["at"] == "common") & (table.seed == "all")].drop_duplicates("attack")
    floors = table[table["at"] != "end"].floor
    return floors.iloc[0] if len(floors) else 0.0, dict(zip(common.attack, common.accuracy, strict=True))


def equal_accuracy(history: pd.DataFrame, panels: Panels, floor: float, common: Mapping[str, float]) -> plt.Figure:
    """A panel an attack. history: rows of history.csv; floor: the accuracy up to which nothing was learned."""
    kinds = equal.main_kinds(history.to_dict("records"))
    rows = history[history.attack.isin(panels.values()) & history.defence.map(is_base)]
    rows = rows[(rows.kind == rows.defence.map(kinds)) & rows.zero_shot.notna() & rows.attack_success.notna()]
    if rows.empty:
        return empty("No epoch was judged on an attack")
    looks = looks_of(list(dict.fromkeys(rows.defence)))
    figure, axes = grid(len(panels), 3.4 if len(panels) > 1 else 5.6, 3, sharex=True, sharey=True)
    for axis, (title, attack) in zip(axes, panels.items(), strict=True):
        axis.set_title(title)
        for defence, its in rows[rows.attack == attack].groupby("defence", sort=False):
            draw(axis, its, floor, looks[defence])
        frame(axis, floor, common.get(attack))
    axes[0].set_xlim(0, 105 * rows.zero_shot.max())
    percent_axis(axes[0], "y", -3, 103)
    label_edges(axes, "zero-shot accuracy (%)", "attack success, top 1 (%)")
    figure.suptitle(QUESTION, fontsize=11)
    handles = [plt.Line2D([], [], label=defence, **look) for defence, look in looks.items()]
    if common:
        handles.append(plt.Line2D([], [], color="0.45", ls=":", lw=1, label="accuracy that all reach"))
    legend_below(figure, handles, 3)
    return figure


def draw(axis: plt.Axes, rows: pd.DataFrame, floor: float, look: dict) -> None:
    """The curve of a defence under an attack; its end is hollow and grey where nothing was learned."""
    defence, seeds = rows.defence.iloc[0], rows.groupby("seed")
    if 1 < len(seeds) <= FEW:
        for _, seed in seeds:
            axis.plot(100 * seed.zero_shot, 100 * seed.attack_success, color=look["color"], lw=0.6, alpha=0.35)
    mean = rows.groupby("epoch")[["zero_shot", "attack_success"]].mean()
    x, y = 100 * mean.zero_shot, 100 * mean.attack_success
    axis.plot(x, y, color=look["color"], ls=look["ls"], lw=1.6, label=defence, clip_on=False)
    learned = mean.zero_shot.iloc[-1] > floor
    edge = look["color"] if learned else "0.55"
    axis.plot(
        x.iloc[-1:], y.iloc[-1:], look["marker"], ms=7, mfc=edge if learned else "white", mec="white" if learned else edge,
        label=f"end of {defence}", clip_on=False, zorder=5,
    )  # fmt: skip


def frame(axis: plt.Axes, floor: float, common: float | None) -> None:
    """The range in which nothing was learned, and the accuracy that all reach."""
    axis.axvspan(0, 100 * floor, color="0.88", lw=0, label="not learned")
    axis.text(100 * floor, 101, " not learned", color="0.45", fontsize=7.5, va="top")
    axis.grid(axis="y", color="0.92")
    if common is not None:
        axis.axvline(100 * common, color="0.45", ls=":", lw=1, label="common")
