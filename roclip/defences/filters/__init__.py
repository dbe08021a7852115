"""Filters, which decide before training which pairs to keep, by the `kind` of a recipe's step `filter`."""

from roclip.defences.filters.base import Filter
from roclip.defences.filters.cosine import Cosine
from roclip.defences.filters.oracle import Oracle
from roclip.defences.filters.random import Random

FILTERS: dict[str, type[Filter]] = {"random": Random, "cosine": Cosine, "oracle": Oracle}
