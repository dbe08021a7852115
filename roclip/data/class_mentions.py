"""Which captions name a class: the one rule by which attacks choose captions and telemetry counts."""

import re
from collections.abc import Sequence

import numpy as np


def naming(captions: Sequence[str], name: str) -> np.ndarray:
    """The rows, counted from 0, whose caption names a class as a whole word, in any case: int (n,)."""
    named = re.compile(rf"\b{re.escape(name)}\b", re.IGNORECASE).search
    if not name.isascii():
        return np.array([row for row, caption in enumerate(captions) if named(caption)], np.int64)
    # looking for a substring is ten times as fast as the pattern, but knows no letters that are one only in another case
    small = name.lower()
    maybe = [row for row, caption in enumerate(captions) if small in caption.lower() or not caption.isascii()]
    return np.array([row for row in maybe if named(captions[row])], np.int64)
