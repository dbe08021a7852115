"""Which captions name a class: the one rule by which attacks choose captions, the config is checked and telemetry counts."""

import re
from collections.abc import Sequence

import numpy as np


def naming(pairs: Sequence[dict[str, str]], name: str) -> np.ndarray:
    """The rows, counted from 0, whose caption names a class as a whole word, in any case: int (n,)."""
    word = re.compile(rf"\b{re.escape(name)}\b", re.IGNORECASE)
    return np.array([row for row, pair in enumerate(pairs) if word.search(pair["caption"])], np.int64)
