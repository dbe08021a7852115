"""The figures of an experiment, by subject; what `roclip figure --figure` may be is what `figures_of` names."""

from roclip.experiment.plan import Plan
from roclip.reporting.figures.attack_success import AttackSuccess
from roclip.reporting.figures.base import Figure
from roclip.reporting.figures.contact_sheet import ContactSheet
from roclip.reporting.figures.cosines import Cosines
from roclip.reporting.figures.detection import Detection
from roclip.reporting.figures.equal_accuracy import EqualAccuracy
from roclip.reporting.figures.front import Front
from roclip.reporting.figures.matrix import Matrix
from roclip.reporting.figures.saw_tooth import SawTooth
from roclip.reporting.figures.sweep import Sweep
from roclip.reporting.figures.telemetry import Telemetry
from roclip.reporting.figures.utility import Utility

FIGURES: dict[str, type[Figure]] = {
    "attack_success": AttackSuccess,
    "matrix": Matrix,
    "equal_accuracy": EqualAccuracy,
    "front": Front,
    "utility": Utility,
    "saw_tooth": SawTooth,
    "cosines": Cosines,
    "telemetry": Telemetry,
    "detection": Detection,
    "sweep": Sweep,
    "contact_sheet": ContactSheet,
}


def figures_of(plan: Plan) -> dict[str, type[Figure]]:
    """The figures of an experiment by the stems of their files, each with the class that draws it."""
    return {name: figure for figure in FIGURES.values() for name in figure.names(plan)}
