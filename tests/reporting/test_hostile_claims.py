"""What claims say of tables that were changed by hand, joined or saved by a spreadsheet: one line, or what they show."""

import pytest

from roclip.core.columns import DIFFERENCES, EQUAL_ACCURACY, EQUAL_DIFFERENCES, REFERENCE, RESULTS, TOOK
from roclip.core.errors import UserError
from roclip.core.files import read_json, write_table
from roclip.experiment.plan import write_plan
from roclip.reporting import claims
from roclip.reporting.claims import ClaimsOptions
from roclip.reporting.differences import differences
from roclip.reporting.results import results, written
from tests.fixtures.claims import models
from tests.fixtures.plans import planned, runs_of
from tests.fixtures.results import trained

EQUAL = dict.fromkeys(EQUAL_DIFFERENCES, "0.5") | {
    "attack": "targeted", "defence": "roclip", "kind": "clip", "at": "common", "other": "clip", "reached": "1", "seeds": "1",
}  # fmt: skip
SAID = {
    "a comma": ("differences", {"p_corrected": "0,03"}, r"row 1: p_corrected is '0,03' and no number"),
    "a float": ("differences", {"comparisons": "1.0"}, r"row 1: comparisons is '1\.0' and no count"),
    "no seeds": ("differences", {"seeds": ""}, "row 1: seeds is '' and no count"),
    "a word": ("differences", {"difference": "n/a"}, "row 1: difference is 'n/a' and no number"),
    "a thousand": ("equal_differences", {"difference": "1.000,5"}, r"row 1: difference is '1\.000,5' and no number"),
    "a float of seeds": ("equal_differences", {"reached": "1.0"}, r"row 1: reached is '1\.0' and no count"),
}


@pytest.fixture
def run(tmp_path):
    """Write the tables of two defences, one of which defends, some with other cells or a row twice; the sentences."""

    def said(table="", cells=None, twice=False):
        measures = models(trained(hits=[15], control=[1]), trained(defence="roclip", hits=[2], control=[0]))
        plan = planned(runs_of(measures))
        gathered = written([row | {"learned": 1} for row in results(measures, plan.family)])
        rows = {
            "results": (RESULTS, gathered), "differences": (DIFFERENCES, differences(measures, plan)),
            "equal_accuracy": (EQUAL_ACCURACY, []), "took": (TOOK, []), "reference": (REFERENCE, []),
            "equal_differences": (EQUAL_DIFFERENCES, [EQUAL] if table == "equal_differences" else []),
        }  # fmt: skip
        for name, (columns, its) in rows.items():
            changed = [row | (cells or {}) for row in its] if name == table else its
            write_table(tmp_path / f"{name}.csv", tuple(columns), [*changed, *(its[:1] if twice and name == table else [])])
        write_plan(tmp_path / "plan.json", plan)
        (tmp_path / "classes.txt").write_text("apple\npear\n")
        names = ("results", "differences", "equal_accuracy", "equal_differences", "took", "reference")
        files = (tmp_path / name for name in ("plan.json", *(f"{name}.csv" for name in names), "classes.txt"))
        claims.run(ClaimsOptions(*files, tmp_path / "claims.json"))
        return [claim["text"] for claim in read_json(tmp_path / "claims.json")]

    return said


@pytest.mark.parametrize("name", SAID)
def test_a_cell_that_is_no_number_is_one_line(run, name):
    table, cells, said = SAID[name]
    with pytest.raises(UserError, match=rf"/{table}\.csv, {said}; remove the file and start the workflow"):
        run(table, cells)


@pytest.mark.parametrize("table", ["results", "differences"])
def test_of_two_rows_of_one_model_none_is_chosen(run, table):
    with pytest.raises(UserError, match=rf"/{table}\.csv, row \d+: a second row of .*targeted.*, as row 1; remove the file"):
        run(table, twice=True)


def test_tables_of_two_runs_are_one_line(run):
    with pytest.raises(
        UserError, match=r"equal_differences\.csv: has targeted, roclip beside clip, and .*equal_accuracy\.csv has "
    ):
        run("equal_differences", {})


def test_a_p_value_that_is_nan_shows_no_difference(run):
    assert any("lowered" in text for text in run())
    assert not any("lowered" in text for text in run("differences", {"p_corrected": "nan"}))
