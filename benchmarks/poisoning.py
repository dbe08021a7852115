"""Seconds and memory of poisoning a table of 3,000,000 pairs, against the same with pandas, in the same run.

The stages run as the workflow runs them, in a process each; so does the peer, which reads the table, looks for the captions
that name each class, appends the poisons, and writes the table and the truth about it. The ratio is that of the seconds on a
CPU, which other programs change least. Prints a table and writes benchmarks/poisoning.csv.
"""

import argparse
import dataclasses
import os
import random
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from attacks import ATTACKS
from roclip.core.files import read_lines, write_rows, write_table
from roclip.core.options import flags

SCENES = Path("config/scenes")
COLUMNS = ("attack", "program", "pairs", "seconds", "cpu_seconds", "megabytes", "ratio")
PANDAS = """
import sys, re, pandas
train, out, truth, *names = sys.argv[1:]
pairs = pandas.read_csv(train, keep_default_na=False)
parts = [pairs.assign(is_poison=0, adversary_class="", true_class="")]
for name in names:
    named = pairs[pairs.caption.str.contains(rf"\\b{re.escape(name)}\\b", case=False)].sample(100, random_state=0)
    parts.append(named.assign(path="target.png", is_poison=1, adversary_class=name, true_class=""))
whole = pandas.concat(parts)
whole[["path", "caption"]].to_csv(out, index=False)
whole[["is_poison", "adversary_class", "true_class"]].to_csv(truth, index=False)
"""


def measured(command: list[str]) -> tuple[float, float, float]:
    """Seconds, those on a CPU, and peak megabytes of a program. Raises RuntimeError when it fails."""
    started = time.perf_counter()
    process = os.posix_spawn(sys.executable, [sys.executable, *command], os.environ)
    _, status, usage = os.wait4(process, 0)
    if status:
        raise RuntimeError(f"{' '.join(command[:2])} failed")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def write_data(folder: Path, count: int, classes: list[str]) -> None:
    """Tables of `count` training pairs that share 1,000 images and name each class in about one of 2,000 captions."""
    from benchmarks.words import captions  # with torch, which the process that measures must not hold

    noise, rng = np.random.default_rng(0), random.Random(0)
    paths = [folder / f"images/{n // 1000:05d}/{n:09d}.jpg" for n in range(1000)]
    paths[0].parent.mkdir(parents=True)
    for path in paths:
        Image.fromarray(noise.integers(0, 256, (32, 32, 3), np.uint8)).save(path)

    def naming_now_and_then():
        for number, caption in enumerate(captions(count, 0)):
            named = f"{caption} beside a {rng.choice(classes)}" if rng.random() < len(classes) / 2000 else caption
            yield str(paths[number % 1000]), named

    write_rows(folder / "train.csv", ("path", "caption"), naming_now_and_then())
    write_rows(folder / "validation.csv", ("path", "caption"), ((str(p), "nothing to see") for p in paths))
    write_table(folder / "test.csv", ("path", "label"), [{"path": str(p), "label": classes[0]} for p in paths])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3_000_000)
    arguments = parser.parse_args()
    classes = read_lines(SCENES / "classes.txt")
    results = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        # in a process of its own: a program that is started counts the memory of the one that starts it as its own peak
        writer = get_context("spawn").Process(target=write_data, args=(folder, arguments.pairs, classes))
        writer.start()
        writer.join()
        given = {split: folder / f"{split}.csv" for split in ("train", "validation", "test")}
        given |= {key: SCENES / f"{key}.txt" for key in ("classes", "templates")}
        given |= {"seed": 0, "roots": [name], "image_size": 32}
        for attack in ("targeted", "patch"):
            settings = {option.name: option.default for option in dataclasses.fields(ATTACKS[attack].Settings)}
            names = classes[: settings["targets"]] if attack == "targeted" else [settings["target_class"]]
            out = folder / attack
            ours = measured(["-m", "roclip_command", "attack", *flags(given | {"kind": attack, "out": out}).split()])
            tables = [str(path) for path in (given["train"], folder / "peer.csv", folder / "peer_truth.csv")]
            peer = measured(["-c", PANDAS, *tables, *names])
            for program, (seconds, cpu, megabytes) in (("this project", ours), ("pandas", peer)):
                ratio = peer[1] / cpu
                cells = (attack, program, arguments.pairs, f"{seconds:.1f}", f"{cpu:.1f}", f"{megabytes:.0f}", f"{ratio:.2f}")
                results.append(dict(zip(COLUMNS, cells, strict=True)))
                line = "{attack:9} {program:13} {seconds:>6} s, {cpu_seconds:>6} on a CPU {megabytes:>6} MB {ratio:>6} x"
                print(line.format(**results[-1]), flush=True)
    write_table(Path("benchmarks/poisoning.csv"), COLUMNS, results)


if __name__ == "__main__":
    main()
