"""Figure: how far a model has learned its pairs, clean ones and poisoned ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from roclip.core.columns import COSINES, HISTORY, MODEL
from roclip.core.deferred import Deferred
from roclip.core.words import ACRONYMS
from roclip.reporting.figures.base import Figure, has_epochs, plain_runs, read
from roclip.reporting.figures.style import CLEAN, POISONED, empty, legend_below

if TYPE_CHECKING:
    from roclip.experiment.plan import Plan

np = Deferred("numpy")
patches = Deferred("matplotlib.patches")
pd = Deferred("pandas")
plt = Deferred("matplotlib.pyplot")

BINS = 40
PAIRS = {0: (CLEAN, "clean pairs"), 1: (POISONED, "poisoned pairs")}  # by is_poison


class Cosines(Figure):
    """Cosine of image and own caption after the first, a middle and the last epoch, for clean and for poisoned pairs.

    Of the first attack and seed: the baseline, and the first other defence. What lies to the left, the model has not learned.
    Dashed lines are medians.
    """

    @classmethod
    def names(cls, plan: Plan) -> list[str]:
        return ["cosines"] if models(plan) else []

    @classmethod
    def inputs(cls, name: str, plan: Plan) -> list[str]:
        return ["tables/history.csv", *(f"models/{a}/{d}/seed{s}/cosines.csv" for a, d, s in models(plan))]

    @classmethod
    def draw(cls, name: str, plan: Plan, results: Path) -> plt.Figure:
        history, *tables = (results / path for path in cls.inputs(name, plan))
        parts = [
            read(path, COSINES).assign(attack=attack, defence=defence, seed=str(seed))
            for path, (attack, defence, seed) in zip(tables, models(plan), strict=True)
        ]
        return cosines(pd.concat(parts), read(history, (*MODEL, *HISTORY)))


def models(plan: Plan) -> list[tuple[str, str, int]]:
    """The runs that are shown, on the first attack that poisons, of one seed: the baseline and the first other defence.

    A repair sees no pair of the attack, and given weights none at all.
    """
    trained = [run for run in plain_runs(plan) if plan.models[run[1]].stage == "train" and has_epochs(plan, run[1])]
    poisoned = [run for run in trained if plan.family[run[0]] != "clean"]
    first = [run for run in poisoned if (run[0], run[2]) == (poisoned[0][0], poisoned[0][2])]
    others = [run for run in first if run[1] != plan.baseline]
    return [run for run in first if run[1] == plan.baseline] + others[:1]


def cosines(pairs: pd.DataFrame, history: pd.DataFrame) -> plt.Figure:
    """Histograms of the cosine of image and own caption, clean pairs against poisoned ones: a row a defence, by epoch.

    pairs: attack, defence, seed and the columns of cosines.csv.
    """
    if pairs.empty:
        return empty("No cosine was taken")
    defences = list(dict.fromkeys(pairs.defence))
    figure, axes = plt.subplots(
        len(defences), 3, figsize=(9.5, 0.8 + 1.9 * len(defences)), sharex=True, sharey="row", squeeze=False
    )
    low, high = pairs.cosine.min(), pairs.cosine.max()
    bins = np.linspace(low, high if high > low else low + 1, BINS + 1)
    for line, defence in zip(axes, defences, strict=True):
        draw_row(line, pairs[pairs.defence == defence], history, bins)
    for axis in axes[-1]:
        axis.set_xlabel("cosine of image and own caption")
        axis.locator_params(axis="x", nbins=4)
    handles = [patches.Patch(facecolor=colour, alpha=0.55, label=label) for colour, label in PAIRS.values()]
    legend_below(figure, [*handles, plt.Line2D([], [], color="0.3", lw=1.4, ls="--", label="median")], 3)
    return figure


def draw_row(axes: np.ndarray, pairs: pd.DataFrame, history: pd.DataFrame, bins: np.ndarray) -> None:
    """A model after its first, a middle and its last epoch; of fewer than three epochs some panels are blank."""
    model = pairs.iloc[0]
    trained = history[(history.attack == model.attack) & (history.defence == model.defence)]
    kinds = trained.drop_duplicates("epoch").set_index("epoch").kind
    epochs = sorted(set(pairs.epoch))
    chosen = list(dict.fromkeys((epochs[0], epochs[(len(epochs) - 1) // 2], epochs[-1])))
    for axis in axes[len(chosen) :]:
        axis.set_axis_off()
    for axis, epoch in zip(axes, chosen, strict=False):
        histograms(axis, pairs[pairs.epoch == epoch], bins)
        axis.set_title(f"{model.defence}, after epoch {epoch:g} ({ACRONYMS.get(kinds[epoch], kinds[epoch])})", fontsize=9)
    axes[0].set_ylabel("pairs of the kind (%)")


def histograms(axis: plt.Axes, pairs: pd.DataFrame, bins: np.ndarray) -> None:
    """Clean and poisoned pairs of one epoch, each in percent of its own kind, with their medians."""
    for is_poison, (colour, label) in PAIRS.items():
        found = pairs[pairs.is_poison == is_poison].cosine
        if found.empty:
            continue
        axis.hist(found, bins, weights=np.full(len(found), 100 / len(found)), color=colour, alpha=0.55, label=label)
        axis.axvline(found.median(), color=colour, lw=1.4, ls="--")
