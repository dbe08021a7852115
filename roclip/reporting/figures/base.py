"""What a figure is, and how it reads the tables of an experiment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from roclip.core.columns import CHECKPOINT, MODEL, SWEEPS
from roclip.core.deferred import Deferred
from roclip.core.errors import UserError
from roclip.core.files import read_table
from roclip.core.words import PLAIN_CHECKPOINT
from roclip.experiment.plan import base
from roclip.experiment.schema import STEPS

if TYPE_CHECKING:
    import matplotlib.pyplot as plt

    from roclip.defences.base import Defence
    from roclip.experiment.plan import Plan

pd = Deferred("pandas")
tables = Deferred("roclip.reporting.results")

TEXT = {*MODEL, *SWEEPS, *CHECKPOINT, "kind", "at", "repair"}  # columns of names; in all others are numbers


class Figure:
    """A subject and the figures of it, each drawn from files of the experiment alone: no number is typed in."""

    reads: ClassVar[Sequence[str]] = ()  # files that every figure of the subject is drawn from

    @classmethod
    def names(cls, plan: Plan) -> list[str]:
        """The figures that such an experiment has, by the stems of their files; none where there is nothing to show."""
        raise NotImplementedError

    @classmethod
    def inputs(cls, name: str, plan: Plan) -> list[str]:
        """The files, and folders of files, that a figure is drawn from, by their paths within the experiment's folder."""
        return list(cls.reads)

    @classmethod
    def draw(cls, name: str, plan: Plan, results: Path) -> plt.Figure:
        """The figure from the files in `results`. Raises UserError for one that is missing or broken."""
        raise NotImplementedError

    @classmethod
    def modules(cls) -> list[str]:
        """The source files that its looks depend on, by their paths from the project's root."""
        package = __name__.rpartition(".")[0]
        return [name.replace(".", "/") + ".py" for name in (cls.__module__, __name__, f"{package}.style")]


def is_base(name: str) -> bool:
    """Whether an attack or defence is none of the variants that sweeps make, such as `roclip~pool_size~400`."""
    return name == base(name)


def plain(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of attacks and defences that are no variants."""
    return table[table.attack.map(is_base) & table.defence.map(is_base)]


def plain_runs(plan: Plan) -> list[tuple[str, str, int]]:
    """The runs (attack, defence, seed) without a variant, in the plan's order."""
    return [run for run in plan.runs if is_base(run[0]) and is_base(run[1])]


def class_of(plan: Plan, defence: str) -> type[Defence]:
    """The class of the step, a training or a repair, that ends the recipe of a defence."""
    step = plan.models[defence]
    return STEPS[step.stage][step.settings["kind"]]


def has_epochs(plan: Plan, defence: str) -> bool:
    """Whether what ends the recipe of a defence has a history: given weights have none."""
    return class_of(plan, defence).trains


def read(path: Path, columns: Iterable[str]) -> pd.DataFrame:
    """The columns of a table: names as text, all else as numbers, NaN where nothing was counted.

    Raises UserError for what `read_table` does, and for a cell that is no number.
    """
    columns = list(columns)
    table = pd.DataFrame(read_table(path, columns), columns=columns)
    for column in (column for column in columns if column not in TEXT):
        try:
            table[column] = table[column].replace("", "nan").astype(float)
        except ValueError as error:
            raise UserError(f"{path}: column '{column}': {error}") from None
    return table


def read_results(results: Path) -> pd.DataFrame:
    """tables/results.csv with a row for each attack, defence and checkpoint and its measures as columns.

    Raises UserError as `roclip.reporting.results.read_results`, and for a table without rows.
    """
    path = results / "tables/results.csv"
    rows = tables.pivot(tables.read_results(path))
    if not rows:
        raise UserError(f"{path}: no rows; gather the tables again")
    return pd.DataFrame(rows)


def checkpoints_of(rows: pd.DataFrame) -> list[str]:
    """The checkpoints of a table, that of plain CLIP's epochs first and then in the order of the table."""
    return sorted(dict.fromkeys(rows.checkpoint), key=lambda checkpoint: checkpoint != PLAIN_CHECKPOINT)


def models_of(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """The defences with their checkpoints, in the order in which the table names the defences."""
    there = set(zip(rows.defence, rows.checkpoint, strict=True))
    order = checkpoints_of(rows)
    return [(d, c) for d in dict.fromkeys(rows.defence) for c in order if (d, c) in there]
