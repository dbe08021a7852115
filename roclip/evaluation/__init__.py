"""Measures of a model on an evaluation set, by the `--kind` of the stage `measure`."""

from roclip.evaluation.attack_success import AttackSuccess
from roclip.evaluation.base import Measure
from roclip.evaluation.linear_probe import LinearProbe
from roclip.evaluation.zero_shot import ZeroShot

MEASURES: dict[str, type[Measure]] = {
    "attack_success": AttackSuccess,
    "zero_shot": ZeroShot,
    "linear_probe": LinearProbe,
}
OWN = "own"  # the evaluation set of the experiment's own labelled images


def attack_set(attack: str) -> str:
    """What the evaluation set of an attack is called; no set of labelled images begins so."""
    return f"attack-{attack}"


def measures_of(evaluation_set: str) -> list[str]:
    """The measures that an evaluation set is for: `own`, a downstream set, or `attack-NAME`."""
    kind = "attack" if evaluation_set.startswith(attack_set("")) else "labelled"
    return [name for name, measure in MEASURES.items() if measure.of == kind]
