"""Figure: what repairs can reach, attack success against clean accuracy over all their variants and epochs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from roclip.core.columns import FRONT
from roclip.core.deferred import Deferred
from roclip.reporting.figures.base import Figure, read
from roclip.reporting.figures.style import empty, grid, label_edges, legend_below, looks_of, percent_axis

if TYPE_CHECKING:
    from roclip.experiment.plan import Plan

pd = Deferred("pandas")
plt = Deferred("matplotlib.pyplot")

NAME = "front"
QUESTION = "How low does a repair bring attack success, at what price?"


class Front(Figure):
    """Attack success against zero-shot accuracy after each epoch of each variant of a repair, and the best of them.

    The star is the model before its repair. Points are means over seeds; those on a line are the ones than which no other
    has a lower success at no less accuracy. Accuracy is that on validation images.
    """

    reads = ("tables/front.csv",)

    @classmethod
    def names(cls, plan: Plan) -> list[str]:
        repaired = [attack for attack, defence, _ in plan.runs if plan.models[defence].stage == "repair"]
        return [NAME] if any(plan.family[attack] != "clean" for attack in repaired) else []

    @classmethod
    def draw(cls, name: str, plan: Plan, results: Path) -> plt.Figure:
        return front(read(results / cls.reads[0], FRONT))


def front(rows: pd.DataFrame) -> plt.Figure:
    """A panel an attack, the axis of accuracy as long as the points need; rows: of front.csv."""
    if rows.empty:
        return empty("No epoch of a repair was judged on an attack")
    attacks, looks = list(dict.fromkeys(rows.attack)), looks_of(list(dict.fromkeys(rows.repair)))
    figure, axes = grid(len(attacks), 3.4, 3, sharex=True, sharey=True)
    for axis, attack in zip(axes, attacks, strict=True):
        axis.set_title(f"attack: {attack}")
        axis.grid(axis="y", color="0.92")
        for repair, its in rows[rows.attack == attack].groupby("repair", sort=False):
            draw(axis, its, looks[repair])
    shown = pd.concat([rows.accuracy, rows.accuracy_before]).dropna()
    margin = max(0.05 * (shown.max() - shown.min()), 0.01)
    axes[0].set_xlim(100 * (shown.min() - margin), 100 * (shown.max() + margin))
    percent_axis(axes[0], "y", -3, 103)
    label_edges(axes, "zero-shot accuracy (%)", "attack success, top 1 (%)")
    figure.suptitle(QUESTION, fontsize=11)
    handles = [plt.Line2D([], [], label=repair, **look) for repair, look in looks.items()]
    handles.append(plt.Line2D([], [], color="black", marker="*", ls="", ms=11, label="before the repair"))
    legend_below(figure, handles, 3)
    return figure


def draw(axis: plt.Axes, rows: pd.DataFrame, look: dict) -> None:
    """The points of a repair under an attack, its front, and the model before it."""
    colour, marker = look["color"], look["marker"]
    axis.plot(100 * rows.accuracy, 100 * rows.success, marker, color=colour, ms=3.5, alpha=0.4, mew=0, clip_on=False)
    best = rows[rows.on_front == 1].sort_values("accuracy")
    axis.plot(100 * best.accuracy, 100 * best.success, color=colour, ls=look["ls"], marker=marker, ms=6, clip_on=False)
    before = rows[["accuracy_before", "success_before"]].iloc[0]
    if before.notna().all():
        axis.plot(*(100 * before), "*", color="black", ms=11, clip_on=False, zorder=5)
