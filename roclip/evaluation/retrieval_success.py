"""Retrieval success: how often a caption of an attack finds an image of the adversary's class among the test images.

Hit@1, 5 and 10 of the captions with the trigger and, under `untriggered`, of the same captions without it. A model that was
not trained on the attack is the control, as with attack success.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roclip.core.deferred import Deferred
from roclip.evaluation.base import Measure
from roclip.evaluation.lookup import best_ranks
from roclip.evaluation.retrieval import TOPS
from roclip.evaluation.zero_shot_classifier import top_counts

if TYPE_CHECKING:
    from roclip.evaluation.features import Features

np = Deferred("numpy")


class RetrievalSuccess(Measure):
    """Retrieval success (ASR): how often a caption with the trigger finds an image of the adversary's class first."""

    of = "captions"
    is_success = True

    def rows(self, features: Features, checkpoint: str) -> list[dict[str, Any]]:
        rows = []
        for name, part in (("retrieval_success", "captions"), ("retrieval_success_untriggered", "plain")):
            found = best_ranks(
                features.captions(checkpoint, part), features.images(checkpoint), features.labels("captions"), features.labels()
            )
            # which captions were hits, to compare models; the rank of the first image of the class, 1 for the first of all
            whole = {"outcomes": "".join(str(int(rank == 0)) for rank in found), "median_rank": float(np.median(found)) + 1}
            first, *others = top_counts(checkpoint, name, found, TOPS)
            rows += [first | whole, *others]
        return rows
