"""The embedded experiment on a GPU beside the same seeds on CPUs: is each number within what the CPUs' runs leave open?

    python -m benchmarks.gpu_result FOLDER... [--cpu results/embedded/tables/results.csv] [--out benchmarks/gpu_result.csv]

FOLDER: what benchmarks/gpu_call.sh brought back: stage.csv, the train stage itself, and embedded.csv, trainings side by side.
Only trainings that came to their end count. Of attack success the interval is the CPUs' of Clopper and Pearson, images pooled
over seeds, and the GPU has one of its own, which can overlap it where its number is outside; of an accuracy it is where the
GPU's mean lies in 95 of 100 cases if its seeds are drawn as the CPUs' were (Student's t, of the CPUs' standard deviation).
Writes percent, and prints the table for docs/benchmarks.md.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from math import isnan, nan, sqrt
from pathlib import Path
from statistics import mean

from scipy.stats import t

from benchmarks.gpu_report import rows_of
from benchmarks.page import table
from roclip.core.errors import UserError
from roclip.core.files import write_table
from roclip.reporting.intervals import clopper_pearson
from roclip.reporting.results import Row, read_results

STAGE = (  # stage.csv: what is said of a training, then columns of its history, and how fast it was
    "attack", "defence", "seed", "epochs", "targets", "tests", "epoch", "kind", "loss", "attack_success", "zero_shot",
    "pairs_per_second",
)  # fmt: skip
COLUMNS = (
    "way", "attack", "defence", "checkpoint", "measure", "gpu", "gpu_low", "gpu_high", "gpu_seeds",
    "cpu", "cpu_low", "cpu_high", "cpu_seeds", "verdict",
)  # fmt: skip
MEASURES = {"attack_success": ("target_hits", "targets"), "zero_shot": ("zero_shot_hits", "tests")}  # hits, of how many
Key = tuple[str, str, str, str]


def counted(row: dict[str, str]) -> Row:
    """A row of either table as hits among so many."""
    if "recipe" in row:
        return {"way": "side by side", **row, "defence": row["recipe"]}
    hits = {hits: round(float(row[measure]) * int(row[of])) for measure, (hits, of) in MEASURES.items()}
    return {"way": "train stage", **row, **hits}


def checkpoints(rows: list[dict[str, str]]) -> dict[Key, list[Row]]:
    """(way, attack, defence, checkpoint) -> a row for each seed whose training came to its end: that of the last such epoch."""
    runs: dict[tuple, dict[int, Row]] = defaultdict(dict)
    for row in map(counted, rows):
        runs[row["way"], row["attack"], row["defence"], row["seed"]][int(row["epoch"])] = row
    found: dict[Key, list[Row]] = defaultdict(list)
    for (way, attack, defence, _), epochs in sorted(runs.items()):
        if max(epochs) == int(epochs[max(epochs)]["epochs"]):
            last = {epochs[epoch]["kind"]: epochs[epoch] for epoch in sorted(epochs)}
            for kind in ("clip", "matching"):
                if kind in last:
                    found[way, attack, defence, f"last_{kind}"].append(last[kind])
    return found


def of_gpu(measure: str, rows: list[Row]) -> tuple[float, float, float]:
    """Attack success over the images of all seeds with its interval; of an accuracy the mean over seeds."""
    hits, n = ([int(row[column]) for row in rows] for column in MEASURES[measure])
    if measure == "attack_success":
        return sum(hits) / sum(n), *clopper_pearson(sum(hits), sum(n))
    return mean(h / of for h, of in zip(hits, n, strict=True)), nan, nan


def expected(cpu: Row, seeds: int) -> tuple[float, float]:
    """Where the number of `seeds` seeds is expected, of a row of results.csv; NaN where one seed says nothing of that."""
    if cpu["measure"] == "attack_success":
        return cpu["low"], cpu["high"]
    if cpu["seeds"] < 2:
        return nan, nan
    reach = float(t.ppf(0.975, cpu["seeds"] - 1)) * cpu["sd"] * sqrt(1 / cpu["seeds"] + 1 / seeds)
    return max(0.0, cpu["value"] - reach), min(1.0, cpu["value"] + reach)


def verdict(number: float, own: Sequence[float], low: float, high: float) -> str:
    """own: the number's interval, NaN where it has none."""
    if isnan(low):
        return "no interval"
    if low <= number <= high:
        return "inside"
    return "outside, intervals overlap" if own[0] <= high and own[1] >= low else "outside"


def compared(found: dict[Key, list[Row]], on_cpu: list[Row]) -> list[Row]:
    """The rows of the table, in percent; a measure that the CPUs' runs do not have is left out."""
    known = {(row["attack"], row["defence"], row["checkpoint"], row["measure"]): row for row in on_cpu}
    lines = []
    for (way, attack, defence, checkpoint), rows in found.items():
        for measure in MEASURES:
            if not (cpu := known.get((attack, defence, checkpoint, measure))):
                continue
            (number, *own), (low, high) = of_gpu(measure, rows), expected(cpu, len(rows))
            gpu = {"gpu": number, "gpu_low": own[0], "gpu_high": own[1]}
            shares = gpu | {"cpu": cpu["value"], "cpu_low": low, "cpu_high": high}
            lines.append({
                "way": way, "attack": attack, "defence": defence, "checkpoint": checkpoint, "measure": measure,
                **{name: "" if isnan(share) else f"{100 * share:.1f}" for name, share in shares.items()},
                "gpu_seeds": len(rows), "cpu_seeds": cpu["seeds"],
                "verdict": verdict(number, own, low, high),
            })  # fmt: skip
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--cpu", type=Path, default=Path("docs/data/cpu_embedded.csv"), help="results.csv of the CPUs' runs")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/gpu_result.csv"))
    arguments = parser.parse_args()
    rows = [row for name in ("stage.csv", "embedded.csv") for row in rows_of(arguments.folders, name)]
    try:
        lines = compared(checkpoints(rows), read_results(arguments.cpu))
        if not lines:
            raise UserError(
                f"{arguments.folders[0]}: no training there that came to its end is in {arguments.cpu}; run it again"
            )
    except UserError as error:
        parser.exit(1, f"error: {error}\n")
    write_table(arguments.out, COLUMNS, lines)
    print(table(arguments.out), end="")


if __name__ == "__main__":
    main()
