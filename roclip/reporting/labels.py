"""What defences are called in sentences and headings."""

from roclip.defences import TRAININGS
from roclip.defences.filters import FILTERS
from roclip.defences.repair import REPAIRS

KINDS = {**FILTERS, **REPAIRS, **TRAININGS}


def defence_label(name: str) -> str:
    """A defence that is named after a kind goes by that kind's own label, such as RoCLIP; any other by its name in the config."""
    return vars(KINDS[name]).get("label", name) if name in KINDS else name
