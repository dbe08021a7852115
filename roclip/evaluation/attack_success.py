"""Attack success (ASR): the share of an attack's evaluation set for which the adversary's class is among the top 1, 3 or 5.

A model is judged on the evaluation set of its own attack, and on those of the attacks whose control it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roclip.evaluation.base import Measure
from roclip.evaluation.zero_shot_classifier import ranks, top_counts

if TYPE_CHECKING:
    from roclip.evaluation.features import Features


class AttackSuccess(Measure):
    """Attack success (ASR): how often an image of an attack's evaluation set is taken for the adversary's class."""

    of = "attack"
    is_success = True

    def rows(self, features: Features, checkpoint: str) -> list[dict[str, Any]]:
        found = ranks(features.images(checkpoint), features.class_features(checkpoint), features.labels())
        rows = top_counts(checkpoint, "attack_success", found)
        # which images were hits, to compare models on the same images
        rows[0]["outcomes"] = "".join(str(int(rank == 0)) for rank in found)
        return rows
