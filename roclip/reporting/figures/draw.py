"""Stage: draw one of the figures that come from the tables, as PDF and PNG. No number is typed in here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from roclip.core.errors import UserError
from roclip.core.files import read_table
from roclip.core.options import Stage, option
from roclip.reporting.figures.epochs import cosines, saw_tooth, telemetry
from roclip.reporting.figures.results import attack_success, sweep, utility
from roclip.reporting.figures.style import STYLE, save
from roclip.reporting.gather import MODEL, SWEEPS
from roclip.reporting.results import RESULTS
from roclip.training.schedule import COSINES, HISTORY

NAMES = {*MODEL, *SWEEPS, "checkpoint", "kind"}


@dataclass(frozen=True)
class FigureOptions:
    figure: str = option("attack_success, utility, saw_tooth, cosines, telemetry, or sweep_NAME for a sweep")
    tables: tuple[Path, ...] = option("those of results.csv, sweeps.csv and history.csv that the figure is drawn from")
    out: Path = option("the file to write, without its suffix", role="output")
    cosines: tuple[Path, ...] = option("cosines.csv of models, .../ATTACK/METHOD/seedN/cosines.csv", default=())


def read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """The columns of a table: names as text, all else as numbers, nan where nothing was counted.

    Raises UserError for what `read_table` does, and for a cell that is no number.
    """
    table = pd.DataFrame(read_table(path, columns), columns=list(columns))
    for column in (column for column in columns if column not in NAMES):
        try:
            table[column] = table[column].replace("", "nan").astype(float)
        except ValueError as error:
            raise UserError(f"{path}: column '{column}': {error}") from None
    return table


def read_cosines(paths: Sequence[Path]) -> pd.DataFrame:
    """The cosines of several models, with attack, method and seed by the folders that they lie in."""
    parts = []
    for path in paths:
        attack, method, seed = path.parts[-4:-1]
        parts.append(read(path, COSINES).assign(attack=attack, method=method, seed=seed.removeprefix("seed")))
    return pd.concat(parts)


def draw(options: FigureOptions) -> plt.Figure:
    """Raises UserError for a figure that is none, a sweep that was not planned, and tables that are missing or broken."""
    tables = {path.name: path for path in options.tables}

    def table(name: str, columns: Sequence[str]) -> pd.DataFrame:
        if name not in tables:
            raise UserError(f"--tables: the figure '{options.figure}' needs {name}")
        return read(tables[name], columns)

    def results() -> pd.DataFrame:
        return table("results.csv", RESULTS)

    def sweeps() -> pd.DataFrame:
        return table("sweeps.csv", SWEEPS)

    def history() -> pd.DataFrame:
        return table("history.csv", (*MODEL, *HISTORY))

    kind, _, name = options.figure.partition("sweep_")
    if not kind and name:
        if name not in set(sweeps().sweep):
            raise UserError(f"{tables['sweeps.csv']}: no sweep '{name}'")
        return sweep(results(), sweeps(), name)
    match options.figure:
        case "attack_success":
            return attack_success(results())
        case "utility":
            return utility(results())
        case "saw_tooth":
            return saw_tooth(history(), sweeps())
        case "telemetry":
            return telemetry(history())
        case "cosines" if options.cosines:
            return cosines(read_cosines(options.cosines), history())
        case "cosines":
            raise UserError("--cosines: the figure 'cosines' needs the cosines.csv of at least one model")
    raise UserError(f"--figure: no figure '{options.figure}'")


def run(options: FigureOptions) -> None:
    with plt.rc_context(STYLE):
        save(draw(options), options.out)


STAGE = Stage(FigureOptions, run)
