"""Seconds of the linear probe on 50,000 features of 1,024 dimensions, with 100 and with 1,000 classes.

The features are made up, with what real ones have: class means and a scatter around them whose directions differ in strength by
a power law, a few dimensions with a large mean, images of different norm. Beside the seconds stand the iterations, the test
accuracy, and the share of this machine's limit: what the matrix products of the iterations alone take, measured in the same
run. Seconds are of the clock; the share is of the processor's time, so that others on the machine do not enter it.

Prints a table and writes benchmarks/probe.csv.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from roclip import linear_probe
from roclip.randomness import numpy_generator
from roclip.tables import write_table

COLUMNS = ("images", "dimension", "classes", "iterations", "accuracy", "seconds", "processor_seconds", "share_of_limit")
TEST = 5_000


def features(images: int, dimension: int, classes: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Features (images, dimension), float32, and class numbers (images,); `noise` is the scatter within a class."""
    random = numpy_generator("probe", dimension, classes)
    turn = np.linalg.qr(random.normal(size=(dimension, dimension)))[0].astype(np.float32)
    rank = np.arange(1, dimension + 1, dtype=np.float32)
    means = random.normal(size=(classes, dimension)).astype(np.float32) * rank**-0.5
    labels = random.integers(0, classes, images)
    scatter = random.standard_normal((images, dimension), np.float32) * rank**-0.35
    norms = np.exp(0.2 * random.standard_normal((images, 1), np.float32))
    offset = 2 * random.standard_normal(dimension, np.float32) * (random.random(dimension) < 0.1)
    return (norms * (means[labels] + noise * scatter)) @ turn + offset.astype(np.float32), labels


def products(images: int, dimension: int, classes: int) -> float:
    """Processor seconds of an iteration's two matrix products, the best of three."""
    left, right = np.ones((images, dimension), np.float32), np.ones((dimension, classes), np.float32)

    def once() -> float:
        started = time.process_time()
        left.T @ (left @ right)
        return time.process_time() - started

    return min(once() for _ in range(3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--dimension", type=int, default=1024)
    parser.add_argument("--classes", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--iterations", type=int, default=linear_probe.ITERATIONS)
    parser.add_argument(
        "--noise", type=float, default=3.5, help="scatter within a class; 3.5 makes a probe right in about half of the images"
    )
    arguments = parser.parse_args()
    linear_probe.ITERATIONS = arguments.iterations
    rows = []
    for classes in arguments.classes:
        images, labels = features(arguments.images + TEST, arguments.dimension, classes, arguments.noise)
        limit = products(arguments.images, arguments.dimension, classes)
        started, busy = time.perf_counter(), time.process_time()
        probe = linear_probe.fit(images[TEST:], labels[TEST:])
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
        iterations = int(probe[-1].n_iter_[0])
        rows.append(
            {
                "images": arguments.images, "dimension": arguments.dimension, "classes": classes, "iterations": iterations,
                "accuracy": f"{probe.score(images[:TEST], labels[:TEST]):.4f}", "seconds": f"{seconds:.1f}",
                "processor_seconds": f"{busy:.1f}", "share_of_limit": f"{limit * iterations / busy:.2f}",
            }
        )  # fmt: skip
        print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    write_table(Path("benchmarks/probe.csv"), COLUMNS, rows)


if __name__ == "__main__":
    main()
