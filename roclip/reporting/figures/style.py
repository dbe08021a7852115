"""What all figures share: colours, the grid of panels, legends, and how a figure is saved."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from roclip.core.atomic import atomic
from roclip.core.deferred import Deferred

plt = Deferred("matplotlib.pyplot")

COLOURS = (  # seaborn's palette `colorblind`; those that are much like others come last
    "#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#56b4e9", "#949494", "#ca9161", "#fbafe4", "#ece133",
)  # fmt: skip
CLEAN, POISONED = COLOURS[0], COLOURS[3]
MARKERS = "osD^vPX*"
LINE_STYLES = ("-", "--", ":", "-.")
LONG_LINE_STYLES = (*LINE_STYLES, (0, (6, 1)), (0, (1, 1)), (0, (3, 1, 1, 1, 1, 1)))  # told apart on long lines
INK = "0.15"
STYLE = {
    "figure.constrained_layout.use": True,
    "font.size": 9, "axes.titlesize": 10, "axes.labelsize": 9, "legend.fontsize": 9, "legend.frameon": False,
    "font.sans-serif": ["Arial", "DejaVu Sans", "Liberation Sans", "Bitstream Vera Sans", "sans-serif"],
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "axes.linewidth": 1,
    "xtick.major.width": 1, "ytick.major.width": 1, "xtick.major.size": 4.8, "ytick.major.size": 4.8,
    "xtick.labelsize": 8.8, "ytick.labelsize": 8.8,
    "lines.linewidth": 1.2, "lines.markersize": 4.8, "lines.solid_capstyle": "round",
    "patch.linewidth": 0.8, "patch.edgecolor": "w", "patch.force_edgecolor": True, "hatch.linewidth": 0.8,
}  # fmt: skip
WIDEST = 4  # panels in a row of a grid
DPI = 160


def palette(names: Iterable[str]) -> dict[str, str]:
    """One colour a name, in the order of the names; with more names than colours they come round again."""
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(dict.fromkeys(names))}


def looks_of(defences: Sequence[str]) -> dict[str, dict]:
    """Colour, line and marker of each defence: any two of ten differ in two or more."""
    colours, lines = palette(defences), LONG_LINE_STYLES
    return {
        defence: {"color": colours[defence], "marker": MARKERS[i % len(MARKERS)], "ls": lines[i % len(lines)], "ms": 6}
        for i, defence in enumerate(defences)
    }


def fill(colour: str, checkpoint: str, checkpoints: Sequence[str]) -> Any:
    """What a marker is filled with: the first checkpoint's with its colour, the second's with white, others' with a tint."""
    return (colour, "white", (colour, 0.35))[min(checkpoints.index(checkpoint), 2)]


def mark(colour: str, checkpoint: str, checkpoints: Sequence[str]) -> dict[str, Any]:
    """The marker of a checkpoint, where markers say nothing else: circles full and hollow, then squares, and so on."""
    place = checkpoints.index(checkpoint)
    return {"color": colour, "marker": MARKERS[place // 2 % len(MARKERS)], "mfc": "white" if place % 2 else colour}


def grid(panels: int, width: float, height: float, **shared: bool) -> tuple[plt.Figure, list[plt.Axes]]:
    """A figure with so many panels of width x height inches, at most WIDEST in a row; what is left of the last row is blank."""
    rows = math.ceil(panels / WIDEST)
    columns = math.ceil(panels / rows)
    figure, cells = plt.subplots(rows, columns, figsize=(width * columns, height * rows), squeeze=False, **shared)
    axes = list(cells.flat)
    for axis in axes[panels:]:
        axis.set_axis_off()
    for axis in axes[max(0, panels - columns) : panels]:  # above a blank cell too
        axis.tick_params(labelbottom=True)
    return figure, axes[:panels]


def label_edges(axes: list[plt.Axes], x: str, y: str) -> None:
    """Label the x axis of every lowest panel and the y axis of every leftmost one."""
    columns = axes[0].get_gridspec().ncols
    for i, axis in enumerate(axes):
        if i % columns == 0:
            axis.set_ylabel(y)
        if i + columns >= len(axes):
            axis.set_xlabel(x)


def percent_axis(axis: plt.Axes, name: str, *limits: float) -> None:
    """Ticks at the quarters of 100%; `name`: x or y."""
    axis.set(**{f"{name}lim": limits, f"{name}ticks": range(0, 101, 25)})


def whole_epochs(axis: plt.Axes) -> None:
    axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)


def beside(axis: plt.Axes, text: str, x: float, y: float, right: int = 3, colour: str = INK) -> None:
    """Write a small text to the right of a point, so many dots away."""
    axis.annotate(text, (x, y), xytext=(right, 0), textcoords="offset points", va="center", fontsize=7.5, color=colour)


def legend_below(figure: plt.Figure, handles: list, columns: int) -> None:
    """A legend for which the figure grows, so that its panels keep their size: two rows of it have room as it is."""
    more = math.ceil(len(handles) / columns) - 2
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.19 * max(0, more))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(columns, len(handles)))


def empty(message: str) -> plt.Figure:
    """A figure that says why there is nothing to show."""
    figure = plt.figure(figsize=(5, 2))
    figure.text(0.5, 0.5, message, ha="center", va="center")
    return figure


def save(figure: plt.Figure, out: Path) -> None:
    """Write OUT.pdf and OUT.png; the same figure gives the same bytes."""
    for suffix, metadata in ((".pdf", {"CreationDate": None}), (".png", {"Software": None})):
        with atomic(out.with_name(out.name + suffix)) as temporary:
            figure.savefig(temporary, dpi=DPI, bbox_inches="tight", metadata=metadata)
    plt.close(figure)
