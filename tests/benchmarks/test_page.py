"""docs/benchmarks.md and docs/robustness.md say what the runs wrote."""

import re

import pytest

from benchmarks.page import PAGES, TABLE, filled
from roclip.core.files import read_table
from tests.conftest import ROOT
from tests.fixtures.hostile_tables import READ, READERS, REFUSED

TORTURE = (ROOT / "docs/robustness.md").read_text()
PAGE = (ROOT / "docs/benchmarks.md").read_text()
TABLES = {path.name for path in (ROOT / "benchmarks").glob("*.csv")}


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_its_tables_are_those_of_the_runs(path):
    page = (ROOT / path).read_text()
    assert filled(page) == page, "run python -m benchmarks.page"


def test_every_run_is_on_one():
    filed = {name for path in PAGES for _, name, _, _ in TABLE.findall((ROOT / path).read_text())}
    assert filed | {"coverage.csv"} >= TABLES


def test_the_page_of_statistics_says_what_the_simulations_gave():
    page = (ROOT / "docs/statistics.md").read_text()
    rows = read_table(ROOT / "benchmarks/coverage.csv", ("what", "method", "seeds", "mean", "sd", "share"))
    methods = list(dict.fromkeys(row["method"] for row in rows if row["what"] == "coverage"))
    assert len(methods) == 7
    for setting in dict.fromkeys((row["mean"], row["sd"]) for row in rows if row["what"] == "coverage"):
        found = {
            (row["method"], row["seeds"]): f"{100 * float(row['share']):.1f}".removesuffix(".0")
            for row in rows
            if row["what"] == "coverage" and (row["mean"], row["sd"]) == setting
        }
        cells = [" / ".join(found[method, seeds] for seeds in ("3", "5", "10")) for method in methods]
        assert f"| {' | '.join(cells)} |" in page


def test_its_number_of_tables_that_lie():
    said = re.search(r"(\d+) kinds of tables are read by (\d+) readers each, (\d+) to the letter and (\d+) not", TORTURE)
    assert [int(n) for n in said.groups()] == [len(READ) + len(REFUSED), len(READERS), len(READ), len(REFUSED)]


@pytest.mark.parametrize("name", sorted(set(re.findall(r"python -m benchmarks\.(\w+)", PAGE))))
def test_its_commands_exist(name):
    assert (ROOT / f"benchmarks/{name}.py").exists()


def cells(name: str, column: str, **where: str) -> list[float]:
    """The numbers in a column of a CSV, of the rows that hold certain cells."""
    rows = read_table(ROOT / f"benchmarks/{name}.csv", (column, *where))
    return [float(row[column]) for row in rows if all(row[key] == value for key, value in where.items())]


def test_its_sentence_about_training():
    said = re.search(r"CLIP epochs are ([\d.]+) times as fast as open_clip's, RoCLIP's ([\d.]+) times", PAGE)
    ratios = [
        cells("training", "ratio", loop="this project", epoch="clip", defence=defence)[0] for defence in ("clip", "roclip")
    ]
    assert [float(number) for number in said.groups()] == ratios


def test_its_sentence_about_matching_epochs():
    said = re.search(r"matching epoch takes ([\d.]+) of a CLIP epoch's time", PAGE)
    clip, matching = (
        cells("training", "seconds", loop="this project", defence="roclip", epoch=epoch)[0] for epoch in ("clip", "matching")
    )
    assert float(said[1]) == pytest.approx(matching / clip, abs=0.005)
