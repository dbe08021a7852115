"""Draws attack success against clean accuracy along the epochs, from docs/data/photos.csv: docs/images/equal_accuracy.png.

python -m benchmarks.equal_accuracy
"""

import csv
from pathlib import Path
from statistics import mean

import matplotlib.pyplot as plt

from benchmarks.gpu_report import runs_of, share

HERE = Path(__file__).parent
STRENGTHS = {"targeted5": "5 poisoned pairs a target", "targeted15": "15", "targeted60": "60"}
RECIPES = {  # what is drawn of each, and how it is called
    "clip": ("0.55", "CLIP"),
    "clip_augmented": ("tab:brown", "CLIP, augmented"),
    "half": ("tab:blue", "half: augmented, half the epochs, no pool"),
    "nothing": ("tab:cyan", "RoCLIP, matching epochs skipped"),
    "random": ("tab:orange", "RoCLIP, random pool captions"),
    "roclip": ("tab:red", "RoCLIP, nearest pool captions"),
}


def curve(seeds: dict[str, list[dict[str, str]]]) -> tuple[list[float], list[float]]:
    """Mean zero-shot accuracy and attack success over seeds, by epoch of the kind clip."""
    epochs = zip(*([row for row in rows if row["kind"] == "clip"] for rows in seeds.values()), strict=True)
    points = [
        (mean(share(r, "zero_shot_hits", "tests") for r in rows), mean(share(r, "target_hits", "targets") for r in rows))
        for rows in epochs
    ]
    return [100 * x for x, _ in points], [100 * y for _, y in points]


def main() -> None:
    with open(HERE.parent / "docs/data/photos.csv", newline="") as file:
        runs = runs_of(list(csv.DictReader(file)))
    figure, axes = plt.subplots(1, len(STRENGTHS), figsize=(11, 4.2), sharey=True, layout="constrained")
    for axis, (attack, title) in zip(axes, STRENGTHS.items(), strict=True):
        for recipe, (colour, label) in RECIPES.items():
            x, y = curve(runs[attack, recipe])
            axis.plot(x, y, color=colour, lw=1.5, alpha=0.8)
            axis.plot(x[-1], y[-1], "o", color=colour, label=label)
        axis.axvline(1, color="0.8", lw=1)
        axis.set(title=title, xlabel="zero-shot accuracy on clean photographs (%)")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].text(1.3, 96, "chance", color="0.5", fontsize=8)
    axes[0].set_ylabel("targets taken for the adversary's class (%)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(HERE.parent / "docs/images/equal_accuracy.png", dpi=110)


if __name__ == "__main__":
    main()
