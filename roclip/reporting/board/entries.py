"""Reads the files of the leaderboard, which anybody may have written: every cell is checked, and a fault is one line."""

import base64
import binascii
import json
import logging
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unicodedata import normalize

from roclip.core.columns import LEADERBOARD
from roclip.core.errors import UserError, one_line
from roclip.core.files import NUMBER, read_table
from roclip.experiment.schema import FAMILIES
from roclip.reporting.board.costs import COUNTED, MEASURED
from roclip.reporting.board.pictures import MOST, SIDE

log = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # of an experiment, which is a file's
LONGEST = 300  # characters of a text
EPOCHS = 2000  # of a curve
SEEDS = 10_000  # over which a row is a mean
PICTURE = 65_536  # bytes
DEAREST = 1_000_000  # CLIP epochs
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
WITH_INTERVALS = ("attack_success", "control", "zero_shot", "equal_success")
SHARES = (
    *(f"{name}{part}" for name in WITH_INTERVALS for part in ("", "_low", "_high")),
    "equal_accuracy",
)
COUNTS = ("pairs", "poisons", "seeds", "judged")
WORDS = {
    "drawn": ("0", "1"),
    "learned": ("0", "1"),
    "family": FAMILIES,
    "cost_from": ("", MEASURED, COUNTED),
}
MOST_NAMES = 150  # attacks, and defences, of all files: the page has a cell for each of one with each of the other
CURVES = ("curve_zero_shot", "curve_success")
LONG = (*CURVES, "curve_kinds", "pictures", "picture_texts")
KEY = ("dataset", "attack", "defence")
FILLED = ("experiment", *KEY, "model", "kind", "checkpoint", "commit", "config", "computed_by")
Row = dict[str, Any]


class Wrong(Exception):
    """A cell that cannot be; its message names the column."""


def read_entries(folder: Path) -> list[Row]:
    """The rows of all CSV files of a folder, none where there is none.

    Shares and cost are floats, NaN where the cell is empty; counts are integers or None; `drawn` and `learned` are booleans; a
    curve is a list of (kind, accuracy, success); `pictures` is a list of (data URL, text). All texts are one line.
    Raises UserError for the first fault.
    """
    paths = [path for path in sorted(folder.glob("*.csv")) if path.name[0] != "."]  # those are half-written
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".csv" and path.name[0] != "."):
        if path not in paths:
            log.warning("%s: is not read; move it to %s and let its name end in .csv", path, folder)
    rows = [row for path in paths for row in read_entry(path)]
    for key in ("attack", "defence"):
        if (count := len({row[key] for row in rows})) > MOST_NAMES:
            raise UserError(
                f"{folder}: {count} {key}s in all files, more than the {MOST_NAMES} that a page shows; take some out"
            )
    return rows


def read_entry(path: Path) -> list[Row]:
    """The rows of one file. Raises UserError for the first fault."""
    return checked_rows(path, read_table(path, tuple(LEADERBOARD)))


def checked_rows(path: Path, table: Iterable[dict[str, str]]) -> list[Row]:
    """The rows that a file has or will have, with their cells as what they are. Raises UserError for the first fault."""
    rows, seen = [], {}
    for number, cells in enumerate(table, 1):
        try:
            row = checked(cells)
            if row["experiment"] != path.stem:
                raise Wrong(f"experiment: '{row['experiment']}' is not the file's name; an experiment has one file")
            key = tuple(row[name] for name in KEY)
            if key in seen:
                raise Wrong(f"duplicate key, as row {seen[key]}: {', '.join(key)}")
        except Wrong as wrong:
            raise UserError(f"{path}, row {number}: {wrong}") from None
        seen[key] = number
        rows.append(row)
    return rows


def checked(cells: dict[str, str]) -> Row:
    """A row with its cells as what they are. Raises Wrong."""
    for name in (name for name in LEADERBOARD if name not in LONG and len(cells[name]) > LONGEST):
        raise Wrong(f"{name}: more than {LONGEST} characters")
    for name in (name for name in FILLED if not cells[name].strip()):
        raise Wrong(f"{name}: is empty")
    for name, words in WORDS.items():
        if cells[name] not in words:
            raise Wrong(f"{name}: '{cells[name]}' is not among {', '.join(word or 'nothing' for word in words)}")
    for name in (name for name in FILLED if normalize("NFC", cells[name].strip()) != cells[name]):
        raise Wrong(f"{name}: has blanks at an end, or characters that are not in Unicode's form NFC")
    row = {name: one_line(cells[name]) for name in LEADERBOARD}
    row |= {name: share(name, cells[name]) for name in SHARES} | {name: count(name, cells[name]) for name in COUNTS}
    row |= {name: cells[name] == "1" for name in ("drawn", "learned")} | {"cost": cost(cells["cost"])}
    ordered(row)
    fitting(row)
    return row | {"curve": curve(cells), "pictures": pictures(cells)}


def real(name: str, cell: str) -> float:
    """A finite number, NaN for an empty cell. Raises Wrong."""
    if not cell:
        return math.nan
    if not NUMBER.fullmatch(cell):  # float would take 1_0, and digits of other scripts
        raise Wrong(f"{name}: '{cell}' is no number; leave it empty where there is none")
    value = float(cell) + 0.0  # in place of -0
    if not math.isfinite(value):
        raise Wrong(f"{name}: '{cell}' is too large")
    return value


def share(name: str, cell: str) -> float:
    value = real(name, cell)
    if value < 0 or value > 1:
        raise Wrong(f"{name}: {cell} is not from 0 to 1")
    return value


def cost(cell: str) -> float:
    value = real("cost", cell)
    if value < 0 or value > DEAREST:
        raise Wrong(f"cost: {cell[:50]} is not from 0 to {DEAREST}")
    return value


def count(name: str, cell: str) -> int | None:
    """A whole number, None for an empty cell. Raises Wrong."""
    if not cell and name != "seeds":
        return None
    if not re.fullmatch(r"[0-9]{1,12}", cell):
        raise Wrong(f"{name}: '{cell}' is no whole number")
    if name == "seeds" and not 1 <= int(cell) <= SEEDS:
        raise Wrong(f"{name}: {cell} is not from 1 to {SEEDS}")
    return int(cell)


def ordered(row: Row) -> None:
    """Raises Wrong for an interval without its value, with one end, or that leaves its value out."""
    for name in WITH_INTERVALS:
        low, value, high = (row[f"{name}{part}"] for part in ("_low", "", "_high"))
        if math.isnan(low) and math.isnan(high):
            continue
        if not low <= value <= high:
            raise Wrong(f"{name}: {value:g} is not in its interval, {low:g} to {high:g}")


def fitting(row: Row) -> None:
    """Raises Wrong for cells that contradict one another."""
    said = {name: not math.isnan(row[name]) for name in ("attack_success", "equal_success", "equal_accuracy", "cost")}
    for name in ("attack_success", "equal_success"):
        if said[name] and not row["learned"]:
            raise Wrong(f"{name}: of a model that has learned nothing there is none")
        if said[name] and row["family"] == "clean":
            raise Wrong(f"{name}: of the family clean there is none, as nothing was attacked")
        if said[name] and row["judged"] == 0:
            raise Wrong(f"judged: is 0, and there is {name}")
    if said["equal_success"] != said["equal_accuracy"]:
        raise Wrong("equal_accuracy: is there if, and only if, equal_success is")
    if said["cost"] != bool(row["cost_from"]):
        raise Wrong("cost_from: is there if, and only if, cost is")
    if row["poisons"] and row["family"] == "clean":
        raise Wrong(f"poisons: {row['poisons']}, and the family is clean")
    if row["poisons"] and row["pairs"] is not None and row["poisons"] > row["pairs"]:
        raise Wrong(f"poisons: {row['poisons']} are more than the {row['pairs']} pairs")


def curve(cells: dict[str, str]) -> list[tuple[str, float, float]]:
    """Kind, accuracy and success of every epoch. Raises Wrong."""
    kinds = [one_line(kind) for kind in cells["curve_kinds"].split()]
    columns = [numbers(name, cells[name]) for name in CURVES]
    if any(len(column) != len(kinds) for column in columns):
        raise Wrong(f"curve_kinds: {len(kinds)} epochs, and not as many numbers in {' or '.join(CURVES)}")
    if len(kinds) > EPOCHS:
        raise Wrong(f"curve_kinds: more than {EPOCHS} epochs")
    return list(zip(kinds, *columns, strict=True))


def numbers(name: str, cell: str) -> list[float]:
    return [math.nan if word == "-" else share(name, word) for word in cell.split()]


def pictures(cells: dict[str, str]) -> list[tuple[str, str]]:
    """Data URLs and texts. Raises Wrong for what is no small PNG, and for any picture of what was not drawn."""
    images, texts = cells["pictures"].split(), listed(cells["picture_texts"])
    if images and cells["drawn"] != "1":
        raise Wrong("pictures: only drawn scenes may be shown; photographs are other people's")
    if len(images) != len(texts) or len(images) > MOST:
        raise Wrong(f"pictures: {len(images)} with {len(texts)} texts; there may be {MOST}, with a text each")
    return [(png(image), one_line(text[:LONGEST])) for image, text in zip(images, texts, strict=True)]


def listed(cell: str) -> list[str]:
    """A JSON list of texts; an empty cell is an empty one. Raises Wrong."""
    try:
        texts = json.loads(cell or "[]")
    except (ValueError, RecursionError):
        texts = None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Wrong("picture_texts: no JSON list of texts")
    return texts


def png(text: str) -> str:
    """The data URL of a PNG of up to SIDE pixels a side, from its base64. Raises Wrong for anything else."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Wrong("pictures: no base64") from None
    sides = [int.from_bytes(content[place : place + 4], "big") for place in (16, 20)]
    if not content.startswith(PNG) or len(content) > PICTURE or not all(0 < side <= SIDE for side in sides):
        raise Wrong(f"pictures: no PNG of up to {SIDE} pixels a side and {PICTURE} bytes")
    return f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"
