"""Measures of a model on an evaluation set, by the `--kind` of the stage `measure`."""

from collections.abc import Collection

from roclip.evaluation.attack_success import AttackSuccess
from roclip.evaluation.base import Measure
from roclip.evaluation.linear_probe import LinearProbe
from roclip.evaluation.retrieval import Retrieval
from roclip.evaluation.retrieval_success import RetrievalSuccess
from roclip.evaluation.zero_shot import ZeroShot

MEASURES: dict[str, type[Measure]] = {
    "attack_success": AttackSuccess,
    "zero_shot": ZeroShot,
    "linear_probe": LinearProbe,
    "retrieval": Retrieval,
    "retrieval_success": RetrievalSuccess,
}
OWN = "own"  # the evaluation set of the experiment's own labelled images
PAIRS = "pairs"  # that of its pairs that are not trained on
OPTIONAL = tuple(name for name, measure in MEASURES.items() if measure.is_optional)
SUCCESS = tuple(f"{name}_top1" for name, measure in MEASURES.items() if measure.is_success)  # rows that an attack is judged by


def attack_set(attack: str) -> str:
    """What the evaluation set of an attack is called; no set of labelled images begins so."""
    return f"attack-{attack}"


def measures_of(evaluation_set: str, of_captions: Collection[str] = ()) -> list[str]:
    """The measures that an evaluation set is for: `own`, `pairs`, a downstream set, or `attack-NAME`.

    of_captions: the attacks whose evaluation sets are captions.
    """
    attack = evaluation_set.removeprefix(attack_set(""))
    if attack != evaluation_set:
        kind = "captions" if attack in of_captions else "attack"
    else:
        kind = "pairs" if evaluation_set == PAIRS else "labelled"
    return [name for name, measure in MEASURES.items() if measure.of == kind]
