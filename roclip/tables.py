"""Reading and writing the small text files between stages: CSV and TSV tables, JSON, and lists with one item a line.

Cells are text and stay what they are: "NA", "null", "nan" and "" are captions like any other.
"""

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from roclip.atomic import atomic
from roclip.errors import UserError

csv.field_size_limit(1 << 20)


def _delimiter(path: Path) -> str:
    return "\t" if path.suffix == ".tsv" else ","


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV (or, by its suffix, TSV) with a header that holds at least `columns`; all cells are text.

    Raises UserError for a missing file or column, a row with too few or too many cells, and text that is not UTF-8.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=_delimiter(path), restkey="", strict=True)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise UserError(f"{path}: no column '{missing[0]}'; its header must name {', '.join(columns)}")
            rows = []
            for row in reader:
                if "" in row or None in row.values():
                    raise UserError(f"{path}, line {reader.line_num}: expected {len(reader.fieldnames)} cells")
                rows.append(row)
            return rows
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}") from None


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
