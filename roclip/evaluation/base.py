"""The contract of a measure: from the features of an evaluation set to counts of hits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from roclip.core.errors import UserError
from roclip.core.files import read_json

if TYPE_CHECKING:
    from roclip.evaluation.features import Features


class Measure:
    """A share of images that a checkpoint gets right, or wrong as an attack wants it."""

    # the evaluation sets that it is for: `labelled` images, the experiment's own `pairs`, images of an `attack`, or `captions`
    # of one, which are looked up among the test images
    of: ClassVar[str]
    is_success: ClassVar[bool] = False  # whether its first row is what an attack achieves, in tables and sentences
    is_optional: ClassVar[bool] = False  # whether it is made only where the config's `measures` names it
    label: ClassVar[str | None] = None  # what it is called in headings; None: its name
    needs_probe: ClassVar[bool] = False  # whether it needs the probe images of a set beside the test images
    task: ClassVar[str] = ""  # what CLIP_benchmark calls it; empty where that has nothing of the kind

    @dataclass(frozen=True, kw_only=True)
    class Settings:
        """A measure without settings of its own."""

    def __init__(self, settings: Any) -> None:
        """settings: any object with the options of `Settings`."""
        self.settings = settings

    def rows(self, features: Features, checkpoint: str) -> list[dict[str, Any]]:
        """Rows of `checkpoint`, `measure`, `hits` and `n`, where it helps `outcomes`, a 1 or 0 for each of n, and
        of what is looked up `median_rank`, counted from 1.
        """
        raise NotImplementedError

    @classmethod
    def metrics(cls, features: Features, checkpoint: str, rows: list[dict[str, Any]]) -> dict[str, float]:
        """What CLIP_benchmark notes of its `task`, by name; rows: those of the checkpoint, as measured."""
        raise NotImplementedError


def read_measured(path: Path) -> list[dict[str, Any]]:
    """The rows of a measure, as the stage `measure` wrote them. Raises UserError for any other file."""
    rows = read_json(path)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) and is_measured(row) for row in rows):
        raise UserError(f"{path}: no rows of a measure; remove it and run the workflow, which measures again")
    seen: set[tuple[str, str]] = set()
    for checkpoint, measure in ((row["checkpoint"], row["measure"]) for row in rows):
        if (checkpoint, measure) in seen:  # counted twice, its images would make an interval narrower
            raise UserError(
                f"{path}: {measure[:50]} of {checkpoint[:50]} twice; remove it and run the workflow, which measures again"
            )
        seen.add((checkpoint, measure))
    return rows


def is_measured(row: dict[str, Any]) -> bool:
    """Whether a row has texts for names, and whole numbers of hits among one or more."""
    texts, counts = ("checkpoint", "evaluation_set", "measure"), (row.get("hits"), row.get("n"))
    whole = all(type(count) is int for count in counts)
    return whole and 0 <= counts[0] <= counts[1] > 0 and all(isinstance(row.get(name), str) for name in texts)
