"""Figures of what the trained models can do: attack success, utility, and both along a sweep. Drawn from results.csv."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from roclip.reporting.figures.style import empty, grid, is_base, label_edges, legend_below, palette
from roclip.reporting.labels import CHECKPOINTS

SHARES = {
    "success": "trained on the attack, with 95% interval",
    "control": "control: trained on no attack or one of another family",
}
REFERENCE = ("clip", "last_clip")  # method and checkpoint against which the price of a defence is counted
AXES = {
    "captions_per_target": "captions_per_target (poisoned pairs of each target image)",
    "match_every": "match_every (epochs; 0: never)",
    "pool_size": "pool_size (captions)",
    "poisons": "poisons (poisoned pairs)",
}  # settings that have a unit
MARKERS = "osD^vPX*"


def base_rows(results: pd.DataFrame) -> pd.DataFrame:
    return results[results.attack.map(is_base) & results.method.map(is_base)]


def models_of(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """The methods with their checkpoints, in the order in which the table names the methods."""
    there = set(zip(rows.method, rows.checkpoint, strict=True))
    return [(m, c) for m in dict.fromkeys(rows.method) for c in CHECKPOINTS if (m, c) in there]


def attack_success(results: pd.DataFrame) -> plt.Figure:
    """A panel an attack: success on each method and checkpoint as a bar with its interval, and below it the control."""
    rows = base_rows(results)
    rows = rows[rows.success.notna()]
    if rows.empty:
        return empty("No attack with an exam was run")
    attacks, models = list(dict.fromkeys(rows.attack)), models_of(rows)
    colours = palette(base_rows(results).method)
    figure, axes = grid(len(attacks), 3.2, 1 + 0.5 * len(models), sharex=True, sharey=True)
    for axis, attack in zip(axes, attacks, strict=True):
        for row in rows[rows.attack == attack].itertuples():
            y, colour = models.index((row.method, row.checkpoint)), colours[row.method]
            for name, place in zip(SHARES, (y - 0.2, y + 0.2), strict=True):
                share, low, high = (100 * getattr(row, name + end) for end in ("", "_low", "_high"))
                if np.isnan(share):
                    continue
                style = {"color": colour} if name == "success" else {"color": "white", "edgecolor": colour, "hatch": "////"}
                axis.barh(place, share, 0.36, label=f"{name} {row.method} {row.checkpoint}", **style)
                # a marker, for a bar of nothing cannot be seen
                axis.errorbar(
                    share, place, xerr=[[share - low], [high - share]], color="black", capsize=2, lw=0.9, marker="o", ms=4,
                    mfc=colour if name == "success" else "white", mec=colour,
                )  # fmt: skip
                axis.annotate(
                    f"{share:.1f}", (high, place), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7.5
                )
        for y in set(range(len(models))) - {models.index((m, c)) for m, c in models_of(rows[rows.attack == attack])}:
            axis.annotate("not run", (0, y), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7.5, color="0.5")
        axis.set_title(f"attack: {attack}")
        axis.grid(axis="x", color="0.92")
    axes[0].set_yticks(range(len(models)), [f"{m}\n{CHECKPOINTS[c]}" for m, c in models])
    axes[0].set_ylim(len(models) - 0.5, -0.5)
    axes[0].set_xlim(0, 119)  # room for the numbers; a share ends at 100
    axes[0].set_xticks(range(0, 101, 25))
    label_edges(axes, "attack success, top 1 (%)", "")
    handles = [Patch(facecolor="0.4", label=SHARES["success"])]
    if rows.control.notna().any():
        handles.append(Patch(facecolor="white", edgecolor="0.4", hatch="////", label=SHARES["control"]))
    legend_below(figure, handles, 2 if len(attacks) > 1 else 1)
    return figure


def utility(results: pd.DataFrame) -> plt.Figure:
    """Zero-shot and linear-probe accuracy, a band of points for each attack; a line from plain CLIP is a method's price."""
    kinds = {"zero_shot": "zero-shot accuracy, top 1 (%)", "linear_probe": "linear-probe accuracy, top 1 (%)"}
    rows = base_rows(results)
    rows = rows[rows[list(kinds)].notna().any(axis=1)]
    if rows.empty:
        return empty("No accuracy was measured")
    models, colours = models_of(rows), palette(rows.method)
    lines, middles = [], {}  # one line for each point, attack after attack with a gap between
    for attack, band in rows.groupby("attack", sort=False):
        start = lines[-1][0] + 2 if lines else 0
        band = sorted(band.itertuples(), key=lambda row: models.index((row.method, row.checkpoint)))
        lines += [(start + i, row) for i, row in enumerate(band)]
        middles[attack] = start + (len(band) - 1) / 2
    figure, axes = plt.subplots(1, 2, figsize=(9, 1.3 + 0.2 * (lines[-1][0] + 2)), sharey=True)
    references = {row.attack: row for _, row in lines if (row.method, row.checkpoint) == REFERENCE}
    for axis, (kind, title) in zip(axes, kinds.items(), strict=True):
        for y, row in lines:
            value, spread = 100 * getattr(row, kind), 100 * getattr(row, f"{kind}_sd")
            if np.isnan(value):
                continue
            text, reference = f"{value:.1f}", 100 * getattr(references.get(row.attack), kind, np.nan)
            if not np.isnan(reference) and (row.method, row.checkpoint) != REFERENCE:
                axis.plot([reference, value], [y, y], color=colours[row.method], lw=1, alpha=0.6, zorder=1)
                text += f" ({value - reference:+.1f})".replace("-", "−")
            axis.errorbar(
                value, y, xerr=None if np.isnan(spread) else spread, color=colours[row.method], marker="o", ms=6, capsize=2,
                mfc=colours[row.method] if row.checkpoint == "last_clip" else "white", label=f"{row.method} {row.checkpoint}",
            )  # fmt: skip
            right = max(value + (0 if np.isnan(spread) else spread), reference if value < reference else value)
            axis.annotate(text, (right, y), xytext=(7, 0), textcoords="offset points", va="center", fontsize=7.5)
        axis.set_xlabel(title)
        axis.grid(axis="x", color="0.92")
        axis.margins(x=0.06)
        left, right = axis.get_xlim()
        axis.set_xlim(left, right + 0.25 * (right - left))  # room for the numbers
        axis.set_xticks([tick for tick in axis.get_xticks() if left <= tick <= 100.001])
    axes[0].set_yticks(list(middles.values()), [f"trained on\n{attack}" for attack in middles])
    axes[0].set_ylim(lines[-1][0] + 1, -1)
    handles = [
        Line2D([], [], color=colours[m], marker="o", ls="", mfc=colours[m] if c == "last_clip" else "white",
               label=f"{m}, {CHECKPOINTS[c]}")
        for m, c in models
    ]  # fmt: skip
    if references:
        handles.append(Line2D([], [], color="0.5", lw=1, label="with the number in brackets:\nprice against clip, points"))
    legend_below(figure, handles, 3)
    return figure


def number(setting: str) -> tuple[str, float] | None:
    """Key and value of a setting that is one number, such as `pool_size 400`; None for any other."""
    key, _, value = setting.rpartition(" ")
    try:
        return (key, float(value)) if key and " " not in key else None
    except ValueError:
        return None


def sweep(results: pd.DataFrame, sweeps: pd.DataFrame, name: str) -> plt.Figure:
    """Attack success and zero-shot accuracy by setting, a series for each base attack, base method and checkpoint.

    A sweep without axes compares methods, so these take the place of the settings. Lines join settings that are numbers.
    """
    points = sweeps[sweeps.sweep == name]
    by_method = not points.setting.any()
    points = points.assign(place=points.base_method if by_method else points.setting)
    if by_method:
        points = points.assign(base_method="")
    places = list(dict.fromkeys(points.place))
    numbers = [number(place) for place in places]
    joined = None not in numbers and len({key for key, _ in numbers}) == 1
    rows = points.merge(results, on=["attack", "method"])
    if rows.empty:
        return empty(f"Nothing of the sweep {name} was measured")
    series = [
        (*key, checkpoint)
        for key in dict.fromkeys(zip(points.base_attack, points.base_method, strict=True))
        for checkpoint in CHECKPOINTS
        if ((rows.base_attack == key[0]) & (rows.base_method == key[1]) & (rows.checkpoint == checkpoint)).any()
    ]
    attacks = list(dict.fromkeys(points.base_attack))
    colours = palette(points.base_attack if by_method else points.base_method)
    if joined:
        figure, axes = plt.subplots(1, 2, figsize=(3.2 + 1.2 * max(len(places), 4), 3.3))
    else:  # settings in words need room
        figure, axes = plt.subplots(2, 1, figsize=(1 + 1.7 * max(len(places), 3), 5.2), sharex=True)
    handles = []
    for i, (attack, method, checkpoint) in enumerate(series):
        own = rows[(rows.base_attack == attack) & (rows.base_method == method) & (rows.checkpoint == checkpoint)]
        own = own.drop_duplicates("place").set_index("place").reindex(places)
        x = np.arange(len(places)) + 0.6 * (i - (len(series) - 1) / 2) / max(len(series), 5)  # side by side
        colour = colours[attack if by_method else method]
        style = {
            "color": colour, "marker": MARKERS[attacks.index(attack) % len(MARKERS)], "ms": 6, "capsize": 2, "elinewidth": 0.9,
            "mfc": colour if checkpoint == "last_clip" else "white",
            "ls": ("-" if checkpoint == "last_clip" else "--") if joined else "",
            "label": ", ".join(part for part in (f"{attack}", method, CHECKPOINTS[checkpoint]) if part),
        }  # fmt: skip
        spans = [own.success - own.success_low, own.success_high - own.success]
        axes[0].errorbar(x, 100 * own.success, yerr=100 * np.array(spans), **style)
        axes[1].errorbar(x, 100 * own.zero_shot, yerr=100 * own.zero_shot_sd.fillna(0), **style)
        handles.append(Line2D([], [], **{key: style[key] for key in ("color", "marker", "ms", "mfc", "ls", "label")}))
    labels = [f"{value:g}" for _, value in numbers] if joined else [wrapped(place) for place in places]
    for axis, title in zip(axes, ("attack success, top 1 (%)", "zero-shot accuracy, top 1 (%)"), strict=True):
        axis.set_xticks(range(len(places)), labels, fontsize=8)
        axis.set_xlim(-0.5, len(places) - 0.5)
        axis.set_ylim(-4, 104)
        axis.set_yticks(range(0, 101, 25))
        axis.set_ylabel(title, fontsize=8)
        axis.grid(axis="y", color="0.92")
        if joined:
            axis.set_xlabel(AXES.get(numbers[0][0], numbers[0][0]))
    legend_below(figure, handles, 2 if len(handles) < 9 else 3)
    return figure


def wrapped(setting: str) -> str:
    """A setting with a line for each key."""
    return "\n".join(textwrap.fill(part, 27) for part in setting.split(", "))
