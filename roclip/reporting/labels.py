"""What defences and measures are called in sentences and headings."""

from roclip.defences import TRAININGS
from roclip.defences.filters import FILTERS
from roclip.defences.repair import REPAIRS
from roclip.evaluation import MEASURES

KINDS = {**FILTERS, **REPAIRS, **TRAININGS}


def defence_label(name: str) -> str:
    """A defence named after a kind goes by the label of the kind, such as RoCLIP; any other by its name in the config."""
    return vars(KINDS[name]).get("label", name) if name in KINDS else name


def measure_label(name: str) -> str:
    """A measure in a heading, such as linear probe for `linear_probe`."""
    return (MEASURES[name].label if name in MEASURES else None) or name.replace("_", " ")
