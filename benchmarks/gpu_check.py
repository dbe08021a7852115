"""Whether a call of benchmarks/gpu_call.sh or gpu_photos.sh left whole files, and each of its parts stayed inside its time.

    python -m benchmarks.gpu_check FOLDER [--sets flickr8k cifar100] [--hung PART]

--sets: of gpu_photos.sh; without it FOLDER is of gpu_call.sh. --hung: the part that was made to hang, which must have been
ended at its limit. Prints a line for each fault; the exit status is 1 if there is one.
"""

import argparse
import csv
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from benchmarks import gpu, gpu_result, many

PART = re.compile(r"^\d+ s: (.+): status (\d+) after (\d+) of (\d+) s$")
SUMMARY = re.compile(r"(\d+) (passed|failed|error|errors|skipped|xfailed|xpassed|deselected)")
ENDED = 124, 137  # timeout's status: told to end, killed
GRACE = 6  # seconds after its limit by which a part that ignores being told to end is gone
TESTS = 3  # runs of pytest, each on a share of the tests
CALL = {
    "gpu.csv": gpu.COLUMNS,
    "stage.csv": gpu_result.STAGE,
    "embedded.csv": many.COLUMNS,
    "gpu_result.csv": gpu_result.COLUMNS,
}
TEXTS = ("log.txt", "machine.txt", "tests.txt", "bench.txt")
RATES = {  # what gpu.csv has a rate of: loop, compiled, images, method, epoch
    ("this project", "0", "host", "clip", "clip"), ("this project", "0", "device", "clip", "clip"),
    ("this project", "0", "device", "roclip", "clip"), ("this project", "0", "device", "roclip", "matching"),
    ("this project", "0", "files", "clip", "clip"), ("this project", "0", "files", "roclip", "matching"),
    ("this project", "1", "device", "clip", "clip"), ("this project", "1", "files", "clip", "clip"),
    ("this project", "1", "device", "roclip", "matching"), ("this project, deterministic", "0", "device", "roclip", "matching"),
    ("open_clip", "0", "device", "clip", "clip"), ("loader alone", "", "files", "clip", ""),
}  # fmt: skip


def parts(log: str) -> dict[str, tuple[int, int, int]]:
    """Status, seconds and limit of each part that the log names."""
    found = (PART.match(line) for line in log.splitlines())
    return {match[1]: (int(match[2]), int(match[3]), int(match[4])) for match in found if match}


def faults_of_parts(log: str, hung: str) -> Iterator[str]:
    found = parts(log)
    if "ends" not in log.splitlines()[-1]:
        yield "log.txt: the call did not come to its end"
    if hung and hung not in found:
        yield f"log.txt: no part '{hung}'"
    for name, (status, seconds, limit) in found.items():
        if seconds > limit + GRACE:
            yield f"{name}: {seconds} s, its limit was {limit}"
        if name != hung and status:
            yield f"{name}: status {status} after {seconds} of {limit} s"
        if name == hung and (status not in ENDED or seconds < limit):
            yield f"{name}: was to be ended at its limit, {limit} s; status {status} after {seconds} s"


def rows_of(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Of a table that is whole. Raises ValueError for one that is not, or has no rows."""
    text = path.read_text()
    if not text.endswith("\n"):
        raise ValueError("its last line was cut")
    header, *lines = csv.reader(text.splitlines())
    if header != list(columns):
        raise ValueError(f"its columns are {header}")
    if wrong := [number for number, line in enumerate(lines, 2) if len(line) != len(header)]:
        raise ValueError(f"line {wrong[0]} has another number of cells")
    if not lines:
        raise ValueError("no rows")
    return [dict(zip(header, line, strict=True)) for line in lines]


def faults_of_trainings(kind: str, rows: list[dict[str, str]]) -> Iterator[str]:
    """Of each seed, attack and recipe there is a training that came to its end. kind: a set, or stage."""
    epochs: dict[tuple[str, str, str], tuple[int, int]] = defaultdict(lambda: (0, 0))  # the last that was noted, of how many
    for row in rows:
        run = row["seed"], row["attack"], row.get("recipe") or row["defence"]
        epochs[run] = max(epochs[run], (int(row["epoch"]), int(row["epochs"])))
    attacks = {"targeted", "patch"} if kind in ("embedded", "stage") else {attack for _, attack, _ in epochs} | {"clean"}
    for seed in sorted({seed for seed, _, _ in epochs}):
        for attack in sorted(attacks):
            for recipe in many.recipes("embedded" if kind == "stage" else kind, attack, 2):
                last, of = epochs.get((seed, attack, recipe), (0, 0))
                if last < max(1, of):
                    yield f"{attack}, seed {seed}, {recipe}: epoch {last} of {of or 'some'}"


def faults_of_rates(rows: list[dict[str, str]]) -> Iterator[str]:
    keys = ("loop", "compiled", "images", "method", "epoch")
    rates = {tuple(row[key] for key in keys) for row in rows if row["pairs_per_second"]}
    yield from (f"no rate of {', '.join(filter(None, key))}" for key in sorted(RATES - rates))
    yield from (row["note"] for row in rows if "Error" in row["note"])


def faults_of_tests(text: str) -> Iterator[str]:
    """All tests were in one of the runs, and none failed."""
    lines = [SUMMARY.findall(line) for line in text.splitlines() if " in " in line]
    summaries = [{kind: int(count) for count, kind in found} for found in lines if found]
    if len(summaries) != TESTS:
        yield f"{len(summaries)} of {TESTS} runs of pytest came to their end"
    yield from (f"{n[kind]} tests {kind}" for n in summaries for kind in ("failed", "error", "errors") if kind in n)
    ran = sum(sum(n.values()) - n.get("deselected", 0) for n in summaries)
    if len(summaries) == TESTS and ran != sum(summaries[0].values()):
        yield f"{ran} tests ran of {sum(summaries[0].values())}"


def faults(folder: Path, sets: list[str], hung: str) -> Iterator[str]:
    tables = {f"{name}.csv": many.COLUMNS for name in sets} or CALL
    checks = {"gpu.csv": faults_of_rates, "gpu_result.csv": lambda rows: ()}
    checks = {name: checks.get(name, partial(faults_of_trainings, name[:-4])) for name in tables}
    for name in (*tables, *(TEXTS[:2] if sets else TEXTS)):
        path = folder / name
        if not path.exists() or not path.stat().st_size:
            yield f"{name}: missing or empty"
        elif name in tables:
            try:
                yield from (f"{name}: {fault}" for fault in checks[name](rows_of(path, tables[name])))
            except ValueError as error:
                yield f"{name}: {error}"
    if (folder / "log.txt").exists():
        yield from faults_of_parts((folder / "log.txt").read_text(), hung)
    if not sets and not hung.startswith("tests") and (folder / "tests.txt").exists():
        yield from (f"tests.txt: {fault}" for fault in faults_of_tests((folder / "tests.txt").read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="+", default=[])
    parser.add_argument("--hung", default="")
    arguments = parser.parse_args()
    found = list(faults(arguments.folder, arguments.sets, arguments.hung))
    print("\n".join(found) or f"{arguments.folder}: all files are there and whole, each part stayed inside its time")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
