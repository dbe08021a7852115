"""Taking over a split that is on this disk, in whatever form it lies there.

An image outside data.roots is opened by no stage; here, at the first, this is an error that names them.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

from roclip.core.errors import UserError
from roclip.core.files import CELL, read_lines, write_rows
from roclip.data.image_bounds import BadImage
from roclip.data.image_paths import MEMBER, Roots, is_looked_for, is_there
from roclip.data.samples import LeftOut
from roclip.data.sources import Rows, Split, read_split, sharing

log = logging.getLogger(__name__)


def splits_of(tables: Mapping[str, Path], store: Path, templates: Path | None, classes: Path | None) -> Iterator[Split]:
    """What is taken over, by the source of each split; store: a folder for images that lie in no file of their own."""
    lists = [tuple(read_lines(path)) if path else () for path in (templates, classes)]
    for name, source in tables.items():
        yield Split(name, source, store / name, *lists, classes, sharing(tables, name))


def take_over(split: Split, table: Path, roots: Roots, max_bad_fraction: float) -> LeftOut:
    """Write the table of a split; what of its source is left out, cells of QUARANTINE.

    Raises UserError for a source that is none, or has no rows, for a label that is no class, and for more than
    `max_bad_fraction` of images outside `roots`, or of those that are looked for and are not there.
    """
    rows = read_split(split)
    first = next(rows, None)
    if first is None:
        raise UserError(f"{split.source}: no rows; the split '{split.name}' needs some")
    write_rows(table, ("path", split.text), _in_their_places(chain((first,), rows), split, roots, max_bad_fraction))
    return split.left_out


def _in_their_places(rows: Rows, split: Split, roots: Roots, max_bad_fraction: float) -> Iterator[tuple[str, str]]:
    """The rows. Raises UserError at their end where too many images lie outside the roots, or are not there."""
    count, outside, first, looked_for, missing, relative, empty = 0, 0, "", 0, [], False, 0
    for path, text in rows:
        count += 1
        row = split.row(count)
        empty += not text.strip()
        relative |= not path.startswith((os.sep, str(split.source.parent)))
        if not path:
            raise UserError(f"{split.source}, row {row}: its path is empty; take the row out")
        for what, cell, advice in (("path", path, "rename the file"), (split.text, text, "mend it")):
            if not _is_utf8(cell):
                raise UserError(f"{split.source}, row {row}: its {what} '{cell[:500]}' is not UTF-8; {advice}")
            if len(cell) >= CELL:  # the table of it could not be read
                raise UserError(f"{split.source}, row {row}: its {what} has {CELL} characters or more; {advice}")
        if not _is_inside(path, roots):
            outside += 1
            first = first or f"first in row {row} ({path}); {_advice(path)}"
        elif is_looked_for(count):
            looked_for += 1
            missing += [] if is_there(path) else [f"first in row {row} ({path})"]
        yield path, text
    if empty:
        log.warning("%s: %d of %d %ss are empty, and are taken over as they are", split.source, empty, count, split.text)
    if outside > max_bad_fraction * count:
        said = f"{outside} of {count} images lie outside data.roots ({roots.names})"
        raise UserError(f"{split.source}: {said}, {first}")
    if len(missing) > max_bad_fraction * looked_for:
        said = f"{len(missing)} of {looked_for} images that were looked for are not there, {missing[0]}"
        ours = "relative paths begin in the folder in which snakemake runs"  # and those of other projects beside their table
        raise UserError(f"{split.source}: {said}" + (f"; {ours}" if relative else ""))


def _is_utf8(cell: str) -> bool:
    """Whether a text can be written: names of files need not be UTF-8, and JSON may hold half of a surrogate pair."""
    try:
        return cell.isascii() or bool(cell.encode())
    except UnicodeEncodeError:
        return False


def _advice(path: str) -> str:
    if "\0" in path:
        return "no file's name holds a NUL; take the row out"
    member = MEMBER.fullmatch(path)
    folder = os.path.dirname(os.path.realpath(member[1] if member else path))  # noqa: PTH120 (as in Roots)
    return f"add their folder, such as {folder}, to data.roots"


def _is_inside(path: str, roots: Roots) -> bool:
    try:
        roots.check(path)
    except (BadImage, OSError, ValueError):  # a loop of links; a name with a NUL
        return False
    return True
