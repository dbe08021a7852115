"""Figure: what each attack achieves against each defence, beside its control."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from roclip.core.deferred import Deferred
from roclip.core.words import checkpoint_label
from roclip.reporting.figures.base import Figure, models_of, plain, plain_runs, read_results
from roclip.reporting.figures.style import beside, empty, grid, label_edges, legend_below, palette, percent_axis
from roclip.reporting.learned import NOT_LEARNED

if TYPE_CHECKING:
    import matplotlib.pyplot as plt
    import pandas as pd

    from roclip.experiment.plan import Plan

patches = Deferred("matplotlib.patches")

SHARES = {
    "attack_success": "trained on the attack",
    "control": "control: trained on no attack or one of another family",
}
HATCH = "////"


class AttackSuccess(Figure):
    """Attack success by attack, defence and checkpoint.

    Filled bars: models trained on the attack; hatched bars below them: the control, models with the same defence that were
    trained on no attack or on one of another family. Lines: 95% intervals, over the targets of targeted attacks
    (Clopper-Pearson) and over the trainings of backdoors (beta-binomial likelihood); one training of a backdoor has none. A
    model that has not learned, with a zero-shot accuracy near chance, has no bar: that it takes nothing for the adversary's
    class is no defence.
    """

    reads = ("tables/results.csv",)

    @classmethod
    def names(cls, plan: Plan) -> list[str]:
        return ["attack_success"] if any(plan.family[attack] != "clean" for attack, _, _ in plain_runs(plan)) else []

    @classmethod
    def draw(cls, name: str, plan: Plan, results: Path) -> plt.Figure:
        return attack_success(read_results(results))


def attack_success(results: pd.DataFrame) -> plt.Figure:
    """A panel an attack: success against each defence and checkpoint as a bar with its interval, and below it the control."""
    rows, colours = plain(results), palette(plain(results).defence)
    rows = rows[rows.attack_success.notna()]
    if rows.empty:
        return empty("No attack with an evaluation set was run")
    attacks, models = list(dict.fromkeys(rows.attack)), models_of(rows)
    figure, axes = grid(len(attacks), 3.2, 1 + 0.5 * len(models), sharex=True, sharey=True)
    for axis, attack in zip(axes, attacks, strict=True):
        panel(axis, rows[rows.attack == attack], models, colours)
    axes[0].set_yticks(range(len(models)), [f"{d}\n{checkpoint_label(c)}" for d, c in models])
    axes[0].set_ylim(len(models) - 0.5, -0.5)
    percent_axis(axes[0], "x", 0, 119)  # room for the numbers; a share ends at 100
    label_edges(axes, "attack success, top 1 (%)", "")
    handles = [patches.Patch(facecolor="0.4", label=SHARES["attack_success"])]
    if rows.control.notna().any():
        handles.append(patches.Patch(facecolor="white", edgecolor="0.4", hatch=HATCH, label=SHARES["control"]))
    legend_below(figure, handles, 2 if len(attacks) > 1 else 1)
    return figure


def panel(axis: plt.Axes, rows: pd.DataFrame, models: list[tuple[str, str]], colours: dict[str, str]) -> None:
    """The bars of an attack; what was not run says so."""
    axis.set_title(f"attack: {rows.attack.iloc[0]}")
    axis.grid(axis="x", color="0.92")
    found = {(row["defence"], row["checkpoint"]): row for row in rows.to_dict("records")}
    for y, model in enumerate(models):
        if model not in found:
            beside(axis, "not run", 0, y, colour="0.5")
            continue
        for measure, place in zip(SHARES, (y - 0.2, y + 0.2), strict=True):
            bar(axis, found[model], measure, place, colours[model[0]])


def bar(axis: plt.Axes, row: dict, measure: str, place: float, colour: str) -> None:
    """A share with its interval, if it was counted. It ends in a marker, for a bar of nothing cannot be seen."""
    share, low, high = (100 * row[measure + part] for part in ("", "_low", "_high"))
    if share != share:
        return
    filled = measure == "attack_success"
    if filled and not row["learned"]:
        beside(axis, NOT_LEARNED, 0, place, colour="0.5")
        return
    ends = [[share - low], [high - share]] if low == low else None  # one training of a backdoor has no interval
    style = {"color": colour} if filled else {"color": "white", "edgecolor": colour, "hatch": HATCH}
    axis.barh(place, share, 0.36, label=f"{measure} {row['defence']} {row['checkpoint']}", **style)
    axis.errorbar(
        share, place, xerr=ends, color="black", capsize=2, lw=0.9, marker="o", ms=4,
        mfc=colour if filled else "white", mec=colour,
    )  # fmt: skip
    beside(axis, f"{share:.1f}", high if ends else share, place)
