"""Removal of the pairs that a mixture of two Gaussians takes for badly matched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roclip.core.facts import Facts
from roclip.core.options import option
from roclip.defences.filters.cosine import Cosine
from roclip.defences.mixture import posterior

if TYPE_CHECKING:
    import numpy as np


class Gmm(Cosine):
    """Keeps the pairs whose cosine is of the upper of two Gaussians with a high probability, as SafeCLIP does."""

    @dataclass(frozen=True, kw_only=True)
    class Settings:
        scored_by: Mapping[str, Any] = option("the step `train` of the model that scores", schema={"$ref": "#/$defs/train"})
        threshold: float = option("pairs with a higher probability are kept", 0.9, minimum=0, below=1)

    @classmethod
    def problems(cls, settings: Mapping[str, Any], facts: Facts) -> Iterator[tuple[str, str]]:
        """How many are kept is known once they are scored."""
        yield from ()

    def count(self, scores: np.ndarray) -> int:
        return int((posterior(-scores) > self.settings.threshold).sum())
