"""The contract of a filter: it scores pairs before training, and those with the highest scores are left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from roclip.core.facts import Facts
from roclip.core.options import option

if TYPE_CHECKING:
    import numpy as np
    import torch


@dataclass(frozen=True)
class Shuffled:
    """The pairs that a filter sees, in a random order, for in their table poisoned pairs come last.

    `captions`: (n,). `image_features`, `caption_features`: (n, dimension), normalised, of the model that scores; None for a
    filter that needs none. `rng`: of the filter's own, by the seed. `is_poison`: (n,), bool, for a filter that reads the
    truth; None for all others. `device`: where a filter may compute.
    """

    captions: Sequence[str]
    image_features: np.ndarray | None
    caption_features: np.ndarray | None
    rng: np.random.Generator
    is_poison: np.ndarray | None = None
    device: torch.device | str = "cpu"


def scored_by() -> Any:
    """The option of filters that need a model."""
    return option("the step `train` of the model that scores", schema={"$ref": "#/$defs/train"}, role="removal")


class Filter:
    """Scores pairs by how suspicious they are."""

    needs_model: ClassVar[bool] = False  # True: the recipe names a training, `scored_by`, whose features it sees
    reads_truth: ClassVar[bool] = False  # True: no defender could run it; it is told which pairs are poisoned

    @dataclass(frozen=True, kw_only=True)
    class Settings:
        keep: float = option(
            "share of the pairs that are kept, those with the lowest scores", 0.95, above=0, maximum=1, role="removal"
        )

    @classmethod
    def problems(cls, settings: Mapping[str, Any], facts: Facts) -> Iterator[tuple[str, str]]:
        """What cannot work with such data: the option at fault, and why. A detector has no `keep`, nor has every filter."""
        kept = round(settings.get("keep", 1) * facts.pairs)
        if "keep" in settings and kept < facts.batch_size:
            yield "keep", f"{kept} of {facts.pairs} pairs are fewer than a batch of {facts.batch_size}"

    @classmethod
    def caution(cls, settings: Mapping[str, Any], pairs: int, poisoned: int) -> str:
        """Why scores of so many pairs, so many of them poisoned, are likely to fail, in words; empty where nothing is known."""
        return ""

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def scores(self, pairs: Shuffled) -> np.ndarray:
        """How suspicious each pair is: (n,), the highest are left out."""
        raise NotImplementedError(f"{type(self).__name__} scores nothing")

    def count(self, scores: np.ndarray) -> int:
        """How many pairs are kept, those with the lowest scores."""
        return round(self.settings.keep * len(scores))
