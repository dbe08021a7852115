"""Random removal, the control of every filter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roclip.defences.filters.base import Filter, Shuffled

if TYPE_CHECKING:
    import numpy as np


class Random(Filter):
    """Removes random pairs: the control that every other filter must beat."""

    def scores(self, pairs: Shuffled) -> np.ndarray:
        return pairs.rng.random(len(pairs.captions))
