"""Joins the results of several experiments into one table: `roclip leaderboard results/*`.

A row for each experiment, attack, defence and checkpoint, as Markdown on the screen and, with `--out FOLDER`, as leaderboard.md
and leaderboard.csv in that folder. Variants that sweeps make are left to the tables of each experiment. Rows stand in the order
of the experiments and are not ranked: with other data, or a model that learned nothing, a low attack success (ASR) is no merit.
"""

import argparse
import logging
from collections.abc import Iterable, Sequence
from math import isnan
from pathlib import Path
from typing import Any

from roclip.core.atomic import atomic
from roclip.core.columns import LEADERBOARD
from roclip.core.errors import UserError, one_line
from roclip.core.files import write_table
from roclip.core.words import checkpoint_label
from roclip.experiment.plan import read_plan
from roclip.reporting.escapes import markdown
from roclip.reporting.gather import MEASURED, measured
from roclip.reporting.results import Row, pivot, plain, read_results

log = logging.getLogger(__name__)

NAMES = ("experiment", "model", "attack", "family", "defence", "checkpoint", "seeds")
HEADINGS = (*NAMES, *MEASURED)


def rows_of(folder: Path) -> list[Row]:
    """The rows of one experiment, those of `pivot` with experiment, model and family. Raises UserError for broken tables."""
    plan = read_plan(folder / "plan.json")
    return [
        {
            **row,
            "experiment": plan.experiment,
            "model": plan.towers_of(row["defence"])["model"],
            "family": plan.family[row["attack"]],
        }
        for row in plain(pivot(read_results(folder / "tables/results.csv")))
    ]


def has_tables(folder: Path) -> bool:
    """Whether an experiment has results; one that has none is named in the log."""
    absent = [name for name in ("plan.json", "tables/results.csv") if not (folder / name).is_file()]
    if absent:
        log.info("skipped %s: no %s; run its workflow first", one_line(str(folder)), absent[0])
    return not absent


def cells(row: Row) -> dict[str, Any]:
    """A row of leaderboard.csv: shares with six digits, empty for what was not counted and success if not learned."""
    shares = [name for name in LEADERBOARD if name not in NAMES]
    hidden = [] if row["learned"] else [name for name in shares if name.startswith("attack_success")]
    numbers = {name: "" if isnan(row[name]) or name in hidden else f"{row[name]:.6f}" for name in shares}
    return {name: row[name] for name in NAMES} | numbers


def table(rows: Iterable[Row]) -> str:
    """The rows in Markdown, in percent, with intervals and standard deviations."""
    lines = [HEADINGS, ["---"] * len(HEADINGS)]
    for row in rows:
        named = row | {"checkpoint": checkpoint_label(row["checkpoint"])}
        lines.append([*(markdown(str(named[name])) for name in NAMES), *measured(row)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def main(argv: Sequence[str]) -> int:
    """The exit status. Raises UserError where no folder has results, and for tables that are broken."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser("roclip leaderboard", description=__doc__.partition("\n\n")[0], allow_abbrev=False)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="folders of experiments, results/EXPERIMENT")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where to write leaderboard.md and leaderboard.csv too")
    options = parser.parse_args(argv)
    experiments = [folder for folder in options.folders if folder.is_dir() and has_tables(folder)]
    if not experiments:
        raise UserError(f"{options.folders[0]}: no experiment with tables, nor are others; name folders like results/X")
    rows = [row for folder in experiments for row in rows_of(folder)]
    print(table(rows), end="")
    if options.out:
        write_table(options.out / "leaderboard.csv", tuple(LEADERBOARD), map(cells, rows))
        with atomic(options.out / "leaderboard.md") as temporary:
            temporary.write_text(table(rows), encoding="utf-8")
    return 0
