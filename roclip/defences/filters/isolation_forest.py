"""Removal of the pairs whose image random trees separate soonest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from roclip.core.deferred import Deferred
from roclip.core.options import option
from roclip.defences.filters.base import Filter, Shuffled, scored_by

if TYPE_CHECKING:
    import numpy as np
else:
    np = Deferred("numpy")

ensemble = Deferred("sklearn.ensemble")


class IsolationForest(Filter):
    """Removes the pairs whose image an isolation forest (Liu et al. 2008) finds the most isolated."""

    needs_model: ClassVar[bool] = True

    @dataclass(frozen=True, kw_only=True)
    class Settings(Filter.Settings):
        scored_by: Mapping[str, Any] = scored_by()
        trees: int = option("trees of the forest", 100, minimum=1, maximum=10_000)
        references: int = option(
            "random pairs whose images and captions the forest is fitted on; all where there are fewer", 2048, minimum=2
        )

    def scores(self, pairs: Shuffled) -> np.ndarray:
        count = len(pairs.image_features)
        chosen = pairs.rng.choice(count, min(self.settings.references, count), replace=False)
        forest = ensemble.IsolationForest(n_estimators=self.settings.trees, random_state=int(pairs.rng.integers(2**31)))
        forest.fit(np.concatenate([pairs.image_features[chosen], pairs.caption_features[chosen]]))
        return -forest.score_samples(pairs.image_features)
