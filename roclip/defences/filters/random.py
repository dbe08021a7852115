"""Random removal, the control of every filter."""

from __future__ import annotations

from roclip.defences.filters.base import Filter


class Random(Filter):
    """Removes random pairs: the control that every other filter must beat."""
