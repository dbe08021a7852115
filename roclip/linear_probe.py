"""Stage: linear probe, the test accuracy of a linear classifier on the frozen, un-normalised features of the probe images."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from roclip.errors import UserError
from roclip.features import AccuracyOptions, Features
from roclip.options import run_stage
from roclip.tables import write_json

ITERATIONS = 200


def fit(images: np.ndarray, labels: np.ndarray) -> Pipeline:
    """Logistic regression on standardised features: (n, d), (n,) class numbers -> what predicts class numbers.

    An iteration costs two matrix products of n x d x classes, and takes little more time than they do: see benchmarks/probe.py.
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=ITERATIONS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the accuracy has settled long before the weights
        return probe.fit(images, labels)


def run(options: AccuracyOptions) -> None:
    """Raises UserError when the probe images show less than two classes."""
    features = Features(options.features)
    if len(set(features.labels("probe"))) < 2:
        raise UserError(f"{options.features}: the probe images must show at least two classes")
    rows = []
    for checkpoint in features.checkpoints:
        probe = fit(features.images(checkpoint, "probe"), features.labels("probe"))
        hits = probe.predict(features.images(checkpoint, "test")) == features.labels("test")
        rows.append(
            {"checkpoint": checkpoint, "exam": options.exam, "measure": "linear_probe", "hits": int(hits.sum()), "n": len(hits)}
        )
    write_json(options.out, rows)


if __name__ == "__main__":
    run_stage(AccuracyOptions, run)
