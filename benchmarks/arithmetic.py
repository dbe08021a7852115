"""What bf16 and float32 cost on this processor, and which of them `train.precision: auto` takes here.

A product of matrices and a convolution of the small towers' shapes, and a CLIP step of the small model (64 pairs, without the
optimiser). Both kinds take turns, on one thread; milliseconds are the least of several. Prints a table and writes
benchmarks/arithmetic.csv.
"""

import argparse
from functools import partial
from pathlib import Path

import torch

from benchmarks.tokens import SMALL, least, step
from benchmarks.words import captions
from roclip.core.files import write_table
from roclip.model import towers
from roclip.model.captions import Captions
from roclip.reporting.machine import machine

COLUMNS = ("processor", "work", "bf16", "float32", "ratio", "auto")
KINDS = ("bf16", "float32")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    repeats = parser.parse_args().repeats
    runtimes = {kind: towers.Runtime.choose(kind, 1, "cpu") for kind in KINDS}
    chosen = towers.Runtime.choose("auto", 1, "cpu").arithmetic
    torch.manual_seed(0)
    config = towers.model_config(SMALL)
    model = towers.create(config).train()
    tokens = Captions(list(captions(64, 0)), towers.tokenizer(config)).tokens()
    pixels = torch.randn(64, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    left, right = torch.randn(1024, 128), torch.randn(128, 512)
    maps, kernels = torch.randn(64, 64, 8, 8), torch.randn(64, 64, 3, 3)

    def under(runtime: towers.Runtime, function, *arguments) -> None:
        with torch.no_grad(), runtime.autocast():
            function(*arguments)

    works = {
        "product of 1024 x 128 and 128 x 512": lambda runtime: under(runtime, torch.mm, left, right),
        "convolution of 64 x 64 x 8 x 8": lambda runtime: under(runtime, torch.conv2d, maps, kernels),
        "CLIP step of the small model": lambda runtime: step(model, tokens, pixels, runtime),
    }
    rows = []
    for name, work in works.items():
        found = least({kind: partial(work, runtime) for kind, runtime in runtimes.items()}, repeats)
        cells = machine()["processor"], name, *(f"{1e3 * found[kind]:.1f}" for kind in KINDS)
        rows.append(dict(zip(COLUMNS, (*cells, f"{found['bf16'] / found['float32']:.2f}", chosen), strict=True)))
        print(" ".join(rows[-1].values()), flush=True)
    write_table(Path("benchmarks/arithmetic.csv"), COLUMNS, rows)


if __name__ == "__main__":
    main()
