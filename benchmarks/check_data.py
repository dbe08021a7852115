"""Seconds and memory of `roclip check-data`: a million rows without opening images, and photographs that it opens.

In a process each, as a user runs it. Photographs are JPEGs of 256 x 341 pixels; rows are the table's. Prints a table and writes
benchmarks/check_data.csv.
"""

import argparse
import os
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from roclip.core.files import read_lines, write_rows, write_table

ROOT = Path(__file__).parents[1]
SCENES = ROOT / "config/scenes"
COLUMNS = ("what", "rows", "images", "seconds", "rows_a_minute", "megabytes")
SMALL = 500  # rows of each of the other splits


def write_data(folder: Path, rows: int, images: bool) -> None:
    """Tables and a config; without images their paths are of files that are not there."""
    from benchmarks.loader import write_photographs  # with torch, which the process that measures must not hold
    from benchmarks.words import captions

    (folder / "images").mkdir(parents=True)
    paths = [f"images/{n}.jpg" for n in range(rows + 3 * SMALL)]
    if images:
        write_photographs(folder / "images", len(paths))
    classes = read_lines(SCENES / "classes.txt")
    write_rows(folder / "train.csv", ("path", "caption"), zip(paths, captions(rows, 0), strict=False))
    rest = paths[rows:]
    write_rows(folder / "validation.csv", ("path", "caption"), zip(rest[:SMALL], captions(SMALL, 1), strict=True))
    for number, split in enumerate(("test", "probe"), 1):
        its = rest[number * SMALL : (number + 1) * SMALL]
        write_rows(folder / f"{split}.csv", ("path", "label"), ((path, classes[n % 50]) for n, path in enumerate(its)))
    data = {"tables": {split: f"{split}.csv" for split in ("train", "validation", "test", "probe")}, "roots": ["."]}
    data |= {"classes": str(SCENES / "classes.txt"), "templates": str(SCENES / "templates.txt")}
    mine = {"experiment": "mine", "attacks": ["targeted"], "defences": ["clip"], "data": data}
    (folder / "mine.yaml").write_text(yaml.safe_dump(mine | {"train": {"validation_images": 100}}))


def measured(folder: Path, *flags: str) -> tuple[float, float]:
    """Seconds and peak megabytes of the command in a folder. Raises RuntimeError when it fails."""
    command = [sys.executable, "-P", "-m", "roclip_command", "check-data", "--configfile", "mine.yaml", *flags]
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE)
    said = process.stdout.read()
    _, _, usage = os.wait4(process.pid, 0)
    if b"wrote results" not in said:  # the exit status is 1 where a fault was found in the data
        raise RuntimeError(f"{' '.join(command)} failed")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--images", type=int, default=10_000)
    arguments = parser.parse_args()
    results = []
    for what, rows, images in (("captions and labels", arguments.rows, False), ("images too", arguments.images, True)):
        with TemporaryDirectory() as folder:
            # in a process of its own: a program that is started counts the memory of the one that starts it as its own peak
            writer = get_context("spawn").Process(target=write_data, args=(Path(folder), rows, images))
            writer.start()
            writer.join()
            seconds, megabytes = measured(Path(folder), *(["--images"] if images else []))
        read = rows + 3 * SMALL
        cells = (what, read, read if images else 0, f"{seconds:.1f}", f"{60 * read / seconds:.0f}", f"{megabytes:.0f}")
        results.append(dict(zip(COLUMNS, cells, strict=True)))
        print("{what:20} {rows:>8} rows {seconds:>6} s {rows_a_minute:>9} a minute {megabytes:>6} MB".format(**results[-1]))
    write_table(Path("benchmarks/check_data.csv"), COLUMNS, results)


if __name__ == "__main__":
    main()
