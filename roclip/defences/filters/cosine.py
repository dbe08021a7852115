"""Removal of the pairs whose image and caption are least alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from roclip.defences.filters.base import Filter, Shuffled, scored_by

if TYPE_CHECKING:
    import numpy as np


class Cosine(Filter):
    """Removes the pairs with the lowest cosine of image and caption, as a model trained on all pairs sees them."""

    needs_model: ClassVar[bool] = True

    @dataclass(frozen=True, kw_only=True)
    class Settings(Filter.Settings):
        scored_by: Mapping[str, Any] = scored_by()

    def scores(self, pairs: Shuffled) -> np.ndarray:
        return -(pairs.image_features * pairs.caption_features).sum(axis=1)
