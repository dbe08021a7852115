"""Attacks of config/rivals.yaml against its defences, over all seeds: intervals, comparisons at equal accuracy, and the figure.

They were run attack by attack and in parts, so no experiment has all of them. Reads docs/data/rivals_seeds.csv, rivals.csv
(every epoch) and, of targeted poisoning, whose first seeds are kept as means alone, rivals_results.csv. Writes
docs/data/rivals_intervals.csv, after training; docs/data/rivals_equal.csv; docs/images/rivals.png.
"""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import yaml

from attacks import ATTACKS
from roclip.core.files import write_table
from roclip.experiment.config import check
from roclip.experiment.files import read_config
from roclip.experiment.plan import Plan
from roclip.reporting.equal_accuracy import comparisons
from roclip.reporting.figures.matrix import matrix
from roclip.reporting.figures.style import DPI, STYLE
from roclip.reporting.intervals import clopper_pearson
from roclip.reporting.learned import useful_above
from roclip.reporting.results import TARGETED
from roclip.reporting.significance import holm
from roclip.reporting.trainings import Count, interval

ROOT = Path(__file__).parent.parent
DATA = ROOT / "docs/data"
AS_MEANS = "targeted"  # the attack of which rivals_results.csv has the mean over some seeds
CLASSES = 200  # of the default world
TESTED, VALIDATED = 2500, 1000  # images that accuracy is of, in the end and after each epoch
COMPARED, OTHERS = ("roclip", "safeclip"), ("half", "clip_augmented")  # at equal accuracy
KEYS = ["attack", "defence", "checkpoint"]
INTERVALS = (*KEYS, "seeds", "attack_success", "low", "high", "zero_shot")
EQUAL = (
    "attack", "defence", "kind", "other", "accuracy", "success", "other_success", "difference", "low", "high", "p",
    "p_corrected", "reached", "seeds",
)  # fmt: skip


def judged(plan: Plan) -> dict[str, int]:
    """By attack the images that a training is judged on."""
    counts = {name: "targets" if plan.family[name] == TARGETED else "evaluation_images" for name in plan.attacks()}
    return {name: plan.attack[name][count] for name, count in counts.items()}


def intervals(plan: Plan) -> Iterator[dict[str, Any]]:
    """Success and accuracy of each model: over the trainings of a backdoor, over all targets of a targeted attack."""
    by_seed = pd.read_csv(DATA / "rivals_seeds.csv").assign(seeds=1)
    means = pd.read_csv(DATA / "rivals_results.csv")
    means = means[means.attack == AS_MEANS].pivot(index=[*KEYS, "seeds"], columns="measure", values="value").reset_index()
    images = judged(plan)
    for key, rows in pd.concat([by_seed, means]).groupby(KEYS, sort=False):
        sizes = rows.seeds * images[key[0]]
        counts = [Count(round(share * n), n) for share, n in zip(rows.attack_success, sizes, strict=True)]
        hits, n = map(sum, zip(*counts, strict=True))
        low, high = clopper_pearson(hits, n) if plan.family[key[0]] == TARGETED else interval(counts)
        accuracy = (rows.zero_shot * rows.seeds).sum() / rows.seeds.sum()
        yield dict(zip(INTERVALS, (*key, rows.seeds.sum(), hits / n, low, high, accuracy), strict=True))


def equal(plan: Plan) -> Iterator[dict[str, Any]]:
    """RoCLIP and SafeCLIP beside what only augments, at the accuracy that all recipes reached; Holm over those of an attack."""
    with open(DATA / "rivals.csv", newline="") as file:
        history = list(csv.DictReader(file))
    for attack, comparison in comparisons(history, CLASSES, VALIDATED, judged(plan)).items():
        rows = [row for row in comparison.differences(attack) if row["at"] == "common" and row["reached"]]
        rows = [row for row in rows if row["defence"] in COMPARED and row["other"] in OTHERS]
        for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
            yield {key: (row | {"p_corrected": p})[key] for key in EQUAL}


def written(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: f"{value:.6f}" if isinstance(value, float) else value for key, value in row.items()}


def main() -> None:
    """Writes both tables and draws the figure."""
    given = yaml.safe_load((ROOT / "config/rivals.yaml").read_text())
    _, plan = check(read_config(ROOT, given, []), ATTACKS)
    order = {"attack": given["attacks"], "defence": given["defences"]}
    rows = sorted(intervals(plan), key=lambda row: [names.index(row[key]) for key, names in order.items()])
    write_table(DATA / "rivals_intervals.csv", INTERVALS, map(written, rows))
    write_table(DATA / "rivals_equal.csv", EQUAL, map(written, equal(plan)))
    drawn = pd.DataFrame(rows)
    with plt.rc_context(STYLE):
        figure = matrix(drawn.assign(learned=drawn.zero_shot > useful_above(CLASSES, TESTED)), given["controls"])
        figure.savefig(ROOT / "docs/images/rivals.png", dpi=DPI, bbox_inches="tight", metadata={"Software": None})


if __name__ == "__main__":
    main()
