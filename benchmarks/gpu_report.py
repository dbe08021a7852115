"""Tables of what benchmarks/gpu_call.sh and gpu_photos.sh brought back, predictions beside measurements.

    python -m benchmarks.gpu_report FOLDER...

Folders of several calls are read as one.
"""

import csv
import sys
from collections import defaultdict
from math import isnan
from pathlib import Path
from statistics import mean

from roclip.reporting.equal_accuracy import rising, success_at

# written down before any measurement: pairs/s of RN50 at 224 pixels, batches of 512, bf16, on an H100
PREDICTED = {
    ("this project", "loop", "0", "device", "clip", "clip"): "2450 +- 100: measured with patches that are the code now",
    ("this project", "loop", "1", "device", "clip", "clip"): "4000 +- 300: 3504 were measured, with all 77 tokens",
    ("this project", "micro 256", "0", "device", "clip", "clip"): "1850 +- 150, 18 GB",
    ("this project", "micro 128", "0", "device", "clip", "clip"): "1800 +- 150, 10 GB",
    ("this project", "loop", "0", "device", "roclip", "matching"): "1/.78 of the CLIP epoch",
    ("pool search", "", "", "", "", ""): "0.5 ms",
}
LEVELS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35)  # of zero-shot accuracy, at which success is compared


def rows_of(folders: list[Path], name: str) -> list[dict[str, str]]:
    found = []
    for folder in folders:
        if (folder / name).exists():
            with open(folder / name, newline="") as file:
                found += [row for row in csv.DictReader(file) if None not in row.values()]
    return found


def benchmarks(rows: list[dict[str, str]]) -> None:
    keys = ("loop", "mode", "compiled", "images", "method", "epoch")
    for row in rows:
        what = tuple(row[key] for key in keys)
        print(
            f"{row['loop']:36.36} {row['mode']:8} {row['compiled']:2} {row['images']:7} {row['method']:7} {row['epoch']:9}"
            f"{row['pairs_per_second']:>7} {row['share_of_limit']:>6} {row['peak_gb']:>6} GB {row['first_steps_s']:>6}  "
            f"{'predicted ' + PREDICTED[what] if what in PREDICTED else ''} {row['note'][:140]}"
        )


def runs_of(rows: list[dict[str, str]]) -> dict[tuple[str, str], dict[str, list[dict]]]:
    """(attack, recipe) -> seed -> its rows by epoch."""
    found: dict = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        found[row["attack"], row["recipe"]][row["seed"]][int(row["epoch"])] = row
    return {run: {seed: [e[n] for n in sorted(e)] for seed, e in seeds.items()} for run, seeds in found.items()}


def share(row: dict[str, str], what: str, of: str) -> float:
    return int(row[what]) / max(1, int(row[of]))


def success(curve: list[dict[str, str]], level: float) -> float:
    """Success when training first had a zero-shot accuracy, NaN if that was never measured; matching epochs left out."""
    points = [(share(r, "zero_shot_hits", "tests"), share(r, "target_hits", "targets")) for r in curve if r["kind"] == "clip"]
    return success_at(rising(points), level)


def last(curve: list[dict[str, str]], kind: str) -> dict[str, str] | None:
    return next((row for row in reversed(curve) if row["kind"] == kind), None)


def ends(runs: dict) -> None:
    """The last epoch of each kind: success by seed, mean zero-shot."""
    for (attack, recipe), seeds in sorted(runs.items()):
        whole = {s: c for s, c in seeds.items() if c[-1]["epoch"] == c[-1]["epochs"]}
        line = f"{attack:11} {recipe:15} {len(whole)} of {len(seeds)} seeds whole"
        for kind in ("clip", "matching"):
            found = [row for curve in whole.values() if (row := last(curve, kind))]
            if found:
                hits = " ".join(row["target_hits"] for row in found)
                zero_shot = mean(share(row, "zero_shot_hits", "tests") for row in found)
                line += f" | {kind}: {hits} of {found[0]['targets']}, zero-shot {100 * zero_shot:.1f}"
                if kind == "matching" and found[0]["clean"]:
                    drawn = {
                        k: sum(int(row[k]) for row in found)
                        for k in ("clean_right", "clean", "poison_right", "poison_adversary", "poison")
                    }
                    line += f", draws: clean right {drawn['clean_right'] / drawn['clean']:.2f}"
                    if drawn["poison"]:
                        right, adversary = (drawn[k] / drawn["poison"] for k in ("poison_right", "poison_adversary"))
                        line += f", poisoned right {right:.2f} adversary {adversary:.2f}"
        print(line)


def curves(runs: dict) -> None:
    """Attack success at equal zero-shot accuracy, mean over the seeds that reached it."""
    print(f"{'success at zero-shot accuracy':28}" + "".join(f"{level:>9.2f}" for level in LEVELS) + "   (seeds)")
    for (attack, recipe), seeds in sorted(runs.items()):
        cells = []
        for level in LEVELS:
            found = [value for curve in seeds.values() if not isnan(value := success(curve, level))]
            cells.append(f"{mean(found):5.2f} ({len(found)})" if found else "       -")
        print(f"{attack:12}{recipe:16}" + "".join(f"{cell:>9}" for cell in cells))


def main() -> None:
    folders = [Path(name) for name in sys.argv[1:]]
    for folder in folders:
        for name in ("tests.txt", "log.txt"):
            if (folder / name).exists():
                text = (folder / name).read_text(errors="replace").splitlines()
                kept = [
                    x
                    for x in text
                    if x.startswith(("FAILED", "ERROR", "E  ")) or " passed" in x or " failed" in x or "many:" in x
                ]
                print("\n".join(line[:160] for line in kept[-25:]))
    benchmarks(rows_of(folders, "gpu.csv"))
    for name in ("embedded.csv", "cifar100.csv", "flickr8k.csv"):
        if runs := runs_of(rows_of(folders, name)):
            print(f"\n{name}: last epochs")
            ends(runs)
            if name != "embedded.csv":
                curves(runs)


if __name__ == "__main__":
    main()
