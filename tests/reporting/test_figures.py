"""Every registered figure is drawn from the files that it names, and from nothing else."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from roclip.core.columns import HISTORY, MODEL
from roclip.core.errors import UserError
from roclip.defences import TRAININGS
from roclip.reporting.figures import FIGURES, figures_of
from roclip.reporting.figures.base import read, read_results
from roclip.reporting.figures.draw import FigureOptions, run
from roclip.reporting.figures.style import STYLE, grid, legend_below, mark
from roclip.reporting.figures.telemetry import panels_of
from tests.conftest import ROOT
from tests.fixtures.experiment import EPOCHS, NOTING, made_up, made_up_plan, point

pytestmark = pytest.mark.usefixtures("noting")

KINDS = {"clip": "clip", "noting": NOTING, "fixed": "finetune"}
SWEPT = {"sizes": [point("noting", {"size": size}) for size in (1, 2)], "both": [point("clip", {}), point("noting", {})]}


@pytest.fixture
def plan(noting):
    return made_up_plan(KINDS, SWEPT, detectors={"slof": {"kind": "slof", "neighbours": 16, "references": 2048}})


@pytest.fixture
def experiment(tmp_path, plan):
    return made_up(tmp_path / "made_up", plan)


def options(results, plan, name: str, out: str = "figure") -> FigureOptions:
    inputs = tuple(results / path for path in figures_of(plan)[name].inputs(name, plan))
    return FigureOptions(figure=name, plan=results / "plan.json", results=results, inputs=inputs, out=results / out)


def written(results, out: str = "figure") -> list[bytes]:
    return [(results / f"{out}{suffix}").read_bytes() for suffix in (".png", ".pdf")]


def leave_only(results: Path, named: Iterable[Path]) -> None:
    """Remove all tables but those named, and those in folders that are named."""
    for path in results.rglob("*.csv"):
        if not {path, *path.parents} & set(named):
            path.unlink()


@pytest.mark.parametrize("subject", FIGURES)
def test_a_figure_is_drawn_from_the_files_that_it_names_alone_and_the_same_twice(subject, experiment, plan):
    assert FIGURES[subject].names(plan)
    for name in FIGURES[subject].names(plan):
        run(options(experiment, plan, name, "first"))
        leave_only(experiment, options(experiment, plan, name).inputs)
        run(options(experiment, plan, name, "second"))
        png, pdf = written(experiment, "first")
        assert png.startswith(b"\x89PNG")
        assert pdf.startswith(b"%PDF")
        assert written(experiment, "second") == [png, pdf]
        shutil.rmtree(experiment)
        made_up(experiment, plan)


@pytest.mark.parametrize("subject", FIGURES)
def test_a_figure_that_lacks_a_table_is_an_error_in_one_line(subject, experiment, plan):
    name = FIGURES[subject].names(plan)[0]
    for path in FIGURES[subject].inputs(name, plan):
        if path.endswith(".csv"):
            hidden = (experiment / path).rename(experiment / "hidden")
            with pytest.raises(UserError, match=f"{path}: no such file"):
                FIGURES[subject].draw(name, plan, experiment)
            hidden.rename(experiment / path)


@pytest.mark.parametrize("subject", FIGURES)
def test_without_runs_there_is_no_figure(subject):
    assert FIGURES[subject].names(made_up_plan({})) == []


@pytest.mark.parametrize("subject", FIGURES)
def test_a_figure_has_a_sentence_and_modules_that_exist(subject):
    assert FIGURES[subject].__doc__.split("\n")[0].endswith((".", ":", ","))
    own, *shared = FIGURES[subject].modules()
    assert all((ROOT / path).is_file() for path in (own, *shared))
    assert shared == ["roclip/reporting/figures/base.py", "roclip/reporting/figures/style.py"]
    assert [other for other in FIGURES if own in FIGURES[other].modules()] == [subject]


def test_no_two_figures_have_one_file(plan):
    assert len(figures_of(plan)) == sum(len(figure.names(plan)) for figure in FIGURES.values())


@pytest.mark.parametrize("kind", TRAININGS)
def test_what_any_training_notes_has_panels(kind):
    columns = [column for its in panels_of(TRAININGS[kind]).values() for column in its]
    assert sorted(columns) == sorted(TRAININGS[kind].telemetry_columns)


def test_a_figure_that_the_plan_does_not_have_is_refused(experiment, plan):
    wrong = options(experiment, plan, "utility")
    with pytest.raises(UserError, match=r"--figure: the plan has no figure 'mystery'; it has attack_success, "):
        run(FigureOptions(figure="mystery", plan=wrong.plan, results=wrong.results, inputs=wrong.inputs, out=wrong.out))


def test_an_input_that_is_not_named_is_asked_for(experiment, plan):
    full = options(experiment, plan, "saw_tooth")
    with pytest.raises(UserError, match=r"--inputs: the figure 'saw_tooth' is drawn from .*sweeps\.csv too"):
        run(FigureOptions(figure="saw_tooth", plan=full.plan, results=full.results, inputs=full.inputs[:1], out=full.out))


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_the_backend_of_a_notebook_breaks_nothing(backend, tmp_path):
    plan = made_up_plan({"clip": "clip"})
    results = made_up(tmp_path / "made_up", plan)
    given = options(results, plan, "utility")
    flags = ["--figure", "utility", "--plan", given.plan, "--results", results, "--inputs", *given.inputs, "--out", given.out]
    environment = os.environ | {"MPLBACKEND": backend, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, ROOT / "roclip_command.py", "figure", *flags], env=environment, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert (results / "figure.png").exists()
    assert (results / "figure.record.json").exists()


def test_a_cell_that_is_no_number_is_named(experiment):
    path = experiment / "tables/history.csv"
    assert set(read(path, (*MODEL, *HISTORY)).epoch) == set(range(1, EPOCHS + 1))
    path.write_text(path.read_text().replace("0.5", "half"))
    with pytest.raises(UserError, match=r"history\.csv: column 'attack_success'"):
        read(path, (*MODEL, *HISTORY))


def test_results_without_rows_are_an_error(experiment):
    path = experiment / "tables/results.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(UserError, match=r"results\.csv: no rows"):
        read_results(experiment)


def test_checkpoints_can_be_told_apart_by_their_markers():
    kinds = ["last_clip", "last_matching", "last_low_rate", "last_mixed", "last_unimodal", "last_repair"]
    looks = [mark("red", kind, kinds) for kind in kinds]
    assert len({(look["marker"], look["mfc"]) for look in looks}) == 6
    assert {look["color"] for look in looks} == {"red"}


def test_a_long_legend_takes_nothing_from_the_panels():
    def height_of_panel(entries):
        with plt.rc_context(STYLE):
            figure, (axis,) = grid(1, 4, 3)
            legend_below(figure, [plt.Line2D([], [], label=str(n)) for n in range(entries)], 2)
            figure.canvas.draw()
            height = axis.get_window_extent().height
            plt.close(figure)
            return height

    assert height_of_panel(16) > 0.95 * height_of_panel(4)
