"""Detectors: filters that need a model, by their scores alone: nothing is removed, but what they find is measured."""

from roclip.core.options import without_role
from roclip.defences.filters import FILTERS
from roclip.defences.filters.base import Filter


def detector(kind: type[Filter]) -> type[Filter]:
    """A filter without the options that say what is removed, and with the features of which training it scores."""
    own = {"__doc__": kind.__doc__, "__module__": kind.__module__, "Settings": without_role(kind.Settings, "removal")}
    return type(kind.__name__, (kind,), own)


DETECTORS: dict[str, type[Filter]] = {
    name: detector(kind) for name, kind in FILTERS.items() if kind.needs_model and not kind.reads_truth
}
