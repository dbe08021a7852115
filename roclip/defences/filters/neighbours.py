"""Scores from distances to neighbours: where are the features of an image denser, or sparser, than around its neighbours?

Distances are Euclidean, among normalised features. Neighbours are sought among references: images and captions of a random
part of the pairs, in which a pair never finds its own image and caption. d_k(x) is the distance of x to its k-th neighbour,
N_k(x) are the k neighbours (Huang et al., ICLR 2025, arXiv 2502.01385, which score pairs so by their images). There poisoned
pairs, which all look alike, are neighbours of each other: k must be more than the poisoned pairs among the references.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from roclip.core.deferred import Deferred
from roclip.core.facts import Facts
from roclip.core.options import option
from roclip.defences.filters.base import Filter, Shuffled, scored_by

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor
else:
    np, torch = Deferred("numpy"), Deferred("torch")

stats = Deferred("scipy.stats")

BLOCK = 2048  # queries whose distances to all references are held at a time
CLOSE = 0.9  # of a higher cosine the distance is taken from the features: in 1 minus the cosine too few digits are left
NEAREST = 1e-4  # of the distance to the k-th neighbour: below it distances are rounding, and of equal features they are 0
TINY = 1e-12  # in place of a distance of 0, by which nothing can be divided


class Near(NamedTuple):
    """Distances (n, k) of queries to their neighbours, the nearest first, and which references these are (n, k)."""

    distances: Tensor
    places: Tensor


def nearest(queries: Tensor, owners: Tensor, references: Tensor, referred: Tensor, k: int) -> Near:
    """The k nearest references of each query that are not of its own pair.

    queries (n, d) and references (m, d), normalised; owners (n,) and referred (m,): the pairs that they are of.
    """
    found = []
    for first in range(0, len(queries), BLOCK):
        part = slice(first, first + BLOCK)
        cosines = queries[part] @ references.T
        cosines.masked_fill_(owners[part, None] == referred[None], -torch.inf)
        highest, places = cosines.topk(k, dim=1)
        distances = (2 - 2 * highest).clamp(min=0).sqrt()
        row, column = (highest > CLOSE).nonzero(as_tuple=True)
        distances[row, column] = (queries[part][row] - references[places[row, column]]).norm(dim=1)
        distances, order = distances.sort(dim=1)
        found.append(Near(distances, places.gather(1, order)))
    return Near(*map(torch.cat, zip(*found, strict=True)))


def intrinsic_dimension(distances: Tensor) -> Tensor:
    """The maximum likelihood estimate of the local intrinsic dimension: (n,) of distances (n, k), the nearest first.

    At most 1 / NEAREST, which is that of k neighbours at one distance.
    """
    ratios = (distances / distances[:, -1:].clamp(min=TINY)).clamp(NEAREST, 1)
    return -1 / ratios.log().mean(dim=1).clamp(max=-NEAREST)


class Neighbours(Filter):
    """Removes pairs by how far the image is from its neighbours; a subclass gives the score."""

    needs_model: ClassVar[bool] = True

    @dataclass(frozen=True, kw_only=True)
    class Settings(Filter.Settings):
        scored_by: Mapping[str, Any] = scored_by()
        neighbours: int = option("neighbours that an image is compared with", 16, minimum=2)
        references: int = option("random pairs among which neighbours are sought; all where there are fewer", 2048, minimum=2)

    @classmethod
    def problems(cls, settings: Mapping[str, Any], facts: Facts) -> Iterator[tuple[str, str]]:
        yield from super().problems(settings, facts)
        pairs = min(settings["references"], facts.pairs)
        others = 2 * (pairs - 1)
        k = settings["neighbours"]
        if k > others:
            yield "neighbours", f"{k} is more than the {others} images and captions of {pairs - 1} other pairs"
        elif settings["references"] < k:
            yield "references", f"{settings['references']} are fewer than the {k} neighbours that are sought among them"

    @classmethod
    def caution(cls, settings: Mapping[str, Any], pairs: int, poisoned: int) -> str:
        """Poisoned pairs may look alike; where k of them are references, they are each other's neighbours."""
        references, k = min(settings["references"], pairs), settings["neighbours"]
        if stats.hypergeom.sf(k, pairs, poisoned, references) <= 0.5:
            return ""
        among = f"about {references * poisoned / pairs:.0f} of its {references} references are poisoned"
        alike = "where poisoned pairs look alike they are each other's neighbours, and seem ordinary"
        return f"{among}, and it looks at {k} neighbours: {alike}"

    def scores(self, pairs: Shuffled) -> np.ndarray:
        with warnings.catch_warnings():  # that features are read-only, which nothing here writes to
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            images, captions = (
                torch.from_numpy(features).to(pairs.device) for features in (pairs.image_features, pairs.caption_features)
            )
        chosen = pairs.rng.choice(len(images), min(self.settings.references, len(images)), replace=False)
        chosen = torch.from_numpy(chosen).to(pairs.device)
        references, referred = torch.cat([images[chosen], captions[chosen]]), torch.cat([chosen, chosen])
        near = nearest(images, torch.arange(len(images), device=pairs.device), references, referred, self.settings.neighbours)
        around = nearest(references, referred, references, referred, self.settings.neighbours)
        return self.score(near, around).cpu().numpy()

    def score(self, near: Near, around: Near) -> Tensor:
        """How suspicious images are (n,), from their neighbours and, by reference, those of the references."""
        raise NotImplementedError(f"{type(self).__name__} scores nothing")


class KDistance(Neighbours):
    """Removes the pairs whose image is far from its k-th neighbour: d_k(x)."""

    def score(self, near: Near, around: Near) -> Tensor:
        return near.distances[:, -1]


class Slof(Neighbours):
    """Removes the pairs with the largest local outlier factor (Schubert et al. 2014): the mean of d_k(x) / d_k(o)."""

    label: ClassVar[str] = "SLOF"

    def score(self, near: Near, around: Near) -> Tensor:
        return (near.distances[:, -1:] / around.distances[:, -1].clamp(min=TINY)[near.places]).mean(dim=1)


class Lid(Neighbours):
    """Removes the pairs around whose image the local intrinsic dimension is largest (Amsaleg et al. 2015)."""

    label: ClassVar[str] = "LID"

    @dataclass(frozen=True, kw_only=True)
    class Settings(Neighbours.Settings):
        neighbours: int = option("neighbours that the dimension is estimated from", 64, minimum=2)

    def score(self, near: Near, around: Near) -> Tensor:
        return intrinsic_dimension(near.distances)


class Dao(Neighbours):
    """Removes the dimensionality-aware outliers (Anderberg et al. 2024), by the mean of LID(o) log(d_k(x) / d_k(o))."""

    label: ClassVar[str] = "DAO"

    def score(self, near: Near, around: Near) -> Tensor:
        ratios = near.distances[:, -1:].clamp(min=TINY) / around.distances[:, -1].clamp(min=TINY)[near.places]
        return (intrinsic_dimension(around.distances)[near.places] * ratios.log()).mean(dim=1)
