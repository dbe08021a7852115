"""Milliseconds in which the pool finds each image's most similar caption, against scikit-learn and PyTorch's topk.

The paper's size: batches of 512 images, a pool of 21,845 captions, 1024 dimensions, float32; then other pools and batches. One
thread on one core, milliseconds of processor time. The peers are scikit-learn's exact search, NearestNeighbors by brute force,
and topk of the product. Share of the limit: what a product of matrices of 1024 x 1024 would take for as many FLOPs.

Prints a table and writes benchmarks/pool.csv.
"""

import argparse
import os
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks import limits
from roclip.core.files import write_table
from roclip.defences.pool import Pool

COLUMNS = ("batch", "pool", "dimension", "program", "milliseconds", "ratio", "share_of_limit")
PAPER = (512, 21_845)
OTHERS = [(512, 2_000), (512, 8_000), (512, 60_000), (64, 21_845), (128, 21_845), (256, 21_845)]


def searches(pool: Pool, images: Tensor) -> dict[str, Callable[[], object]]:
    """Ours and its peers. Raises RuntimeError when they find different captions."""
    library = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(pool.features.numpy())
    loops = {
        "this project": lambda: pool.nearest(images),
        "scikit-learn": lambda: torch.from_numpy(library.kneighbors(images.numpy(), return_distance=False)[:, 0]),
        "topk": lambda: (images @ pool.features.T).topk(1).indices[:, 0],
    }
    if any((loop() != pool.nearest(images)).any() for loop in loops.values()):
        raise RuntimeError("the programs find different captions")
    return loops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dimension", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    limit = limits.product_rate(torch.device("cpu"), torch.float32)
    results = []
    for batch, size in [PAPER, *OTHERS]:
        torch.manual_seed(0)
        pool, images = Pool(size, arguments.dimension), normalize(torch.randn(batch, arguments.dimension))
        pool.push(normalize(torch.randn(size, arguments.dimension)), torch.arange(size), 0)
        loops = searches(pool, images)
        if (batch, size) != PAPER:
            loops = {"this project": loops["this project"]}
        with threadpool_limits(1):
            spans = limits.in_turn(loops, arguments.repeats)
        for program, values in spans.items():
            seconds, work = statistics.median(values), 2 * batch * size * arguments.dimension
            ratio = limits.ratio(spans["this project"], values)
            cells = (
                batch, size, arguments.dimension, program, f"{seconds * 1000:.1f}", f"{ratio:.2f}",
                f"{work / seconds / limit:.2f}",
            )  # fmt: skip
            results.append(dict(zip(COLUMNS, cells, strict=True)))
            line = "batch {batch:4} pool {pool:6} {program:13} {milliseconds:>5} ms  this project is {ratio} x as fast"
            print(f"{line}, {{share_of_limit}} of the limit".format(**results[-1]), flush=True)
    write_table(Path("benchmarks/pool.csv"), COLUMNS, results)


if __name__ == "__main__":
    main()
