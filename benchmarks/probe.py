"""Seconds of the linear probe and of plain scikit-learn on 50,000 features of 1,024 dimensions, 100 and 1,000 classes.

The features are made up, with what real ones have: class means and a scatter around them whose directions differ in strength by
a power law, a few dimensions with a large mean, images of different norm. Seconds are of the clock, the ratio is plain
scikit-learn's over the program's. The share is of this machine's limit, what the matrix products of the evaluations alone take,
and of the processor's time, so that others on the machine do not enter it. Of scikit-learn iterations are known, somewhat fewer
than its evaluations. It stops at a bound on the gradient, with many classes long before the accuracy has settled.

Prints a table and writes benchmarks/probe.csv.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from roclip.core.files import write_table
from roclip.core.randomness import numpy_generator
from roclip.evaluation import linear_probe

COLUMNS = ("classes", "program", "evaluations", "accuracy", "seconds", "processor_seconds", "share_of_limit", "ratio")
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
    """Processor seconds of an evaluation's two matrix products, the best of three."""
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
    parser.add_argument(
        "--noise",
        type=float,
        default=2.5,
        help="scatter within a class; 2.5 makes a probe of 1,000 classes right in 60%% of images",
    )
    arguments = parser.parse_args()
    plain = make_pipeline(StandardScaler(), LogisticRegression(max_iter=linear_probe.ITERATIONS))
    rows = []
    for classes in arguments.classes:
        images, labels = features(arguments.images + TEST, arguments.dimension, classes, arguments.noise)
        limit = products(arguments.images, arguments.dimension, classes)
        measured = []
        for program, fit in (("this project", linear_probe.fit), ("scikit-learn", plain.fit)):
            started, busy = time.perf_counter(), time.process_time()
            probe = fit(images[TEST:], labels[TEST:])
            measured.append((program, probe, time.perf_counter() - started, time.process_time() - busy))
        for program, probe, seconds, busy in measured:
            evaluations = int(probe[-1].n_iter_[0]) if program == "scikit-learn" else probe.evaluations
            accuracy = (probe.predict(images[:TEST]) == labels[:TEST]).mean()
            rows.append(
                {
                    "classes": classes, "program": program, "evaluations": evaluations, "accuracy": f"{accuracy:.4f}",
                    "seconds": f"{seconds:.1f}", "processor_seconds": f"{busy:.1f}",
                    "share_of_limit": f"{limit * evaluations / busy:.2f}", "ratio": f"{measured[-1][2] / seconds:.2f}",
                }
            )  # fmt: skip
            print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    write_table(Path("benchmarks/probe.csv"), COLUMNS, rows)


if __name__ == "__main__":
    main()
