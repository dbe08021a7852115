"""Draws attack success against clean accuracy along the epochs from the tables in docs/data, and prints what they say.

python -m benchmarks.equal_accuracy writes docs/images/equal_accuracy.png (CIFAR-100), controls.png and flickr8k.png, and prints
success at equal accuracy, and RoCLIP's minus that of the others; p values are not corrected for the number of comparisons.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd

from benchmarks.gpu_report import share
from roclip.core.files import read_table
from roclip.reporting.equal_accuracy import Comparison, comparisons
from roclip.reporting.equal_claims import HEADINGS, equal_table
from roclip.reporting.figures.equal_accuracy import equal_accuracy
from roclip.reporting.figures.style import DPI, STYLE
from roclip.reporting.gather import with_six_digits
from roclip.reporting.learned import useful_above

DOCS = Path(__file__).parent.parent / "docs"
TARGETS = 16  # of each training under a targeted attack
ROCLIP = "RoCLIP, nearest pool captions"
LABELS = {  # the recipes of docs/data/photos.csv, and how they are called
    "clip": "CLIP",
    "roclip": ROCLIP,
    "half": "half: augmented, half the epochs, no pool",
    "nothing": "RoCLIP, matching epochs skipped",
    "random": "RoCLIP, random pool captions",
    "clip_augmented": "CLIP, augmented",
}


@dataclass(frozen=True)
class Drawn:
    """A picture and its table; panels: attacks by their titles; images: how many accuracy is measured on."""

    table: str
    picture: str
    panels: Mapping[str, str]
    classes: int
    images: int


def by_strength(*numbers: int, default: int) -> dict[str, str]:
    """The attack `targeted` at several numbers of captions a target; one of them is not named."""
    return {
        f"targeted, captions_per_target {n}": "targeted" if n == default else f"targeted~captions_per_target~{n}"
        for n in numbers
    }


PHOTOS = Drawn("photos", "equal_accuracy", {f"{n} poisoned pairs a target": f"targeted{n}" for n in (5, 15, 60)}, 100, 10_000)
CONTROLS = Drawn("controls", "controls", by_strength(20, 40, 80, default=80), 200, 1000)
FLICKR8K = Drawn("flickr8k", "flickr8k", by_strength(15, 60, default=15), 20, 418)


def history(drawn: Drawn) -> list[dict[str, Any]]:
    """The rows of a table as those of history.csv, of the attacks that are drawn."""
    path, keys = DOCS / f"data/{drawn.table}.csv", ("attack", "seed", "epoch", "kind")
    if drawn is PHOTOS:
        rows = of_gpu_runs(read_table(path, (*keys, "recipe")))
    else:
        rows = read_table(path, (*keys, "defence", "zero_shot", "attack_success"))
        rows = [row | {name: float(row[name]) for name in ("zero_shot", "attack_success")} for row in rows]
    return [row | {"epoch": int(row["epoch"])} for row in rows if row["attack"] in drawn.panels.values()]


def of_gpu_runs(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    """The rows of `LABELS`, in their order."""
    shares = (("zero_shot", "zero_shot_hits", "tests"), ("attack_success", "target_hits", "targets"))
    return [
        {**{key: row[key] for key in ("attack", "seed", "epoch", "kind")}, "defence": label}
        | {name: share(row, hits, n) for name, hits, n in shares}
        for recipe, label in LABELS.items()
        for row in rows
        if row["recipe"] == recipe
    ]


def compared(drawn: Drawn) -> dict[str, Comparison]:
    """By attack its comparison."""
    return comparisons(history(drawn), drawn.classes, drawn.images, dict.fromkeys(drawn.panels.values(), TARGETS))


def draw(drawn: Drawn) -> None:
    common = {attack: mean(comparison.common().values()) for attack, comparison in compared(drawn).items()}
    with plt.rc_context(STYLE):
        floor = useful_above(drawn.classes, drawn.images)
        figure = equal_accuracy(pd.DataFrame(history(drawn)), drawn.panels, floor, common)
        figure.savefig(DOCS / f"images/{drawn.picture}.png", dpi=DPI, bbox_inches="tight", metadata={"Software": None})


def say(drawn: Drawn) -> None:
    both = compared(drawn).items()
    print(f"\n{drawn.table}")
    for cells in (HEADINGS, *equal_table(with_six_digits(row for attack, its in both for row in its.rows(attack)))):
        print(" | ".join(cells[:4]))  # of the end there is no other evaluation
    for row in (row for attack, its in both for row in its.differences(attack)):
        if row["at"] == "common" and row["defence"] in ("roclip", ROCLIP) and row["reached"]:
            points = ", ".join(f"{100 * row[name]:.0f}" for name in ("difference", "low", "high"))
            print(f"{row['attack']}, after {row['kind']} epochs: {row['defence']} minus {row['other']}: {points},", end=" ")
            print(f"p {row['p']:.4f}, {row['reached']} of {row['seeds']} seeds")


if __name__ == "__main__":
    for one in (PHOTOS, CONTROLS, FLICKR8K):
        draw(one)
        say(one)
