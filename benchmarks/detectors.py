"""Seconds in which each detector scores the pairs of a data set, of random features, on one core.

40,000 pairs of 128 dimensions, as the default experiment has them, and 40,000 and 200,000 of 1024, as RN50 gives them, with
each detector's default settings. One thread, seconds of processor time, the least of the repeats (by default one).

Prints a table and writes benchmarks/detectors.csv.
"""

import argparse
import multiprocessing
import time
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from roclip.core.files import write_table
from roclip.defences.detectors import DETECTORS
from roclip.defences.filters.base import Shuffled

COLUMNS = ("detector", "pairs", "dimension", "seconds", "pairs_per_second")
SIZES = ((40_000, 128), (40_000, 1024), (200_000, 1024))


def random_pairs(count: int, dimension: int) -> Shuffled:
    """Unit features of images and captions, float32."""
    rng = np.random.default_rng(0)
    images, captions = rng.standard_normal((2, count, dimension), np.float32)
    for features in (images, captions):
        features /= np.linalg.norm(features, axis=1, keepdims=True)
    return Shuffled([""] * count, images, captions, rng)


def measured(detector: str, count: int, dimension: int, repeats: int) -> dict:
    """A row."""
    pairs, seconds = random_pairs(count, dimension), []
    kind = DETECTORS[detector]
    for _ in range(repeats):
        started = time.process_time()
        kind(kind.Settings()).scores(pairs)
        seconds.append(time.process_time() - started)
    values = (detector, count, dimension, f"{min(seconds):.1f}", round(count / min(seconds)))
    return dict(zip(COLUMNS, values, strict=True))


def on_one_core(arguments: tuple) -> dict:
    torch.set_num_threads(1)
    with threadpool_limits(1):
        return measured(*arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--detectors", nargs="*", default=list(DETECTORS), choices=list(DETECTORS))
    parser.add_argument("--pairs", type=int, default=max(count for count, _ in SIZES), help="of the largest set, at most")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()
    rows, fresh = [], multiprocessing.get_context("spawn")
    for count, dimension in (size for size in SIZES if size[0] <= options.pairs):
        for detector in options.detectors:
            with fresh.Pool(1) as pool:
                rows.append(pool.apply(on_one_core, ((detector, count, dimension, options.repeats),)))
            print(*rows[-1].values(), flush=True)
    write_table(options.out, COLUMNS, rows)


if __name__ == "__main__":
    main()
