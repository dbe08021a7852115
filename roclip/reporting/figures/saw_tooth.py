"""Figure: attack success and accuracy epoch by epoch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from roclip.core.columns import HISTORY, MODEL, SWEEPS
from roclip.core.deferred import Deferred
from roclip.core.words import PLAIN_KIND
from roclip.reporting.figures.base import Figure, has_epochs, plain, plain_runs, read
from roclip.reporting.figures.style import CLEAN, POISONED, empty, grid, label_edges, legend_below, percent_axis, whole_epochs

if TYPE_CHECKING:
    from roclip.experiment.plan import Plan

patches = Deferred("matplotlib.patches")
pd = Deferred("pandas")
plt = Deferred("matplotlib.pyplot")

LINES = {
    "attack_success": (POISONED, "o", "attack success, top 1"),
    "zero_shot": (CLEAN, "s", "zero-shot accuracy, top 1"),
}
SHADES = ("0.87", "0.74", "0.94")  # the greys behind epochs that are none of plain CLIP, by their kinds


class SawTooth(Figure):
    """Attack success and zero-shot accuracy after every epoch; epochs that are none of plain CLIP are shaded.

    Where a sweep of one setting changes which epochs these are, its points are shown. Thin lines are seeds, thick ones their
    mean. Zero-shot accuracy is that on images held out for it, not on the test images.
    """

    reads = ("tables/history.csv", "tables/sweeps.csv")

    @classmethod
    def names(cls, plan: Plan) -> list[str]:
        return ["saw_tooth"] if any(has_epochs(plan, defence) for _, defence, _ in plain_runs(plan)) else []

    @classmethod
    def draw(cls, name: str, plan: Plan, results: Path) -> plt.Figure:
        history, sweeps = (results / path for path in cls.reads)
        return saw_tooth(read(history, (*MODEL, *HISTORY)), read(sweeps, SWEEPS))


def saw_tooth(history: pd.DataFrame, sweeps: pd.DataFrame) -> plt.Figure:
    """A panel a model, or a point of a sweep; see `SawTooth`."""
    shown = panels(history, sweeps)
    if not shown:
        return empty("No model has an epoch")
    figure, axes = grid(len(shown), 3, 2.3, sharex=True, sharey=True)
    kinds = [kind for kind in dict.fromkeys(history.kind) if kind != PLAIN_KIND]
    shades = {kind: SHADES[i % len(SHADES)] for i, kind in enumerate(kinds)}
    seen: set[str] = set()
    for axis, (title, attack, defence) in zip(axes, shown, strict=True):
        rows = history[(history.attack == attack) & (history.defence == defence)]
        axis.set_title(title, fontsize=9)
        seen |= shade(axis, rows, shades)
        draw_lines(axis, rows)
        percent_axis(axis, "y", 0, 102)
        whole_epochs(axis)
    label_edges(axes, "epoch", "share of images (%)")
    handles = [plt.Line2D([], [], color=c, marker=m, ms=3.5, label=label) for c, m, label in LINES.values()]
    handles += [patches.Patch(facecolor=shade, label=f"{kind} epoch") for kind, shade in shades.items() if kind in seen]
    legend_below(figure, handles, 3 if len(shown) > 1 else 1)
    return figure


def shade(axis: plt.Axes, rows: pd.DataFrame, shades: dict[str, str]) -> set[str]:
    """Shade the epochs of other kinds than plain CLIP's; those kinds."""
    shaded = rows[rows.kind.isin(shades)].drop_duplicates("epoch").sort_values("epoch")
    for row in shaded.itertuples():
        axis.axvspan(row.epoch - 0.5, row.epoch + 0.5, color=shades[row.kind], lw=0, label=row.kind)
    return set(shaded.kind)


def draw_lines(axis: plt.Axes, rows: pd.DataFrame) -> None:
    """A thin line a seed, and their mean."""
    for column, (colour, marker, _) in LINES.items():
        for _, seed in rows.groupby("seed"):
            axis.plot(seed.epoch, 100 * seed[column], color=colour, lw=0.7, alpha=0.5)
        mean = 100 * rows.groupby("epoch")[column].mean()
        axis.plot(mean.index, mean, color=colour, marker=marker, ms=3.5, clip_on=False, label=column)


def panels(history: pd.DataFrame, sweeps: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Title, attack and defence of each panel: points that change the kinds of epochs, or else all models without a variant."""
    points = changing_kinds(history, sweeps)
    if points.empty:
        rows = plain(history)
        return [(f"{d}, trained on {a}", a, d) for a, d in dict.fromkeys(zip(rows.attack, rows.defence, strict=True))]
    several = [column for column in ("base_attack", "base_defence") if points[column].nunique() > 1]
    return [
        ("\n".join([*(getattr(p, column) for column in several), p.setting]), p.attack, p.defence) for p in points.itertuples()
    ]


def changing_kinds(history: pd.DataFrame, sweeps: pd.DataFrame) -> pd.DataFrame:
    """The points of sweeps that change one setting alone, of the settings by which an epoch is of one kind or another."""
    points = sweeps.rename(columns={"keys": "key"})
    points = points[(points.key != "") & ~points.key.str.contains(" ")].drop_duplicates(["attack", "defence"])
    bases = points.assign(attack=points.base_attack, defence=points.base_defence)
    kinds = pd.concat([points, bases]).merge(history[["attack", "defence", "epoch", "kind"]], on=["attack", "defence"])
    differ = kinds.groupby(["key", "base_attack", "base_defence", "epoch"]).kind.nunique() > 1
    return points[points.key.isin(differ[differ].index.get_level_values("key"))]
