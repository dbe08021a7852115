"""Figure: what a defence costs in accuracy on clean images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from roclip.core.deferred import Deferred
from roclip.core.words import checkpoint_label
from roclip.reporting.figures.base import Figure, checkpoints_of, models_of, plain, plain_runs, read_results
from roclip.reporting.figures.style import beside, empty, legend_below, mark, palette

if TYPE_CHECKING:
    import pandas as pd

    from roclip.experiment.plan import Plan

np = Deferred("numpy")
plt = Deferred("matplotlib.pyplot")
tables = Deferred("roclip.reporting.results")

MEASURES = {"zero_shot": "zero-shot accuracy, top 1 (%)", "linear_probe": "linear-probe accuracy, top 1 (%)"}


class Utility(Figure):
    """Accuracy on clean test images, by attack, defence and checkpoint.

    Lines lead from the accuracy of the baseline to that of a defence; the number in brackets is the difference in points. The
    axes do not begin at 0. Error bars: the standard deviation between seeds, where there are several.
    """

    reads = ("tables/results.csv",)

    @classmethod
    def names(cls, plan: Plan) -> list[str]:
        return ["utility"] if plain_runs(plan) else []

    @classmethod
    def draw(cls, name: str, plan: Plan, results: Path) -> plt.Figure:
        return utility(read_results(results), plan.baseline)


def utility(results: pd.DataFrame, baseline: str) -> plt.Figure:
    """Zero-shot and linear-probe accuracy, a band of points for each attack; a line from the baseline is a defence's price."""
    rows = plain(results)
    rows = rows[rows[list(MEASURES)].notna().any(axis=1)]
    if rows.empty:
        return empty("No accuracy was measured")
    models, checkpoints, colours = models_of(rows), checkpoints_of(rows), palette(rows.defence)
    lines, middles = bands(rows, models)
    figure, axes = plt.subplots(1, 2, figsize=(9, 1.3 + 0.2 * (lines[-1][0] + 2)), sharey=True)
    priced = False
    for axis, (measure, title) in zip(axes, MEASURES.items(), strict=True):
        for y, row in lines:
            colour, reference = colours[row["defence"]], reference_of(rows, row, baseline, measure)
            point(axis, y, row, measure, reference, **mark(colour, row["checkpoint"], checkpoints))
            priced |= reference == reference
        finish(axis, title)
    axes[0].set_yticks(list(middles.values()), [f"trained on\n{attack}" for attack in middles])
    axes[0].set_ylim(lines[-1][0] + 1, -1)
    handles = [
        plt.Line2D([], [], ls="", label=f"{d}, {checkpoint_label(c)}", **mark(colours[d], c, checkpoints)) for d, c in models
    ]
    if priced:
        label = f"with the number in brackets:\nprice against {baseline}, points"
        handles.append(plt.Line2D([], [], color="0.5", lw=1, label=label))
    legend_below(figure, handles, 3)
    return figure


def bands(rows: pd.DataFrame, models: list[tuple[str, str]]) -> tuple[list[tuple[int, dict]], dict[str, float]]:
    """Each row with the line that it is drawn in, attack after attack with a gap between; and the middle of each attack."""
    lines: list[tuple[int, dict]] = []
    middles = {}
    for attack, group in rows.groupby("attack", sort=False):
        start = lines[-1][0] + 2 if lines else 0
        band = sorted(group.to_dict("records"), key=lambda row: models.index((row["defence"], row["checkpoint"])))
        lines += [(start + i, row) for i, row in enumerate(band)]
        middles[attack] = start + (len(band) - 1) / 2
    return lines, middles


def reference_of(rows: pd.DataFrame, row: dict, baseline: str, measure: str) -> float:
    """The share against which the price of a row is counted: the baseline's, at the same checkpoint if it has it; else NaN."""
    found = rows[(rows.attack == row["attack"]) & (rows.defence == baseline) & rows[measure].notna()]
    if row["defence"] == baseline or found.empty:
        return np.nan
    return tables.at(dict(zip(found.checkpoint, found[measure], strict=True)), row["checkpoint"])


def point(axis: plt.Axes, y: float, row: dict, measure: str, reference: float, **look: Any) -> None:
    """An accuracy with its spread over seeds, the line from its reference, and the number."""
    value, spread, reference = 100 * row[measure], 100 * row[f"{measure}_sd"], 100 * reference
    if np.isnan(value):
        return
    text = f"{value:.1f}"
    if not np.isnan(reference):
        axis.plot([reference, value], [y, y], color=look["color"], lw=1, alpha=0.6, zorder=1)
        text += f" ({value - reference:+.1f})".replace("-", "−")
    axis.errorbar(
        value, y, xerr=None if np.isnan(spread) else spread, ms=6, capsize=2,
        label=f"{row['defence']} {row['checkpoint']}", **look,
    )  # fmt: skip
    beside(axis, text, np.nanmax([value, value + spread, reference]), y, right=7)


def finish(axis: plt.Axes, title: str) -> None:
    """Ticks up to 100%, and room for the numbers."""
    axis.set_xlabel(title)
    axis.grid(axis="x", color="0.92")
    axis.margins(x=0.06)
    left, right = axis.get_xlim()
    axis.set_xlim(left, right + 0.25 * (right - left))
    axis.set_xticks([tick for tick in axis.get_xticks() if left <= tick <= 100.001])
