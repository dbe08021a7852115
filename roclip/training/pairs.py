"""The pairs that a training goes over, those of a table or some of them, with the truth about each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pairs:
    """The pairs to train on: paths, captions, the truth of each, and their rows in the table, counted from 0."""

    path: Sequence[str]
    caption: Sequence[str]
    truth: dict[str, Sequence[str]]
    rows: np.ndarray

    def chosen(self, places: np.ndarray) -> "Pairs":
        """Those at some places."""

        def part(cells: Sequence[str]) -> list[str]:
            return [cells[place] for place in places]

        truth = {column: part(cells) for column, cells in self.truth.items()}
        return Pairs(part(self.path), part(self.caption), truth, self.rows[places])
