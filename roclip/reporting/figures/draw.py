"""Stage: draw a figure of an experiment from its files, as PDF and PNG."""

from dataclasses import dataclass
from pathlib import Path

from roclip.core.deferred import Deferred
from roclip.core.errors import UserError
from roclip.core.options import Stage, option
from roclip.experiment.plan import read_plan
from roclip.reporting.figures import FIGURES, figures_of
from roclip.reporting.figures.style import STYLE, save

plt = Deferred("matplotlib.pyplot")


@dataclass(frozen=True, kw_only=True)
class FigureOptions:
    figure: str = option(f"what to draw, one of {', '.join(FIGURES)}; of a sweep sweep_NAME")
    plan: Path = option("plan.json of the experiment", role="setting")
    results: Path = option("folder of the experiment", role="setting")
    inputs: tuple[Path, ...] = option("the files in it, and folders of files, that the figure is drawn from")
    out: Path = option("the file to write, without its suffix", role="output")


def run(options: FigureOptions) -> None:
    """Raises UserError for a figure that the plan does not have, and for a file that it reads and that is not named."""
    plan, name = read_plan(options.plan), options.figure
    figures = figures_of(plan)
    if name not in figures:
        raise UserError(f"--figure: the plan has no figure '{name}'; it has {', '.join(figures)}")
    named = {path.absolute() for path in options.inputs}
    for path in figures[name].inputs(name, plan):
        if (options.results / path).absolute() not in named:
            raise UserError(f"--inputs: the figure '{name}' is drawn from {options.results / path} too; name it")
    with plt.rc_context(STYLE):
        save(figures[name].draw(name, plan, options.results), options.out)


STAGE = Stage(FigureOptions, run)
