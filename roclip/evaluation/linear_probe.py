"""Linear probe: the test accuracy of a linear classifier on the frozen, un-normalised features of the probe images."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roclip.core.deferred import Deferred
from roclip.core.errors import UserError
from roclip.evaluation.base import Measure

if TYPE_CHECKING:
    from roclip.evaluation.features import Features

np = Deferred("numpy")
optimize = Deferred("scipy.optimize")
preprocessing = Deferred("sklearn.preprocessing")
log = logging.getLogger(__name__)

ITERATIONS = 200
TOLERANCE = 1e-6  # nats an image; a bound on the gradient, which shrinks with the number of classes, stops early at 1,000
DAMPING = 8  # in variances of a feature: without it weak directions, which the penalty rules, would take the most iterations
BLOCK = 4096  # rows whose class scores stay in the processor's cache: the exponentials hardly add to the matrix products


@dataclass(frozen=True)
class Probe:
    classes: np.ndarray
    weights: np.ndarray  # (d, classes)
    bias: np.ndarray
    evaluations: int  # of the loss, until it had settled

    def predict(self, images: np.ndarray) -> np.ndarray:
        """(n, d) -> (n,) class numbers. Raises ValueError where scores are NaN or infinite."""
        scores = images @ self.weights + self.bias
        if not np.isfinite(scores).all():
            raise ValueError("a linear classifier of the probe images gives scores that are NaN or infinite")
        return self.classes[scores.argmax(axis=1)]


def fit(images: np.ndarray, labels: np.ndarray) -> Probe:
    """Logistic regression on standardised features, to convergence: (n, d), (n,) class numbers -> what predicts class numbers.

    Minimises scikit-learn's multinomial loss at C = 1 (with two classes as well) by L-BFGS, in coordinates in which the
    features are nearer to white, which takes fewer iterations. Each is little more than two matrix products of n x d x classes.
    """
    classes, labels = np.unique(labels, return_inverse=True)
    scaler = preprocessing.StandardScaler().fit(images)
    rows = scaler.transform(images).astype(np.float32)
    n, d = rows.shape
    variances, turn = np.linalg.eigh((rows.T @ rows / n).astype(float))
    turn /= np.sqrt(variances + DAMPING)
    rows = rows @ turn.astype(np.float32)
    penalty = (turn**2).sum(axis=0)[:, None]  # the turn's columns are orthogonal, so it stays a sum over coordinates

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        """The mean loss and its gradient, for weights (d, classes) over biases (1, classes)."""
        parameters = flat.reshape(d + 1, -1)
        weights, bias = parameters[:-1].astype(np.float32), parameters[-1].astype(np.float32)
        total, gradient, slope = 0.0, np.zeros_like(weights), np.zeros_like(parameters[-1])
        for start in range(0, n, BLOCK):
            block = rows[start : start + BLOCK]
            own = np.arange(len(block)), labels[start : start + BLOCK]
            scores = block @ weights
            scores += bias
            scores -= scores.max(axis=1, keepdims=True)
            total -= scores[own].sum(dtype=float)
            np.exp(scores, out=scores)
            sums = scores.sum(axis=1, keepdims=True)
            total += np.log(sums).sum(dtype=float)
            scores /= sums
            scores[own] -= 1
            gradient += block.T @ scores
            slope += scores.sum(axis=0)
        shrunk = penalty * parameters[:-1]
        return (total + (shrunk * parameters[:-1]).sum() / 2) / n, np.vstack([gradient + shrunk, slope]).ravel() / n

    options = {"maxiter": ITERATIONS, "ftol": TOLERANCE, "gtol": 0}
    found = optimize.minimize(loss, np.zeros((d + 1) * len(classes)), jac=True, method="L-BFGS-B", options=options)
    best = found.x.reshape(d + 1, -1)
    weights = turn @ best[:-1] / scaler.scale_[:, None]
    return Probe(classes, weights.astype(np.float32), (best[-1] - scaler.mean_ @ weights).astype(np.float32), found.nfev)


def _warn_of_unknown(features: Features) -> None:
    """Warn of test images of classes that no probe image shows: a probe can name none of them."""
    unknown = ~np.isin(features.labels(), features.labels("probe"))
    if unknown.any():
        log.warning(
            "%s: %d of %d test images are misses, for no probe image shows their classes, %d in all; add probe images of each",
            features.path, unknown.sum(), len(unknown), len(np.unique(features.labels()[unknown])),
        )  # fmt: skip


class LinearProbe(Measure):
    """Linear probe: the accuracy of a logistic regression that is trained on the features of the set's probe images."""

    of = "labelled"
    needs_probe = True
    task = "linear_probe"

    def rows(self, features: Features, checkpoint: str) -> list[dict[str, Any]]:
        """Raises UserError when the probe images show less than two classes, and for features that no probe can be made of."""
        if len(set(features.labels("probe").tolist())) < 2:
            raise UserError(f"{features.path}: the probe images must show at least two classes")
        if checkpoint == features.checkpoints[0]:
            _warn_of_unknown(features)
        probe = fit(features.images(checkpoint, "probe"), features.labels("probe"))
        try:
            hits = probe.predict(features.images(checkpoint)) == features.labels()
        except ValueError as error:
            raise UserError(f"{features.path}: {checkpoint}: {error}; run the encode stage again") from None
        return [{"checkpoint": checkpoint, "measure": "linear_probe", "hits": int(hits.sum()), "n": len(hits)}]

    @classmethod
    def metrics(cls, features: Features, checkpoint: str, rows: list[dict[str, Any]]) -> dict[str, float]:
        return {"lp_acc1": rows[0]["hits"] / rows[0]["n"]}
