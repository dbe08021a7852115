"""The pairs that a training goes over, those of a table or some of them, with the truth about each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from roclip.core.columns import KEPT
from roclip.core.errors import UserError
from roclip.core.files import read_columns


def kept_rows(kept: Path | None, pairs: Path, count: int) -> np.ndarray:
    """The rows of a table of so many pairs that a filter keeps; all, where there is none.

    Raises UserError for rows that the table does not have.
    """
    if kept is None:
        return np.arange(count)
    cells = read_columns(kept, tuple(KEPT))["row"]
    rows = [int(cell) for cell in cells if cell.isdecimal() and len(cell) <= len(str(count)) and int(cell) < count]
    if not rows or len(set(rows)) < len(cells):
        raise UserError(f"{kept}: must name rows of {pairs}, 0 to {count - 1}, each once; run the filter again")
    return np.array(rows)


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
