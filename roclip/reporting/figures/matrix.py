"""Figure: all attacks against all defences, a cell for each pair."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from roclip.core.deferred import Deferred
from roclip.core.words import checkpoint_label
from roclip.reporting.figures.base import Figure, models_of, plain, plain_runs, read_results
from roclip.reporting.figures.style import INK, empty
from roclip.reporting.learned import NOT_LEARNED

if TYPE_CHECKING:
    import matplotlib.pyplot as plt
    import pandas as pd

    from roclip.experiment.plan import Plan

colors = Deferred("matplotlib.colors")
plt = Deferred("matplotlib.pyplot")

QUESTION = "How often does each attack succeed against each defence? (%, lower is safer)"
FEWEST = 2  # attacks: of one the bars of attack_success say all
SAFE, UNSAFE = "#ffffff", "#b5460f"  # of success; between them in equal steps
LIGHT_ABOVE = 0.6  # success from which numbers are white
ACCURACY = "zero-shot\naccuracy"


class Matrix(Figure):
    """Attack success in percent of each attack, a column, against each defence and checkpoint, a row.

    The first column is zero-shot accuracy in percent, the mean over the models of all attacks: a defence that learns less is
    attacked less too. Controls, which only train less or add what a defence adds too, are named in italics. Intervals are in
    the figure of attack success and in the tables.
    """

    reads = ("tables/results.csv",)

    @classmethod
    def names(cls, plan: Plan) -> list[str]:
        attacks = {attack for attack, _, _ in plain_runs(plan) if plan.family[attack] != "clean"}
        return ["matrix"] if len(attacks) >= FEWEST else []

    @classmethod
    def draw(cls, name: str, plan: Plan, results: Path) -> plt.Figure:
        return matrix(read_results(results), plan.controls)


def matrix(results: pd.DataFrame, controls: Sequence[str]) -> plt.Figure:
    """A row for each defence and checkpoint: its accuracy, and its success under each attack; results: rows of `pivot`."""
    rows = plain(results)
    rows = rows[rows.attack_success.notna()]
    if rows.empty:
        return empty("No attack with an evaluation set was run")
    attacks, models = list(dict.fromkeys(rows.attack)), models_of(rows)
    several = {d for d, _ in models if [defence for defence, _ in models].count(d) > 1}
    found = {(row["attack"], row["defence"], row["checkpoint"]): row for row in rows.to_dict("records")}
    figure, axis = plt.subplots(figsize=(2 + 0.75 * (1 + len(attacks)), 1 + 0.27 * len(models)))
    axis.set(xlim=(-1.6, len(attacks) - 0.5), ylim=(len(models) - 0.5, -0.5))
    shades = colors.LinearSegmentedColormap.from_list("success", [SAFE, UNSAFE])
    for y, (defence, checkpoint) in enumerate(models):
        its = [found.get((attack, defence, checkpoint)) for attack in attacks]
        known = [row["zero_shot"] for row in its if row and row["zero_shot"] == row["zero_shot"]]
        axis.text(-1.05, y, f"{100 * sum(known) / len(known):.0f}" if known else "", ha="center", va="center")
        for x, row in enumerate(its):
            cell(axis, x, y, row, shades)
    axis.set_xticks([-1.05, *range(len(attacks))], [ACCURACY, *(name.replace("_", "_\n") for name in attacks)])
    names = [f"{d}, {checkpoint_label(c)}" if d in several else d for d, c in models]
    for label, (defence, _) in zip(axis.set_yticks(range(len(models)), names), models, strict=True):
        label.label1.set_style("italic" if defence in controls else "normal")
    axis.tick_params(length=0, labeltop=True, labelbottom=False)
    axis.spines[:].set_visible(False)
    axis.set_title(QUESTION, fontsize=11, pad=12)
    return figure


def cell(axis: plt.Axes, x: int, y: int, row: dict | None, shades: colors.Colormap) -> None:
    """A square with a number; grey where nothing was run or learned."""
    if row is None or not row["learned"]:
        axis.add_patch(plt.Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor="0.93"))
        axis.text(x, y, "not run" if row is None else NOT_LEARNED, ha="center", va="center", fontsize=7, color="0.4")
        return
    success = row["attack_success"]
    axis.add_patch(plt.Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=shades(success), edgecolor="white"))
    number = f"{100 * success:.0f}" if success >= 0.01 or success == 0 else "<1"
    axis.text(x, y, number, ha="center", va="center", color="white" if success > LIGHT_ABOVE else INK)
