"""Zero-shot accuracy (clean accuracy): the share of labelled images whose class is among the top 1, 3 or 5."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roclip.core.deferred import Deferred
from roclip.evaluation.base import Measure
from roclip.evaluation.zero_shot_classifier import ranks, top_counts

if TYPE_CHECKING:
    from roclip.evaluation.features import Features

np = Deferred("numpy")


class ZeroShot(Measure):
    """Zero-shot accuracy: how often an image is taken for its own class by the prompts of the classes alone."""

    of = "labelled"
    label = "zero-shot"
    task = "zeroshot_classification"

    def rows(self, features: Features, checkpoint: str) -> list[dict[str, Any]]:
        found = ranks(features.images(checkpoint), features.class_features(checkpoint), features.labels())
        return top_counts(checkpoint, "zero_shot", found)

    @classmethod
    def metrics(cls, features: Features, checkpoint: str, rows: list[dict[str, Any]]) -> dict[str, float]:
        """Accuracy among the top 1 and 5, and the mean of the classes' top-1 accuracies, of the classes that have images."""
        labels = features.labels()
        found = ranks(features.images(checkpoint), features.class_features(checkpoint), labels)
        of_class = [float((found[labels == label] < 1).mean()) for label in np.unique(labels)]
        return {
            "acc1": float((found < 1).mean()),
            "acc5": float((found < 5).mean()),
            "mean_per_class_recall": float(np.mean(of_class)),
        }
