"""Whether a model has learned anything: one near chance takes nothing for the adversary's class, which is no defence."""

from collections.abc import Iterable, Mapping
from math import sqrt
from typing import Any

from roclip.evaluation import OWN

TIMES, POINTS = 5, 0.05  # above chance, at least
NOT_LEARNED = "not learned"  # stands in place of the attack success of such a model


def learned_above(classes: int, n: int) -> float:
    """The zero-shot accuracy, 0 to 1, up to which a model judged on n images has learned nothing.

    That is three standard errors above chance, which is one in so many classes.
    """
    chance = 1 / classes
    return chance + 3 * sqrt(chance * (1 - chance) / n)


def useful_above(classes: int, n: int) -> float:
    """The zero-shot accuracy, 0 to 1, up to which a model judged on n images is of no use, so that it is no defence either.

    That is `learned_above` and, as many images show the least trace of learning, five times chance or five points above it,
    whichever is less: 3% of 100 classes is nothing that anybody would defend.
    """
    chance = 1 / classes
    return max(learned_above(classes, n), min(TIMES * chance, chance + POINTS))


def has_learned(row: Mapping[str, Any], classes: int) -> bool:
    """Whether a row of `pivot` is of models that have learned: each of them and, as of `useful_above`, their mean accuracy.

    Taken for granted where accuracy is not known.
    """
    return bool(row["learned"]) and not row["zero_shot"] <= useful_above(classes, row["zero_shot_n"])


def with_learned(
    rows: Iterable[Mapping[str, Any]], measured: Iterable[Mapping[str, Any]], classes: int
) -> list[dict[str, Any]]:
    """The rows of results.csv with the column `learned`, 1 or 0, of the model and checkpoint that each is about.

    measured: rows of the measures, one for each training. Where one training of several learned nothing, the others' success
    is hidden too: in their mean that one would count as a defence.
    """
    rows = list(rows)
    means = [(row, row["value"], row["n"]) for row in rows if row["measure"] == "zero_shot"]
    each = [(row, row["hits"] / row["n"], row["n"]) for row in measured if is_own_accuracy(row)]
    blind = {model_of(row) for row, accuracy, n in (*means, *each) if accuracy <= useful_above(classes, n)}
    return [{**row, "learned": int(model_of(row) not in blind)} for row in rows]


def is_own_accuracy(row: Mapping[str, Any]) -> bool:
    return (row["measure"], row["evaluation_set"]) == ("zero_shot_top1", OWN)


def model_of(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["attack"], row["defence"], row["checkpoint"]
