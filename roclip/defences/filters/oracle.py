"""Removal of the true poisons: no defence, for it reads the truth, but the best that any filter could do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from roclip.defences.filters.base import Filter, Shuffled

if TYPE_CHECKING:
    import numpy as np


class Oracle(Filter):
    """Removes exactly the poisoned pairs, which it reads in the truth: a reference, the only recipe that may."""

    reads_truth: ClassVar[bool] = True

    @dataclass(frozen=True, kw_only=True)
    class Settings:
        """How many are kept is no setting: all that are not poisoned."""

    def scores(self, pairs: Shuffled) -> np.ndarray:
        return pairs.is_poison

    def count(self, scores: np.ndarray) -> int:
        return int((scores == 0).sum())
