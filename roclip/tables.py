"""Reading and writing the small text files between stages: CSV and TSV tables, JSON, and lists with one item a line.

Cells are text and stay what they are: "NA", "null", "nan" and "" are captions like any other.
"""

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from roclip.atomic import atomic
from roclip.errors import UserError

csv.field_size_limit(1 << 20)


def _delimiter(path: Path) -> str:
    return "\t" if path.suffix == ".tsv" else ","


def _read(path: Path, columns: Sequence[str], delimiter: str) -> Iterator[list[str]]:
    """The header of a table and then its rows, one at a time; blank lines are skipped. Raises as `read_table`."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header = next(reader, [])
            missing = [column for column in columns if column not in header]
            if missing:
                raise UserError(f"{path}: no column '{missing[0]}'; its header must name {', '.join(columns)}")
            yield header
            for row in reader:
                if len(row) == len(header):
                    yield row
                elif row:
                    raise UserError(f"{path}, line {reader.line_num}: expected {len(header)} cells")
    except OSError as error:  # it is not there, or it is a folder, or not ours to read
        raise UserError(f"{path}: {error.strerror.lower()}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}") from None


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV (or, by its suffix, TSV) with a header that holds at least `columns`; all cells are text.

    Raises UserError for a missing file or column, a row with too few or too many cells, and text that is not UTF-8.
    """
    rows = _read(path, columns, _delimiter(path))
    header = next(rows)
    return [dict(zip(header, row, strict=True)) for row in rows]


def iterate_table(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The cells of `columns`, of which there are two or more, a row at a time: for lists of millions of rows.

    Raises as `read_table`.
    """
    rows = _read(path, columns, _delimiter(path))
    header = next(rows)
    yield from map(itemgetter(*map(header.index, columns)), rows)


def read_columns(
    path: Path, columns: Sequence[str], optional: Sequence[str] = (), delimiter: str | None = None
) -> dict[str, list[str]]:
    """The cells of `columns`, and of those `optional` ones that are there: for tables of millions of rows.

    A row takes about 50 bytes and its text, a fifth of what `read_table` takes. Raises UserError as it does.
    """
    rows = _read(path, columns, delimiter or _delimiter(path))
    places = {name: place for place, name in enumerate(next(rows))}
    cells: dict[str, list[str]] = {name: [] for name in (*columns, *optional) if name in places}
    appends = [(cells[name].append, places[name]) for name in cells]
    for row in rows:
        for append, place in appends:
            append(row[place])
    return cells


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write rows, cells in the order of `columns`, as CSV (or TSV), in one piece or not at all."""
    with atomic(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=_delimiter(path), lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as CSV (or TSV), in one piece or not at all. Raises ValueError for a row with other keys than `columns`."""
    with atomic(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, delimiter=_delimiter(path), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_lines(path: Path) -> list[str]:
    """The non-empty lines of a text file. Raises UserError when it is missing or empty."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    lines = [line for line in lines if line]
    if not lines:
        raise UserError(f"{path}: the file is empty")
    return lines


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises UserError when it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from None


def write_json(path: Path, content: Any) -> None:
    """Write JSON, indented and with sorted keys, in one piece or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """The hex digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
