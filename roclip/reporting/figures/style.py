"""What all figures share: colours, names, the grid of panels, and how a figure is saved."""

import math
from collections.abc import Iterable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import seaborn as sns

from roclip.core.atomic import atomic
from roclip.experiment.plan import base

COLOURS = sns.color_palette("colorblind")
MATCHING = "0.87"  # the grey behind matching epochs
STYLE = sns.axes_style("ticks") | sns.plotting_context("paper") | {
    "font.size": 9, "axes.titlesize": 10, "axes.labelsize": 9, "legend.fontsize": 9, "legend.frameon": False,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "figure.constrained_layout.use": True,
    "hatch.linewidth": 0.8,
}  # fmt: skip
WIDEST = 4  # panels in a row of a grid
DPI = 160


def palette(names: Iterable[str]) -> dict[str, tuple]:
    """One colour a name, in the order of the names; with more names than colours they come round again."""
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(dict.fromkeys(names))}


def is_base(name: str) -> bool:
    """Whether an attack or method is none of the variants that sweeps make, such as `roclip~pool_size~400`."""
    return name == base(name)


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


def legend_below(figure: plt.Figure, handles: list, columns: int) -> None:
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
