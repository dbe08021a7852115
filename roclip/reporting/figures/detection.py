"""Figure: how well detectors tell poisoned pairs from clean ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roclip.core.deferred import Deferred
from roclip.core.words import checkpoint_label
from roclip.reporting.figures.base import Figure, checkpoints_of, is_base, models_of
from roclip.reporting.figures.style import (
    LINE_STYLES,
    MARKERS,
    beside,
    empty,
    grid,
    label_edges,
    legend_below,
    mark,
    palette,
    whole_epochs,
)  # fmt: skip

if TYPE_CHECKING:
    from roclip.experiment.plan import Plan

pd = Deferred("pandas")
plt = Deferred("matplotlib.pyplot")
tables = Deferred("roclip.reporting.detection")

CHANCE = 0.5
LABEL = "AUROC (0.5: chance)"


class Detection(Figure):
    """AUROC of each detector: the chance that it finds a poisoned pair more suspicious than a clean one.

    1: every poisoned pair scores above all clean ones; the dotted line, 0.5, is chance; below it clean pairs seem the more
    suspicious ones. Scores are of all pairs that a model was trained on, by its own features, and means over trainings, with
    95% t intervals where there are several. Where the weights of every epoch are kept, lines lead along the epochs.
    """

    reads = ("tables/detection.csv",)

    @classmethod
    def names(cls, plan: Plan) -> list[str]:
        return ["detection"] if any(is_base(run[0]) and is_base(run[1]) for run in plan.detected()) else []

    @classmethod
    def draw(cls, name: str, plan: Plan, results: Path) -> plt.Figure:
        rows = pd.DataFrame(tables.read_detections(results / cls.reads[0], plan))
        return detection(rows, list(plan.detectors))


def detection(rows: pd.DataFrame, detectors: Sequence[str]) -> plt.Figure:
    """A panel an attack, or an attack and a defence where epochs are kept. rows: of tables/detection.csv."""
    rows = rows[(rows.seed == "all") & rows.auroc.notna()] if len(rows) else rows
    if rows.empty:
        return empty("No model was trained on a poisoned pair")
    return by_epoch(rows, detectors) if rows.checkpoint.str.startswith("epoch_").any() else at_the_end(rows, detectors)


def at_the_end(rows: pd.DataFrame, detectors: Sequence[str]) -> plt.Figure:
    """A panel an attack: for each detector a point for each defence and checkpoint."""
    models, checkpoints, colours = models_of(rows), checkpoints_of(rows), palette(rows.defence)
    attacks = list(dict.fromkeys(rows.attack))
    figure, axes = grid(len(attacks), 3.2, 0.8 + len(detectors) * (0.2 + 0.16 * len(models)), sharex=True, sharey=True)
    for axis, attack in zip(axes, attacks, strict=True):
        axis.set_title(f"attack: {attack}")
        chance(axis.axvline)
        for row in rows[rows.attack == attack].to_dict("records"):
            place = (models.index((row["defence"], row["checkpoint"])) + 0.5) / len(models) - 0.5
            colour = colours[row["defence"]]
            y = detectors.index(row["detector"]) + 0.8 * place
            point(axis, row, y, **mark(colour, row["checkpoint"], checkpoints))
    axes[0].set_yticks(range(len(detectors)), detectors)
    axes[0].set_ylim(len(detectors) - 0.5, -0.5)
    axes[0].set_xlim(lowest(rows), 1.12)  # room for the numbers
    axes[0].set_xticks([tick / 10 for tick in range(0, 11, 2) if tick / 10 >= axes[0].get_xlim()[0]] + [CHANCE])
    label_edges(axes, LABEL, "")
    handles = [
        plt.Line2D([], [], ls="", label=f"{d}, {checkpoint_label(c)}", **mark(colours[d], c, checkpoints)) for d, c in models
    ]
    legend_below(figure, [*handles, chance_handle()], 3 if len(attacks) > 1 else 1)
    return figure


def point(axis: plt.Axes, row: dict, y: float, **look: Any) -> None:
    """A mean with its interval, which one training has not, and the number."""
    value, low, high = (row[f"auroc{end}"] for end in ("", "_low", "_high"))
    several = row["seeds"] > 1
    axis.errorbar(
        value, y, xerr=[[value - low], [high - value]] if several else None, ms=5, capsize=2,
        label=f"{row['detector']} {row['defence']} {row['checkpoint']}", **look,
    )  # fmt: skip
    beside(axis, f"{value:.2f}", high if several else value, y, right=6)


def by_epoch(rows: pd.DataFrame, detectors: Sequence[str]) -> plt.Figure:
    """A panel an attack and defence: for each detector a line along the epochs."""
    models, colours = list(dict.fromkeys(zip(rows.attack, rows.defence, strict=True))), palette(detectors)
    figure, axes = grid(len(models), 3.2, 2.5, sharex=True, sharey=True)
    for axis, (attack, defence) in zip(axes, models, strict=True):
        axis.set_title(f"{defence}, trained on {attack}", fontsize=9)
        chance(axis.axhline)
        for number, detector in enumerate(detectors):
            own = rows[(rows.attack == attack) & (rows.defence == defence) & (rows.detector == detector)].sort_values("epoch")
            look = {"color": colours[detector], **look_of(number)}
            axis.plot(own.epoch, own.auroc, ms=3.5, label=detector, clip_on=False, **look)
            axis.fill_between(own.epoch, own.auroc_low, own.auroc_high, color=colours[detector], alpha=0.15, lw=0)
        whole_epochs(axis)
    axes[0].set_ylim(lowest(rows), 1.02)
    label_edges(axes, "epoch", LABEL)
    handles = [
        plt.Line2D([], [], color=colours[name], ms=3.5, label=name, **look_of(number)) for number, name in enumerate(detectors)
    ]
    legend_below(figure, [*handles, chance_handle()], 4)
    return figure


def lowest(rows: pd.DataFrame) -> float:
    """Where the axis begins: below chance, and below all means and intervals."""
    return min(0.4, rows[["auroc", "auroc_low"]].min().min() - 0.05)


def look_of(number: int) -> dict[str, str]:
    return {"ls": LINE_STYLES[number % len(LINE_STYLES)], "marker": MARKERS[number % len(MARKERS)]}


def chance(line: Callable[..., Any]) -> None:
    """Draw it; line: a method of the axis, across it or up."""
    line(CHANCE, color="0.45", ls=":", lw=1, label="chance")


def chance_handle() -> plt.Line2D:
    return plt.Line2D([], [], color="0.45", ls=":", lw=1, label="chance: the scores say nothing")
