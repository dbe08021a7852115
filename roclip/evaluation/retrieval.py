"""Retrieval: recall among the experiment's validation pairs, from images to captions and back.

Clean training has not seen them. Targeted attacks train on their targets' images, which are some of them, with other captions.

Recall at k is the share of the queries of which a right answer is among the first k. Captions of one image are all right for
it, and it for each of them: which image a caption is of stands in the table of pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roclip.evaluation.base import Measure
from roclip.evaluation.lookup import best_ranks
from roclip.evaluation.zero_shot_classifier import top_counts

if TYPE_CHECKING:
    from roclip.evaluation.features import Features

TOPS = (1, 5, 10)


class Retrieval(Measure):
    """Retrieval: how often a caption finds its image among all, and an image one of its captions."""

    of = "pairs"
    is_optional = True

    def rows(self, features: Features, checkpoint: str) -> list[dict[str, Any]]:
        images = features.images(checkpoint), features.labels()
        captions = features.captions(checkpoint), features.labels("captions")
        rows = []
        for name, (queries, wanted), (candidates, labels) in (
            ("image_to_text", images, captions),
            ("text_to_image", captions, images),
        ):
            found = best_ranks(queries, candidates, wanted, labels)
            rows += top_counts(checkpoint, f"retrieval_{name}", found, TOPS)
        return rows
