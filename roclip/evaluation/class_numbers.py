"""Labels as class numbers."""

from pathlib import Path

import numpy as np

from roclip.core.errors import UserError
from roclip.core.files import read_lines
from roclip.data.labels import unknown


def labels_of(table: Path, rows: list[dict[str, str]], classes_file: Path) -> np.ndarray:
    """The class numbers of labelled rows. Raises UserError for a label that is no class."""
    numbers = {name: number for number, name in enumerate(read_lines(classes_file))}
    for line, row in enumerate(rows, 1):
        if row["label"] not in numbers:
            raise UserError(unknown(table, line, row["label"], classes_file, [*numbers]))
    return np.array([numbers[row["label"]] for row in rows], np.int64)
