"""Joins experiments on one page: adds an experiment's results to the leaderboard, and writes the page of all of them.

`roclip leaderboard --add results/NAME --by "WHO"` writes results/leaderboard/NAME.csv, a row for each attack and defence, and
the page; `roclip leaderboard` writes the page alone, results/leaderboard/index.html, which opens offline. What a row means and
how to send one: docs/leaderboard.md.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from roclip.core.atomic import atomic
from roclip.core.columns import LEADERBOARD
from roclip.core.errors import UserError, log_lines
from roclip.core.files import read_table, write_table
from roclip.core.words import counted
from roclip.reporting.board.entries import NAME, checked_rows, read_entries
from roclip.reporting.board.entry import Named, rows_of
from roclip.reporting.board.page import page
from roclip.reporting.published import REFERENCE_FILE, read_reference

log = logging.getLogger(__name__)
FOLDER = Path("results/leaderboard")
SAME = ("config", "computed_by", "dataset")  # two results of one name are of one experiment if these agree


def add(experiment: Path, named: Named, folder: Path) -> Path:
    """Write the file of an experiment, or a part of it: attacks that are there and not in these results keep their rows.

    Raises UserError if what is there is of another experiment.
    """
    rows = rows_of(experiment, named)
    if not rows:
        raise UserError(f"{experiment}: tables/results.csv has no rows; run its workflow again")
    name = rows[0]["experiment"]
    if not NAME.fullmatch(name):
        raise UserError(f"{experiment}: its name, '{name}', makes no file name; change `experiment` in its config")
    path = folder / f"{name}.csv"
    mine = checked_rows(path, ({column: str(row.get(column, "")) for column in LEADERBOARD} for row in rows))
    there = read_table(path, tuple(LEADERBOARD)) if path.exists() else []
    for other in checked_rows(path, there):
        if any(other[column] != mine[0][column] for column in SAME):
            what = ", ".join(other[column] for column in SAME)
            raise UserError(f"{path}: two experiments of one name, that one is {what}; give yours another name")
    attacks = {row["attack"] for row in rows}
    others = [{column: row[column] for column in LEADERBOARD} for row in there if row["attack"] not in attacks]
    if others:
        log.info("%s: rows of other attacks are kept: %s", path, ", ".join(dict.fromkeys(row["attack"] for row in others)))
    write_table(path, tuple(LEADERBOARD), [*others, *rows])
    return path


def main(argv: Sequence[str]) -> int:
    """The exit status. Raises UserError for an experiment without results, and for a table that is broken."""
    log_lines("%(message)s")
    parser = argparse.ArgumentParser("roclip leaderboard", description=__doc__.partition("\n\n")[0], allow_abbrev=False)
    parser.add_argument("--add", type=Path, metavar="FOLDER", help="a finished experiment, results/NAME")
    parser.add_argument("--by", metavar="WHO", help="who computed it; --add needs it")
    parser.add_argument("--dataset", metavar="TEXT", help="what its data are called, if they are no drawn scenes")
    parser.add_argument("--config", metavar="FILE", help="config file of it, if none in config/ has its name")
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, metavar="FOLDER", help=f"of the leaderboard; {FOLDER} by default"
    )
    options = parser.parse_args(argv)
    for name in ("dataset", "config"):
        if getattr(options, name) == "":
            raise UserError(f"--{name}: is empty; leave it out, or say what it is")
    if options.folder == Path():  # as of a variable that is not set
        raise UserError("--folder: is empty, or this folder itself; name another one")
    if options.config and not Path(options.config).is_file():
        log.warning("--config: there is no %s; whoever reads the page cannot run it", options.config)
    if options.add:
        if not (options.by or "").strip():
            raise UserError("--by: say who computed it, as in --by 'Ada Lovelace, Analytical Engines'")
        path = add(options.add, Named(options.by.strip(), options.dataset, options.config), options.folder)
        log.info("wrote %s", path)
    rows = read_entries(options.folder)
    with atomic(options.folder / "index.html") as temporary:
        temporary.write_text(page(rows, read_reference(REFERENCE_FILE), options.folder), encoding="utf-8")
    log.info("wrote %s, %s", options.folder / "index.html", counted(len(rows), "cell"))
    return 0
