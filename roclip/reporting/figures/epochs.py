"""Figures of what happens during training: the saw-tooth, the cosines of pairs, and what is drawn from the pool.

Drawn from history.csv and the models' cosines.csv.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from roclip.reporting.figures.style import COLOURS, MATCHING, empty, grid, is_base, label_edges, legend_below, palette

LINES = {
    "attack_success": (COLOURS[3], "o", "attack success, top 1"),
    "zero_shot": (COLOURS[0], "s", "zero-shot accuracy, top 1"),
}
DRAWN = {
    "poisons_in_pool": "poisoned captions in the pool (%)",
    "adversary_captions": "poisoned images that draw a caption\nof the adversary's class (%; dots: by chance)",
    "own_captions": "images that draw their own caption (%)",
    "distinct_neighbours": "distinct captions drawn in a batch (%)",
    "pool_age": "mean age of a caption in the pool (steps)",
}
BINS = 40
LINE_STYLES = ("-", "--", ":", "-.")


def panels(history: pd.DataFrame, sweeps: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Title, attack and method of each panel of the saw-tooth: sweeps of match_every alone, or all that are no variants."""
    points = sweeps[sweeps.setting.str.fullmatch(r"match_every \d+")].drop_duplicates(["attack", "method"])
    if points.empty:
        models = dict.fromkeys(zip(history.attack, history.method, strict=True))
        return [(f"{m}, trained on {a}", a, m) for a, m in models if is_base(a) and is_base(m)]
    several = [column for column in ("base_attack", "base_method") if points[column].nunique() > 1]
    return [
        ("\n".join([*(getattr(p, column) for column in several), p.setting]), p.attack, p.method) for p in points.itertuples()
    ]


def saw_tooth(history: pd.DataFrame, sweeps: pd.DataFrame) -> plt.Figure:
    """Attack success and zero-shot accuracy by epoch, matching epochs shaded; thin lines are seeds, thick ones their mean."""
    shown = panels(history, sweeps)
    figure, axes = grid(len(shown), 3, 2.3, sharex=True, sharey=True)
    for axis, (title, attack, method) in zip(axes, shown, strict=True):
        rows = history[(history.attack == attack) & (history.method == method)]
        for epoch in sorted(set(rows[rows.kind == "matching"].epoch)):
            axis.axvspan(epoch - 0.5, epoch + 0.5, color=MATCHING, lw=0, label="matching")
        for column, (colour, marker, _) in LINES.items():
            for _, seed in rows.groupby("seed"):
                axis.plot(seed.epoch, 100 * seed[column], color=colour, lw=0.7, alpha=0.5)
            mean = 100 * rows.groupby("epoch")[column].mean()
            axis.plot(mean.index, mean, color=colour, marker=marker, ms=3.5, clip_on=False, label=column)
        axis.set_title(title, fontsize=9)
        axis.set_ylim(0, 102)
        axis.set_yticks(range(0, 101, 25))
        axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    label_edges(axes, "epoch", "share of images (%)")
    handles = [Line2D([], [], color=c, marker=m, ms=3.5, label=label) for c, m, label in LINES.values()]
    handles.append(Patch(facecolor=MATCHING, label="matching epoch"))
    legend_below(figure, handles, 3 if len(shown) > 1 else 1)
    return figure


def cosines(pairs: pd.DataFrame, history: pd.DataFrame) -> plt.Figure:
    """Histograms of the cosine of image and own caption, clean pairs against poisoned ones: a row a method, by epoch.

    pairs: attack, method, seed and the columns of cosines.csv.
    """
    methods = list(dict.fromkeys(pairs.method))
    figure, axes = plt.subplots(
        len(methods), 3, figsize=(9.5, 0.8 + 1.9 * len(methods)), sharex=True, sharey="row", squeeze=False
    )
    low, high = pairs.cosine.min(), pairs.cosine.max()
    bins = np.linspace(low, high if high > low else low + 1, BINS + 1)
    kinds = {0: (COLOURS[0], "clean pairs"), 1: (COLOURS[3], "poisoned pairs")}
    for line, method in zip(axes, methods, strict=True):
        own = pairs[pairs.method == method]
        epochs = sorted(set(own.epoch))
        trained = history[(history.method == method) & (history.attack == own.attack.iloc[0])]
        chosen = list(dict.fromkeys((epochs[0], epochs[(len(epochs) - 1) // 2], epochs[-1])))
        for axis in line[len(chosen) :]:  # of a training of fewer than three epochs
            axis.set_axis_off()
        for axis, epoch in zip(line, chosen, strict=False):
            for is_poison, (colour, label) in kinds.items():
                found = own[(own.epoch == epoch) & (own.is_poison == is_poison)].cosine
                if found.empty:
                    continue
                weights = np.full(len(found), 100 / len(found))
                axis.hist(found, bins, weights=weights, color=colour, alpha=0.55, label=label)
                axis.axvline(found.median(), color=colour, lw=1.4, ls="--")
            kind = "matching" if "matching" in set(trained[trained.epoch == epoch].kind) else "CLIP"
            axis.set_title(f"{method}, after epoch {epoch:g} ({kind})", fontsize=9)
        line[0].set_ylabel("pairs of the kind (%)")
    for axis in axes[-1]:
        axis.set_xlabel("cosine of image and own caption")
        axis.locator_params(axis="x", nbins=4)
    handles = [Patch(facecolor=colour, alpha=0.55, label=label) for colour, label in kinds.values()]
    legend_below(figure, [*handles, Line2D([], [], color="0.3", lw=1.4, ls="--", label="median")], 3)
    return figure


def telemetry(history: pd.DataFrame) -> plt.Figure:
    """What matching epochs draw from the pool, a panel a measure and a line for each attack and method that matches.

    The mean over seeds.
    """
    rows = history[history.attack.map(is_base) & history.method.map(is_base) & (history.kind == "matching")]
    if rows.empty:
        return empty("No method has matching epochs")
    attacks, methods = list(dict.fromkeys(rows.attack)), list(dict.fromkeys(rows.method))
    # colours for what there is more of, line styles for the other
    by_attack = len(attacks) >= len(methods)
    colours = palette(attacks if by_attack else methods)
    styles = {name: LINE_STYLES[i % len(LINE_STYLES)] for i, name in enumerate(methods if by_attack else attacks)}
    figure, axes = grid(len(DRAWN), 3.2, 2.3, sharex=True)
    handles = []
    for (attack, method), own in rows.groupby(["attack", "method"], sort=False):
        colour, style = colours[attack if by_attack else method], styles[method if by_attack else attack]
        chance = 100 * own.groupby("epoch").adversary_captions_by_chance.mean()
        axes[list(DRAWN).index("adversary_captions")].plot(chance.index, chance, color=colour, ls=(0, (1, 2)), label="chance")
        for axis, column in zip(axes, DRAWN, strict=True):
            mean = own.groupby("epoch")[column].mean() * (1 if column == "pool_age" else 100)
            axis.plot(mean.index, mean, color=colour, ls=style, marker="o", ms=3.5, label=f"{method}, trained on {attack}")
        handles.append(Line2D([], [], color=colour, ls=style, marker="o", ms=3.5, label=f"{method}, trained on {attack}"))
    for axis, title in zip(axes, DRAWN.values(), strict=True):
        axis.set_title(title, fontsize=9)
        axis.set_ylim(0, 1.1 * axis.get_ylim()[1])
        axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    label_edges(axes, "matching epoch", "")
    legend_below(figure, handles, 3)
    return figure
