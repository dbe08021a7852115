"""Draws attack success against clean accuracy along the epochs, from docs/data/photos.csv: docs/images/equal_accuracy.png.

python -m benchmarks.equal_accuracy
"""

from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd

from benchmarks.gpu_report import share
from roclip.core.files import read_table
from roclip.reporting.equal_accuracy import Comparison, main_kinds, points_of
from roclip.reporting.equal_claims import HEADINGS, equal_table
from roclip.reporting.figures.equal_accuracy import equal_accuracy
from roclip.reporting.figures.style import DPI, STYLE
from roclip.reporting.gather import six_digits
from roclip.reporting.learned import learned_above

DOCS = Path(__file__).parent.parent / "docs"
CLASSES, TESTS, TARGETS = 100, 10_000, 16  # CIFAR-100's classes and test images, and the targets of each training
STRENGTHS = {"5 poisoned pairs a target": "targeted5", "15": "targeted15", "60": "targeted60"}
LABELS = {  # what is drawn, and how it is called
    "clip": "CLIP",
    "roclip": "RoCLIP, nearest pool captions",
    "half": "half: augmented, half the epochs, no pool",
    "nothing": "RoCLIP, matching epochs skipped",
    "random": "RoCLIP, random pool captions",
    "clip_augmented": "CLIP, augmented",
}


def history(path: Path) -> list[dict[str, Any]]:
    """The rows of a table of GPU runs as those of history.csv, in the order of `LABELS`."""
    rows = read_table(path, ("attack", "recipe", "seed", "epoch", "kind"))
    shares = (("zero_shot", "zero_shot_hits", "tests"), ("attack_success", "target_hits", "targets"))
    return [
        {**{key: row[key] for key in ("attack", "seed", "kind")}, "defence": label, "epoch": int(row["epoch"])}
        | {name: share(row, hits, n) for name, hits, n in shares}
        for recipe, label in LABELS.items()
        for row in rows
        if row["recipe"] == recipe and row["attack"] in STRENGTHS.values()
    ]


def comparisons(rows: list[dict[str, Any]]) -> dict[str, Comparison]:
    """By attack its comparison."""
    given = main_kinds(rows), learned_above(CLASSES, TESTS), TARGETS
    return {attack: Comparison(curves, *given) for attack, curves in points_of(rows).items()}


def main() -> None:
    rows = history(DOCS / "data/photos.csv")
    compared = comparisons(rows)
    common = {attack: mean(comparison.common().values()) for attack, comparison in compared.items()}
    with plt.rc_context(STYLE):
        figure = equal_accuracy(pd.DataFrame(rows), STRENGTHS, learned_above(CLASSES, TESTS), common)
        figure.savefig(DOCS / "images/equal_accuracy.png", dpi=DPI, bbox_inches="tight", metadata={"Software": None})
    found = six_digits(row for attack, comparison in compared.items() for row in comparison.rows(attack))
    for cells in (HEADINGS, *equal_table(found)):
        print(" | ".join(cells[:-2]))  # of the end there is no other evaluation


if __name__ == "__main__":
    main()
