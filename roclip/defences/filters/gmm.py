"""Removal of the pairs that a mixture of two Gaussians takes for badly matched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roclip.core.options import option
from roclip.defences.filters.base import Shuffled, scored_by
from roclip.defences.filters.cosine import Cosine
from roclip.defences.mixture import posterior

if TYPE_CHECKING:
    import numpy as np


class Gmm(Cosine):
    """Keeps the pairs whose cosine is of the upper of two Gaussians with a high probability, as SafeCLIP does."""

    @dataclass(frozen=True, kw_only=True)
    class Settings:
        """How many are kept is known once they are scored."""

        scored_by: Mapping[str, Any] = scored_by()
        threshold: float = option("pairs with a higher probability are kept", 0.9, minimum=0, below=1, role="removal")

    def scores(self, pairs: Shuffled) -> np.ndarray:
        """Minus the probability: many pairs share 0 or 1."""
        return 0 - posterior(-super().scores(pairs))  # no -0

    def count(self, scores: np.ndarray) -> int:
        return int((-scores > self.settings.threshold).sum())
