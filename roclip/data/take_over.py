"""Taking over a split that is on this disk: a table, or a folder of shards.

An image outside data.roots is opened by no stage; here, at the first, this is an error that names them.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from roclip.core.errors import UserError
from roclip.core.files import read_columns, write_rows
from roclip.data.images import BadImage, Roots
from roclip.data.pairs import read_pairs
from roclip.data.samples import LeftOut
from roclip.data.url_list import TEXT


def take_over(source: Path, split: str, table: Path, roots: Roots, max_bad_fraction: float) -> LeftOut:
    """Write the table of a split; what of its shards is left out, cells of QUARANTINE.

    Raises UserError for a source that is none, or has no rows, and for more than `max_bad_fraction` of images outside `roots`.
    """
    text, left_out = TEXT[split], []
    columns = read_pairs(source, left_out=left_out) if text == "caption" else read_columns(source, ("path", text))
    if not columns["path"]:
        raise UserError(f"{source}: no rows; the split '{split}' needs some")
    _check_places(source, columns["path"], roots, max_bad_fraction)
    write_rows(table, ("path", text), zip(columns["path"], columns[text], strict=True))
    return left_out


def _check_places(source: Path, paths: Sequence[str], roots: Roots, max_bad_fraction: float) -> None:
    outside = [row for row, path in enumerate(paths, 1) if _is_outside(path, roots)]
    if len(outside) > max_bad_fraction * len(paths):
        first = paths[outside[0] - 1]
        folder = source if source.is_dir() else os.path.dirname(os.path.realpath(first))  # noqa: PTH120 (as in Roots)
        raise UserError(
            f"{source}: {len(outside)} of {len(paths)} images lie outside data.roots ({roots.names}), first in row "
            f"{outside[0]} ({first}); add their folder, such as {folder}, to data.roots"
        )


def _is_outside(path: str, roots: Roots) -> bool:
    try:
        roots.check(path)
    except (BadImage, OSError, ValueError):  # a loop of links; a name with a NUL
        return True
    return False
