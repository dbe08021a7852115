"""Whether a model has learned anything: one near chance takes nothing for the adversary's class, which is no defence."""

from collections.abc import Iterable, Mapping
from math import sqrt
from typing import Any

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
    """Whether zero-shot accuracy is above `useful_above`; taken for granted where it is not known."""
    return not row["zero_shot"] <= useful_above(classes, row["zero_shot_n"])


def with_learned(rows: Iterable[Mapping[str, Any]], classes: int) -> list[dict[str, Any]]:
    """The rows of results.csv with the column `learned`, 1 or 0, of the model and checkpoint that each is about."""
    rows = list(rows)
    blind = {
        model_of(row)
        for row in rows
        if row["measure"] == "zero_shot" and not has_learned({"zero_shot": row["value"], "zero_shot_n": row["n"]}, classes)
    }
    return [{**row, "learned": int(model_of(row) not in blind)} for row in rows]


def model_of(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["attack"], row["defence"], row["checkpoint"]
