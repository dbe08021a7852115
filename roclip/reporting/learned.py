"""Whether a model has learned anything: one near chance takes nothing for the adversary's class, which is no defence."""

from collections.abc import Iterable, Mapping
from math import sqrt
from typing import Any

NOT_LEARNED = "not learned"  # stands in place of the attack success of such a model


def learned_above(classes: int, n: int) -> float:
    """The zero-shot accuracy, 0 to 1, up to which a model judged on n images has learned nothing.

    That is three standard errors above chance, which is one in so many classes.
    """
    chance = 1 / classes
    return chance + 3 * sqrt(chance * (1 - chance) / n)


def has_learned(row: Mapping[str, Any], classes: int) -> bool:
    """Whether zero-shot accuracy is more than three standard errors above chance; taken for granted where it is not known."""
    return not row["zero_shot"] <= learned_above(classes, row["zero_shot_n"])


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
