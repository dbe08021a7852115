"""Filters, which decide before training which pairs to keep, by the `kind` of a recipe's step `filter`."""

from roclip.defences.filters.base import Filter
from roclip.defences.filters.cosine import Cosine
from roclip.defences.filters.gmm import Gmm
from roclip.defences.filters.isolation_forest import IsolationForest
from roclip.defences.filters.neighbours import Dao, KDistance, Lid, Slof
from roclip.defences.filters.oracle import Oracle
from roclip.defences.filters.random import Random

FILTERS: dict[str, type[Filter]] = {
    "random": Random,
    "cosine": Cosine,
    "oracle": Oracle,
    "gmm": Gmm,
    "k_distance": KDistance,
    "slof": Slof,
    "lid": Lid,
    "dao": Dao,
    "isolation_forest": IsolationForest,
}
