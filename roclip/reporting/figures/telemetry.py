"""Figure: what defences noted of their own epochs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from roclip.core.columns import HISTORY, MODEL
from roclip.core.deferred import Deferred
from roclip.reporting.figures.base import Figure, class_of, plain, plain_runs, read
from roclip.reporting.figures.style import (
    LINE_STYLES,
    MARKERS,
    empty,
    grid,
    label_edges,
    legend_below,
    palette,
    whole_epochs,
)  # fmt: skip

if TYPE_CHECKING:
    import pandas as pd

    from roclip.defences.base import Defence
    from roclip.experiment.plan import Plan

plt = Deferred("matplotlib.pyplot")

DOTS = (0, (1, 2))  # of what chance would give


class Telemetry(Figure):
    """What defences noted of their own epochs, such as what is drawn from a pool: means over an epoch's steps, and over seeds.

    Dotted: what chance would give.
    """

    reads = ("tables/history.csv",)

    @classmethod
    def names(cls, plan: Plan) -> list[str]:
        return ["telemetry"] if any(defence.telemetry_columns for defence in classes(plan)) else []

    @classmethod
    def draw(cls, name: str, plan: Plan, results: Path) -> plt.Figure:
        panels = {title: columns for defence in classes(plan) for title, columns in panels_of(defence).items()}
        columns = dict.fromkeys(column for its in panels.values() for column in its)
        return telemetry(read(results / cls.reads[0], (*MODEL, *HISTORY, *columns)), panels)


def classes(plan: Plan) -> list[type[Defence]]:
    """The classes of the trainings and repairs that end a recipe of a defence that is no variant."""
    return list(dict.fromkeys(class_of(plan, defence) for _, defence, _ in plain_runs(plan)))


def panels_of(defence: type[Defence]) -> dict[str, tuple[str, ...]]:
    """Title and columns of each panel: those that the defence declares, and one for each column that is in none of them."""
    declared = dict(defence.telemetry_panels)
    shown = {column for columns in declared.values() for column in columns}
    return declared | {text: (column,) for column, text in defence.telemetry_columns.items() if column not in shown}


def telemetry(history: pd.DataFrame, panels: Mapping[str, tuple[str, ...]]) -> plt.Figure:
    """A panel for each title, which shows a share in percent if it says `%`, and a line for each attack and defence."""
    columns = list(dict.fromkeys(column for its in panels.values() for column in its))
    rows = plain(history)
    rows = rows[rows[columns].notna().any(axis=1)]
    if rows.empty:
        return empty("No defence noted anything")
    figure, axes = grid(len(panels), 3.2, 2.3, sharex=True)
    handles = []
    for (attack, defence), style in styles(rows).items():
        own = rows[(rows.attack == attack) & (rows.defence == defence)].groupby("epoch")[columns].mean()
        label = f"{defence}, trained on {attack}"
        for axis, (title, shown) in zip(axes, panels.items(), strict=True):
            draw_lines(axis, own[list(shown)] * (100 if "%" in title else 1), style, label)
        handles.append(plt.Line2D([], [], ms=3.5, label=label, **style))
    for axis, title in zip(axes, panels, strict=True):
        axis.set_title(title, fontsize=9)
        axis.set_ylim(min(0, axis.dataLim.y0), 1.1 * axis.get_ylim()[1])
        whole_epochs(axis)
    kinds = set(rows.kind)
    label_edges(axes, f"{kinds.pop()} epoch" if len(kinds) == 1 else "epoch", "")
    legend_below(figure, handles, 3)
    return figure


def styles(rows: pd.DataFrame) -> dict[tuple[str, str], dict]:
    """The line of each attack and defence: colours tell what there is more of, line styles and markers the other."""
    attacks, defences = list(dict.fromkeys(rows.attack)), list(dict.fromkeys(rows.defence))
    by_attack = len(attacks) >= len(defences)
    colours, others = palette(attacks if by_attack else defences), defences if by_attack else attacks
    found = {}
    for attack, defence in dict.fromkeys(zip(rows.attack, rows.defence, strict=True)):
        main, other = (attack, defence) if by_attack else (defence, attack)
        i = others.index(other)
        line, marker = LINE_STYLES[i % len(LINE_STYLES)], MARKERS[i % len(MARKERS)]
        found[attack, defence] = {"color": colours[main], "ls": line, "marker": marker}
    return found


def draw_lines(axis: plt.Axes, means: pd.DataFrame, style: dict, label: str) -> None:
    """The columns of a panel by epoch: the first as a line, what follows, by chance, as dots."""
    first, *others = means.columns
    for column in others:
        axis.plot(means.index, means[column], color=style["color"], ls=DOTS, label="chance")
    axis.plot(means.index, means[first], ms=3.5, label=label, **style)
