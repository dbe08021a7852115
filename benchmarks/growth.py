"""How the cost of an epoch grows with pairs, pool and batch: the embedded model, RoCLIP, one thread on one core.

From 8,192 pairs, a pool of 800 captions and batches of 64 pairs, one of the three is changed at a time. Seconds are those of
the core's processor time; all settings are measured in turn. Prints a table and writes benchmarks/growth.csv. Needs the
embedded data, as benchmarks.training does.
"""

import argparse
import os
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks import limits
from benchmarks.training import embedded, training_of
from roclip.core.files import write_table

COLUMNS = ("pairs", "pool", "batch", "epoch", "pairs_per_second", "seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[8192, 2048, 4096])
    parser.add_argument("--pool", type=int, nargs="+", default=[800, 200, 2000, 8000])
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 32, 128, 256])
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    pairs, pool, batch = arguments.pairs[0], arguments.pool[0], arguments.batch[0]
    settings = [(n, pool, batch) for n in sorted(arguments.pairs)]
    settings += [(pairs, n, batch) for n in sorted(arguments.pool) if n != pool]
    settings += [(pairs, pool, n) for n in sorted(arguments.batch) if n != batch]
    loops = {}
    for n, size, step in settings:
        with TemporaryDirectory() as folder:
            training = training_of(embedded(Path(folder), n, "roclip", batch_size=step, pool_size=size, epochs=2))
        loops[n, size, step, "clip"] = lambda training=training: training.epoch(1)
        loops[n, size, step, "matching"] = lambda training=training: training.epoch(2)
    torch.set_num_threads(1)
    results = []
    for name, spans in limits.in_turn(loops, arguments.repeats).items():
        seconds = statistics.median(spans)
        cells = (*name, f"{name[0] // name[2] * name[2] / seconds:.0f}", f"{seconds:.2f}")
        results.append(dict(zip(COLUMNS, cells, strict=True)))
        line = "{pairs:5} pairs  pool of {pool:4}  batches of {batch:3}  {epoch:8} {pairs_per_second:>5} pairs/s {seconds:>6} s"
        print(line.format(**results[-1]), flush=True)
    write_table(Path("benchmarks/growth.csv"), COLUMNS, results)


if __name__ == "__main__":
    main()
