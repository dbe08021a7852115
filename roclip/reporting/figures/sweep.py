"""Figure of each sweep: attack success and accuracy by the setting that it changes."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roclip.core.columns import SWEEPS
from roclip.core.deferred import Deferred
from roclip.core.words import checkpoint_label
from roclip.experiment.plan import base
from roclip.experiment.schema import STEPS
from roclip.reporting.figures.base import Figure, checkpoints_of, read, read_results
from roclip.reporting.figures.style import LINE_STYLES, MARKERS, empty, fill, legend_below, palette, percent_axis
from roclip.reporting.learned import NOT_LEARNED
from roclip.training.settings import TrainSettings

if TYPE_CHECKING:
    import pandas as pd

    from roclip.experiment.plan import Plan

np = Deferred("numpy")
plt = Deferred("matplotlib.pyplot")

PREFIX = "sweep_"
TITLES = ("attack success, top 1 (%)", "zero-shot accuracy, top 1 (%)")
# settings of attacks, which this package does not import
OF_ATTACKS = {"captions_per_target": "poisoned pairs of each target image", "poisons": "poisoned pairs"}
Recipes = Mapping[str, Mapping[str, Any]]  # by the names of defences


class Sweep(Figure):
    """Attack success with 95% intervals, and zero-shot accuracy with its standard deviation between several seeds, by setting.

    Intervals are over the targets of targeted attacks (Clopper-Pearson) and over the trainings of backdoors (beta-binomial
    likelihood); one training of a backdoor has none. A sweep without axes compares defences. Lines join settings that are
    numbers; points are set side by side for legibility. Of a model with a zero-shot accuracy near chance, which has not
    learned, no attack success is shown.
    """

    reads = ("tables/results.csv", "tables/sweeps.csv")

    @classmethod
    def names(cls, plan: Plan) -> list[str]:
        return [f"{PREFIX}{name}" for name in plan.sweeps]

    @classmethod
    def draw(cls, name: str, plan: Plan, results: Path) -> plt.Figure:
        points = read(results / cls.reads[1], SWEEPS)
        order = palette(map(base, plan.defences()))
        return sweep(read_results(results), points[points.sweep == name.removeprefix(PREFIX)], plan.defence, order)


def sweep(results: pd.DataFrame, points: pd.DataFrame, recipes: Recipes, colours: Mapping[str, str]) -> plt.Figure:
    """A series for each base attack, base defence and checkpoint; without axes, the defences take the place of the settings.

    colours: of the defences, as in the other figures of the experiment.
    """
    by_defence = not points.setting.any()
    axis_label, values = ("", None) if by_defence else numeric_axis(points, recipes)
    points = points.assign(place=points.base_defence if by_defence else points.setting)
    if by_defence:
        points = points.assign(base_defence="")
    rows, places = points.merge(results, on=["attack", "defence"]), list(dict.fromkeys(points.place))
    if rows.empty:
        return empty("Nothing of this sweep was measured")
    figure, axes = two_panels(places, joined=values is not None)
    handles = draw_series(axes, rows, points, palette(points.base_attack) if by_defence else colours, joined=values is not None)
    for axis, title in zip(axes, TITLES, strict=True):
        axis.set_xticks(range(len(places)), values or [wrapped(place) for place in places], fontsize=8)
        axis.set_xlim(-0.5, len(places) - 0.5)
        percent_axis(axis, "y", -4, 104)
        axis.set_ylabel(title, fontsize=8)
        axis.grid(axis="y", color="0.92")
        if values:
            axis.set_xlabel(axis_label)
    legend_below(figure, handles, 2 if len(handles) < 9 else 3)
    return figure


def two_panels(places: list[str], joined: bool) -> tuple[plt.Figure, list[plt.Axes]]:
    """Side by side, or one above the other, for settings in words need room."""
    if joined:
        return plt.subplots(1, 2, figsize=(3.2 + 1.2 * max(len(places), 4), 3.3))
    return plt.subplots(2, 1, figsize=(1 + 1.7 * max(len(places), 3), 5.2), sharex=True)


def draw_series(
    axes: list[plt.Axes], rows: pd.DataFrame, points: pd.DataFrame, colours: Mapping[str, str], joined: bool
) -> list:
    """Draw every series in both panels; their entries of the legend."""
    attacks, checkpoints = list(dict.fromkeys(points.base_attack)), checkpoints_of(rows)
    groups = dict(list(rows.groupby(["base_attack", "base_defence", "checkpoint"])))
    bases = dict.fromkeys(zip(points.base_attack, points.base_defence, strict=True))
    keys = [(*pair, checkpoint) for pair in bases for checkpoint in checkpoints if (*pair, checkpoint) in groups]
    places, handles = list(dict.fromkeys(points.place)), []
    for i, (attack, defence, checkpoint) in enumerate(keys):
        own = groups[attack, defence, checkpoint].drop_duplicates("place").set_index("place").reindex(places)
        x = np.arange(len(places)) + 0.6 * (i - (len(keys) - 1) / 2) / max(len(keys), 5)  # side by side
        colour = colours[defence or attack]
        shown = {
            "color": colour, "marker": MARKERS[attacks.index(attack) % len(MARKERS)], "ms": 6,
            "mfc": fill(colour, checkpoint, checkpoints),
            "ls": LINE_STYLES[checkpoints.index(checkpoint) % len(LINE_STYLES)] if joined else "",
            "label": ", ".join(part for part in (attack, defence, checkpoint_label(checkpoint)) if part),
        }  # fmt: skip
        blind = own.learned.eq(False)
        for place in x[blind]:
            axes[0].text(place, 0, NOT_LEARNED, rotation=90, ha="center", va="bottom", fontsize=7, color=colour)
        own.loc[blind, ["attack_success", "attack_success_low", "attack_success_high"]] = np.nan
        spans = [own.attack_success - own.attack_success_low, own.attack_success_high - own.attack_success]
        spreads = (100 * np.array(spans), 100 * own.zero_shot_sd.fillna(0))
        for axis, measure, spread in zip(axes, ("attack_success", "zero_shot"), spreads, strict=True):
            axis.errorbar(x, 100 * own[measure], yerr=spread, capsize=2, elinewidth=0.9, **shown)
        handles.append(plt.Line2D([], [], **shown))
    return handles


def numeric_axis(points: pd.DataFrame, recipes: Recipes) -> tuple[str, list[str] | None]:
    """The label of the axis and the numbers on it, where all settings are numbers of one key; else None."""
    numbers = [number(setting) for setting in dict.fromkeys(points.setting)]
    if None in numbers or len({key for key, _ in numbers}) > 1:
        return "", None
    key = numbers[0][0]
    found = next(filter(None, (meaning(key, recipes[defence]) for defence in points.base_defence)), "")
    return textwrap.fill(f"{key}: {found}" if found else key, 44), [f"{value:g}" for _, value in numbers]


def number(setting: str) -> tuple[str, float] | None:
    """Key and value of a setting that is one number, such as `pool_size 400`; None for any other."""
    key, _, value = setting.rpartition(" ")
    try:
        return (key, float(value)) if key and " " not in key else None
    except ValueError:
        return None


def meaning(key: str, recipe: Mapping[str, Mapping[str, Any]]) -> str:
    """What a setting means, without what follows a bracket, by the step that has it: `repair.epochs` says which. Else empty."""
    stage, _, name = key.rpartition(".")
    for step in (step for step in STEPS if step in recipe and stage in ("", step)):
        owners = (STEPS[step][recipe[step]["kind"]].Settings, *([TrainSettings] if step == "train" else []))
        for owner in owners:
            if name in owner.__dataclass_fields__:
                return owner.__dataclass_fields__[name].metadata["help"].partition(" (")[0]
    return OF_ATTACKS.get(key, "")


def wrapped(setting: str) -> str:
    """A setting with a line for each key."""
    return "\n".join(textwrap.fill(part, 27) for part in setting.split(", "))
