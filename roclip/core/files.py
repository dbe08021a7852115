"""Reading and writing the small text files between stages: CSV and TSV tables, JSON, and lists with one item a line.

Cells are text and stay what they are: "NA", "null", "nan" and "" are captions like any other. Spreadsheets run a cell that
begins with = + - @, a tab or a carriage return as a formula, so such a text is written with an apostrophe before it, which is
taken away when it is read; numbers stay as they are.
"""

import csv
import hashlib
import json
import logging
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import IO, Any

from roclip.core.atomic import atomic
from roclip.core.csv_lines import Lines, fault_of, is_blank, swallows
from roclip.core.errors import UserError
from roclip.core.not_text import not_text, refuse_nul

log = logging.getLogger(__name__)

CELL, ROW, HEADER = 1 << 20, 1 << 22, 1 << 16  # characters of the longest cell, row and header that are read
FILE = 1 << 24  # bytes of the longest list or JSON file; JSON may take 25 times as much memory
BLOCK = 1 << 20  # bytes that are read at a time
csv.field_size_limit(CELL)

FORMULA = re.compile(r"'*[=+\-@\t\r]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def _written(cell: Any) -> Any:
    """A cell as it is written. One that begins with apostrophes and then as a formula gets one more, so that none is lost."""
    if isinstance(cell, str) and FORMULA.match(cell) and not NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def _restored(cells: list[str]) -> list[str]:
    """Cells as they were before `_written`."""
    return [cell[1:] if cell[:1] == "'" and FORMULA.match(cell) else cell for cell in cells]


def open_file(path: Path, mode: str = "rb", **how: Any) -> IO:
    """`open` for files that are named by a user. Raises UserError for what is not there, or is no file: pipes would hang."""
    try:
        kind = path.stat().st_mode
        if not S_ISREG(kind):
            raise UserError(f"{path}: is a {'directory' if S_ISDIR(kind) else 'pipe or device'}, no file")
        return open(path, mode, **how)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror.lower()}") from None
    except ValueError as error:  # a path with a NUL
        raise UserError(f"{path}: {error}") from None


def count_lines(path: Path) -> int:
    """How many lines a file has, whatever ends them, in seconds for millions. Raises UserError for what cannot be read."""
    feeds, returns, last = 0, 0, b""
    with open_file(path) as file:
        for block in iter(lambda: file.read(BLOCK), b""):
            feeds, returns, last = feeds + block.count(b"\n"), returns + block.count(b"\r"), block[-1:]
    return max(feeds, returns) + (last not in b"\r\n")


def _delimiter(path: Path, header: str = "") -> str:
    """Tab or comma, of which the header holds more; where it holds as many, as the name of the file ends."""
    tabs, commas = header.count("\t"), header.count(",")
    return "\t" if tabs > commas or (tabs == commas and path.suffix.lower() == ".tsv") else ","


def _read(path: Path, columns: Sequence[str], delimiter: str | None, restore: bool) -> Iterator[list[str]]:
    """The header of a table and then its rows, one at a time; lines of blanks are skipped. Raises as `read_table`.

    A line with as many cells as the header is a row, though all of them be blanks, as any line is of a table of one column.
    delimiter: None for the one that the header shows. restore: this project wrote the table: take away the apostrophes that
    `write_rows` put before formulas. In anybody else's they are part of a cell.
    """
    with open_file(path, "r", encoding="utf-8-sig", newline="") as file:
        lines, begun = Lines(file, HEADER), 1  # line in which the row begins
        try:
            start = lines.until_text()
            delimiter = delimiter or _delimiter(path, start[-1])
            reader = csv.reader(chain(start, lines), delimiter=delimiter, strict=True)
            header = next((row for row in reader if any(map(str.strip, row))), [])
            refuse_nul(path, "".join(header))
            missing = [column for column in columns if column not in header]
            if missing:
                named = f"the header must name {', '.join(columns)}; it is {delimiter.join(header)[:200]!r}"
                raise UserError(f"{path}, line {max(1, reader.line_num)}: no column '{missing[0]}'; {named}")
            if len(set(header)) < len(header):
                double = next(name for name in header if header.count(name) > 1)
                raise UserError(f"{path}, line {reader.line_num}: duplicate column '{double}'; rename one")
            yield header
            lines.begin(ROW)
            begun, warned = reader.line_num + 1, False
            for row in reader:
                if len(row) == len(header):
                    if reader.line_num > begun and not warned and swallows(row, delimiter):
                        log.warning(
                            "%s, line %d: a cell in quotation marks holds lines that look like rows; is a quote not closed?",
                            path, begun,
                        )  # fmt: skip
                        warned = True
                    yield _restored(row) if restore else row
                elif not is_blank(delimiter.join(row)):
                    hint = (
                        "; a cell that holds a comma stands in double quotes"
                        if delimiter == "," and len(row) > len(header)
                        else ""
                    )
                    raise UserError(f"{path}, line {begun}: expected {len(header)} cells, found {len(row)}{hint}")
                lines.begin(ROW)
                begun = reader.line_num + 1
        except OSError as error:
            raise UserError(f"{path}: {error.strerror.lower()}") from None
        except UnicodeDecodeError:
            raise not_text(path) from None
        except csv.Error as error:
            raise UserError(f"{path}, line {begun}: {fault_of(error)}") from None


def read_table(path: Path, columns: Sequence[str], restore: bool = True) -> list[dict[str, str]]:
    """The rows of a CSV (or, as its header shows, TSV) with a header that holds at least `columns`; all cells are text.

    restore: as this project wrote it, and not as others do. Raises UserError for a missing file or column, a row with too few
    or too many cells, and text that is not UTF-8.
    """
    rows = _read(path, columns, None, restore)
    header = next(rows)
    return [dict(zip(header, row, strict=True)) for row in rows]


def iterate_table(path: Path, columns: Sequence[str], restore: bool = True) -> Iterator[tuple[str, ...]]:
    """The cells of `columns`, of which there are two or more, a row at a time: for lists of millions of rows.

    restore, and what is raised: as of `read_table`.
    """
    rows = _read(path, columns, None, restore)
    header = next(rows)
    yield from map(itemgetter(*map(header.index, columns)), rows)


def read_columns(
    path: Path, columns: Sequence[str], optional: Sequence[str] = (), delimiter: str | None = None, restore: bool = True
) -> dict[str, list[str]]:
    """The cells of `columns`, and of those `optional` ones that are there: for tables of millions of rows.

    A row takes about 50 bytes and its text, a fifth of what `read_table` takes. restore: as this project wrote it, and not as
    others do. Raises UserError as it does.
    """
    rows = _read(path, columns, delimiter, restore)
    places = {name: place for place, name in enumerate(next(rows))}
    cells: dict[str, list[str]] = {name: [] for name in (*columns, *optional) if name in places}
    appends = [(cells[name].append, places[name]) for name in cells]
    for row in rows:
        for append, place in appends:
            append(row[place])
    return cells


class _Unix:
    """Ends rows with a line feed, and yet cells that hold either kind of line end are quoted: csv.writer looks for its own."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file

    def write(self, row: str) -> None:
        self.file.write(row.removesuffix("\r\n") + "\n")


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write rows, cells in the order of `columns`, as CSV (or TSV), in one piece or not at all."""
    with atomic(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(_Unix(file), delimiter=_delimiter(path))
        writer.writerow(columns)
        try:
            writer.writerows(map(_written, row) for row in rows)
        except UnicodeEncodeError as error:  # half of a surrogate pair, or the name of a file that is not UTF-8
            raise UserError(f"{path}: a row cannot be written as UTF-8: {error.object[:200].strip()}") from None


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as CSV (or TSV), in one piece or not at all. Raises ValueError for a row with other keys than `columns`."""
    known = set(columns)

    def cells(row: Mapping[str, Any]) -> list[Any]:
        if row.keys() - known:
            raise ValueError(f"a row has the keys {sorted(row)} and not {columns}")
        return [row.get(column, "") for column in columns]

    write_rows(path, columns, map(cells, rows))


def read_text(path: Path, most: int = FILE) -> str:
    """A whole file. Raises UserError for one that is missing, longer than so many bytes or not UTF-8."""
    try:
        with open_file(path, "r", encoding="utf-8-sig") as file:
            if os.fstat(file.fileno()).st_size > most:
                raise UserError(f"{path}: more than {most} bytes; is it the right file?")
            return file.read()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror.lower()}") from None
    except UnicodeDecodeError:
        raise not_text(path) from None


def read_lines(path: Path) -> list[str]:
    """The non-empty lines of a text file. Raises UserError when it is missing, empty or not UTF-8."""
    lines = [line.strip() for line in read_text(path).split("\n")]
    lines = [line for line in lines if line]
    if not lines:
        raise UserError(f"{path}: the file is empty")
    return lines


def no_number(word: str) -> None:
    raise ValueError(f"{word} is no number in JSON")


def duplicate_key(key: str) -> str:
    return f"duplicate key '{key[:100]}' in an object"


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises ValueError for a duplicate key in it, of which json keeps the last value."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(duplicate_key(Counter(key for key, _ in pairs).most_common(1)[0][0]))
    return found


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:100]} is too large a number")
    return number


def parse_json(text: str | bytes) -> Any:
    """What JSON says. Raises ValueError for what is none, duplicate keys and numbers that are not finite."""
    try:
        return json.loads(text, parse_constant=no_number, parse_float=_finite, object_pairs_hook=unique)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: Path, most: int = FILE) -> Any:
    """The content of a JSON file. Raises UserError when it is missing, longer than so many bytes or broken."""
    try:
        return parse_json(read_text(path, most))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from None
    except ValueError as error:  # also of numbers of thousands of digits
        raise UserError(f"{path}: not JSON that can be read: {error}; mend it") from None


def write_json(path: Path, content: Any) -> None:
    """Write JSON, indented and with sorted keys, in one piece or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """The hex digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
