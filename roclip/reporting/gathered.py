"""Reading tables that other stages gathered: cells are numbers where they should be, and rows are of the plan."""

from collections.abc import Iterable, Mapping, Sequence
from math import isinf
from pathlib import Path

from roclip.core.errors import UserError
from roclip.core.files import NUMBER, read_table
from roclip.experiment.plan import Plan

REMOVE = "remove the file and start the workflow, which writes it again"


def read_gathered(
    path: Path, columns: Iterable[str], shares: Iterable[str] = (), counts: Iterable[str] = (), once: Sequence[str] = ()
) -> list[dict[str, str]]:
    """The rows of a table as text: cells of `shares` are empty or finite numbers, those of `counts` integers of 0 or more.

    once: the columns by which rows are told apart: of two that are equal in them, as in two tables that were joined, one would
    count. NaN becomes empty. Raises UserError as `read_table`, for any other cell of them, and for a row that is there twice.
    """
    rows, shares, counts = read_table(path, tuple(columns)), tuple(shares), tuple(counts)
    seen: dict[tuple[str, ...], int] = {}
    for number, row in enumerate(rows, 1):
        for name in (name for name in shares if row[name] and not _is_number(row[name])):
            raise UserError(f"{path}, row {number}: {name} is '{row[name][:50]}' and no number; {REMOVE}")
        for name in (name for name in counts if not (row[name].isdecimal() and row[name].isascii() and len(row[name]) < 16)):
            raise UserError(f"{path}, row {number}: {name} is '{row[name][:50]}' and no count; {REMOVE}")
        if once and (first := seen.setdefault(tuple(row[name] for name in once), number)) < number:
            what = ", ".join(filter(None, (row[name][:50] for name in once)))
            raise UserError(f"{path}, row {number}: a second row of {what}, as row {first}; {REMOVE}")
        row |= {name: "" for name in shares if row[name] == "nan"}
    return rows


def read_shares(
    path: Path,
    columns: Iterable[str],
    shares: Sequence[str],
    counts: Iterable[str] = (),
    once: Sequence[str] = (),
) -> list[dict[str, str]]:
    """As `read_gathered`, of a table whose shares are from 0 to 1, or empty."""
    rows = read_gathered(path, columns, shares, counts, once)
    for number, row in enumerate(rows, 1):
        for name in (name for name in shares if row[name] and (float(row[name]) < 0 or float(row[name]) > 1)):
            raise UserError(f"{path}, row {number}: {name} is {row[name][:50]}, not from 0 to 1; {REMOVE}")
    return rows


def _is_number(cell: str) -> bool:
    return cell == "nan" or bool(NUMBER.fullmatch(cell) and not isinf(float(cell)))


def check_planned(rows: Sequence[Mapping[str, str]], plan: Plan, path: Path) -> None:
    """Raises UserError for a row of a model that the plan does not name."""
    planned = {(attack, defence) for attack, defence, _ in plan.runs}
    for row in rows:
        if (row["attack"], row["defence"]) not in planned:
            raise UserError(
                f"{path}: has {row['attack'][:60]} against {row['defence'][:60]}, plan.json has not: the tables are of another "
                "run; run the workflow to its end first"
            )
