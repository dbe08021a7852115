"""Stage: draw one of the figures that come from the tables, as PDF and PNG. No number is typed in here."""

from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from roclip.atomic import atomic
from roclip.errors import UserError
from roclip.intervals import clopper_pearson
from roclip.options import option, run_stage

CHECKPOINTS = {"last_clip": "last CLIP epoch", "last_matching": "last matching epoch"}
COLOURS = sns.color_palette("colorblind")
FIGURES = ("attack_success", "utility", "saw_tooth")


@dataclass(frozen=True)
class FigureOptions:
    figure: str = option("which figure", choices=FIGURES)
    table: Path = option("measures.csv, or history.csv for the saw-tooth")
    out: Path = option("the file to write, without its suffix")


def read(path: Path) -> pd.DataFrame:
    """A table of the table stage; names stay text. Raises UserError when it is missing."""
    try:
        return pd.read_csv(
            path, dtype={"seed": str, "attack": str, "method": str}, keep_default_na=False, na_values={"value": [""]}
        )
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the table stage first") from None


def colours(methods: list[str]) -> dict[str, tuple]:
    """One colour a method, in the order in which the table names them."""
    return dict(zip(methods, COLOURS, strict=False))


def bars(axis: plt.Axes, position: float, share: float, low: float, high: float, width: float, **style) -> None:
    """A bar in percent with its interval and its number on top."""
    axis.bar(position, 100 * share, width, **style)
    axis.errorbar(position, 100 * share, [[100 * (share - low)], [100 * (high - share)]], color="black", capsize=2.5, lw=1)
    axis.annotate(
        f"{100 * share:.3g}", (position, 100 * high), xytext=(0, 2), textcoords="offset points", ha="center", fontsize=8
    )


def attack_success(measures: pd.DataFrame) -> plt.Figure:
    """Success of each attack on each method and checkpoint, with the control beside it."""
    top1 = measures[(measures.measure == "attack_success_top1") & (measures.seed == "all")].copy()
    top1["hits"] = (top1.value * top1.n).round().astype(int)
    exams = [attack for attack in dict.fromkeys(top1.attack) if attack in set(top1.exam)]
    methods = list(dict.fromkeys(top1.method))
    if not exams:
        return empty("No attack with an exam was run")
    palette = colours(methods)
    figure, axes = plt.subplots(1, len(exams), figsize=(1 + 3.6 * len(exams), 3.8), sharey=True, squeeze=False)
    for axis, exam in zip(axes[0], exams, strict=True):
        sat = top1[top1.exam == exam]
        groups = [(m, c) for m in methods for c in CHECKPOINTS if not sat[(sat.method == m) & (sat.checkpoint == c)].empty]
        for x, (method, checkpoint) in enumerate(groups):
            rows = sat[(sat.method == method) & (sat.checkpoint == checkpoint)]
            own, others = rows[rows.attack == exam], rows[rows.attack != exam]
            if not own.empty:
                bars(axis, x - 0.2, *own.iloc[0][["value", "low", "high"]], 0.38, color=palette[method])
            if not others.empty:
                hits, n = int(others.hits.sum()), int(others.n.sum())
                bars(
                    axis,
                    x + 0.2,
                    hits / n,
                    *clopper_pearson(hits, n),
                    0.38,
                    color="white",
                    edgecolor=palette[method],
                    hatch="///",
                )
        axis.set_xticks(
            range(len(groups)), [f"{m}\n{CHECKPOINTS[c].replace(' epoch', '')}\nepoch" for m, c in groups], fontsize=8
        )
        axis.set_title(f"attack: {exam}")
        axis.set_ylim(0, 112)
        axis.set_yticks(range(0, 101, 20))
    axes[0][0].set_ylabel("attack success, top 1 (%)")
    handles = [
        Patch(facecolor="grey", label="trained on the attack"),
        Patch(facecolor="white", edgecolor="grey", hatch="///", label="control: trained on another attack"),
    ]
    figure.legend(handles=handles, loc="lower center", ncols=2, frameon=False, bbox_to_anchor=(0.5, -0.06))
    return figure


def utility(measures: pd.DataFrame) -> plt.Figure:
    """Zero-shot and linear-probe accuracy of each method and checkpoint, for each attack that it was trained on."""
    kinds = {"zero_shot_top1": "zero-shot", "linear_probe": "linear probe"}
    rows = measures[measures.measure.isin(kinds) & (measures.seed == "all")]
    attacks, methods = list(dict.fromkeys(rows.attack)), list(dict.fromkeys(rows.method))
    palette = colours(methods)
    figure, axes = plt.subplots(1, 2, figsize=(1 + 2 * max(3, 1.6 * len(attacks)), 3.8), sharey=True)
    for axis, (measure, title) in zip(axes, kinds.items(), strict=True):
        found = rows[rows.measure == measure]
        groups = [
            (m, c) for m in methods for c in CHECKPOINTS if not found[(found.method == m) & (found.checkpoint == c)].empty
        ]
        width = 0.8 / len(groups)
        for i, (method, checkpoint) in enumerate(groups):
            for x, attack in enumerate(attacks):
                row = found[(found.attack == attack) & (found.method == method) & (found.checkpoint == checkpoint)].iloc[0]
                style = {"color": palette[method], "alpha": 1 if checkpoint == "last_clip" else 0.55}
                bars(axis, x + (i - (len(groups) - 1) / 2) * width, *row[["value", "low", "high"]], 0.92 * width, **style)
        axis.set_xticks(range(len(attacks)), [f"trained on\n{attack}" for attack in attacks])
        axis.set_title(title)
        axis.set_ylim(0, 112)
        axis.set_yticks(range(0, 101, 20))
    axes[0].set_ylabel("test accuracy, top 1 (%)")
    handles = [
        Patch(facecolor=palette[m], alpha=1 if c == "last_clip" else 0.55, label=f"{m}, {CHECKPOINTS[c]}") for m, c in groups
    ]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, bbox_to_anchor=(0.5, -0.06))
    return figure


def saw_tooth(history: pd.DataFrame) -> plt.Figure:
    """Attack success and zero-shot accuracy by epoch, a panel for each attack and method, matching epochs shaded."""
    history = history.assign(
        **{c: pd.to_numeric(history[c], errors="coerce") for c in ("epoch", "attack_success", "zero_shot")}
    )
    attacks, methods = list(dict.fromkeys(history.attack)), list(dict.fromkeys(history.method))
    size = (1.5 + 3.6 * len(methods), 0.8 + 2.2 * len(attacks))
    figure, axes = plt.subplots(len(attacks), len(methods), figsize=size, sharex=True, sharey=True, squeeze=False)
    lines = {"attack_success": (COLOURS[3], "o", "attack success"), "zero_shot": (COLOURS[0], "s", "zero-shot accuracy")}
    for i, attack in enumerate(attacks):
        for j, method in enumerate(methods):
            axis, rows = axes[i][j], history[(history.attack == attack) & (history.method == method)]
            for epoch in sorted(set(rows[rows.kind == "matching"].epoch)):
                axis.axvspan(epoch - 0.5, epoch + 0.5, color="0.88", lw=0)
            for column, (colour, marker, _) in lines.items():
                mean = rows.groupby("epoch")[column].mean()
                for _, seed in rows.groupby("seed"):
                    axis.plot(seed.epoch, 100 * seed[column], color=colour, lw=0.7, alpha=0.5)
                axis.plot(mean.index, 100 * mean, color=colour, marker=marker, ms=4, clip_on=False)
            axis.set_title(f"{method}, trained on {attack}", fontsize=10)
            axis.set_ylim(0, 102)
            axis.xaxis.get_major_locator().set_params(integer=True)
    for axis in axes[-1]:
        axis.set_xlabel("epoch")
    for axis in axes[:, 0]:
        axis.set_ylabel("%")
    handles = [Line2D([], [], color=c, marker=m, label=label) for c, m, label in lines.values()]
    handles.append(Patch(facecolor="0.88", label="matching epoch"))
    figure.legend(handles=handles, loc="lower center", ncols=3, frameon=False, bbox_to_anchor=(0.5, -0.06))
    return figure


def empty(message: str) -> plt.Figure:
    """A figure that says why there is nothing to show."""
    figure = plt.figure(figsize=(5, 2))
    figure.text(0.5, 0.5, message, ha="center", va="center")
    return figure


def save(figure: plt.Figure, out: Path) -> None:
    """Write OUT.pdf and OUT.png; the same figure gives the same bytes."""
    for suffix, metadata in ((".pdf", {"CreationDate": None}), (".png", {"Software": None})):
        with atomic(out.with_name(out.name + suffix)) as temporary:
            figure.savefig(temporary, dpi=160, bbox_inches="tight", metadata=metadata)
    plt.close(figure)


def run(options: FigureOptions) -> None:
    sns.set_theme(style="ticks", context="paper")
    figure = {"attack_success": attack_success, "utility": utility, "saw_tooth": saw_tooth}[options.figure](read(options.table))
    sns.despine(figure)
    figure.tight_layout()
    save(figure, options.out)


if __name__ == "__main__":
    run_stage(FigureOptions, run)
