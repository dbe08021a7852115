"""The front of repairs: its points against a search by hand, its table, and its figure."""

from itertools import product
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roclip.core.columns import FRONT
from roclip.experiment.plan import Step
from roclip.reporting.figures.front import Front, front
from roclip.reporting.front import front_rows, front_table, on_front
from roclip.reporting.gather import with_six_digits
from roclip.reporting.report import gather, render
from tests.conftest import ROOT
from tests.fixtures.artists import legend, shown
from tests.fixtures.experiments import made_up
from tests.fixtures.histories import history

SLOW, FAST = "fixed~learning_rate~1e-05", "fixed~learning_rate~0.001"
MODELS = {"clip": Step("clip", "train", {})} | {name: Step(name, "repair", {}, start_from="clip") for name in (SLOW, FAST)}
PLAN = SimpleNamespace(
    models=MODELS, family={"patch": "backdoor", "clean": "clean"}, runs=[("patch", name, 1) for name in MODELS]
)  # fmt: skip


def two_rates(seed: str = "1", shift: float = 0.0) -> list[dict]:
    """CLIP, and a repair of it at two rates of which each point but one of the higher is the best at its accuracy."""
    return [
        *history("clip", [(0.2, 0.4), (0.5 + shift, 1.0)], seed, attack="patch"),
        *history(SLOW, [(0.49 + shift, 0.9), (0.47 + shift, 0.6)], seed, "repair", "patch"),
        *history(FAST, [(0.3 + shift, 0.2), (0.28 + shift, 0.3), (0.45 + shift, 0.1)], seed, "repair", "patch"),
    ]


def test_variants_and_epochs_are_taken_together_and_the_best_are_on_the_front():
    rows = list(front_rows(PLAN, two_rates()))
    assert [(row["defence"], row["epoch"]) for row in rows] == [(SLOW, 1), (SLOW, 2), (FAST, 1), (FAST, 2), (FAST, 3)]
    assert [row["on_front"] for row in rows] == [1, 1, 0, 0, 1]
    assert {row["repair"] for row in rows} == {"fixed"}
    assert {(row["accuracy_before"], row["success_before"]) for row in rows} == {(0.5, 1.0)}
    assert all(row.keys() == FRONT.keys() for row in rows)


def test_points_are_means_over_seeds():
    rows = list(front_rows(PLAN, [*two_rates("1"), *two_rates("2", 0.1)]))
    assert [row["seeds"] for row in rows] == [2] * 5
    assert rows[0]["accuracy"] == pytest.approx(0.54)
    assert rows[0]["accuracy_before"] == pytest.approx(0.55)


def test_variants_are_compared_on_the_seeds_that_all_have():
    more = [row for row in two_rates("2", 0.1) if row["defence"] != SLOW]
    assert list(front_rows(PLAN, [*two_rates("1"), *more])) == list(front_rows(PLAN, two_rates("1")))


def test_poisoned_pairs_among_the_clean_ones_are_no_setting_of_a_repair():
    dirty = "fixed~poisoned_pairs~5"
    plan = SimpleNamespace(
        **vars(PLAN) | {"models": MODELS | {dirty: Step(dirty, "repair", {"poisoned_pairs": 5}, start_from="clip")}}
    )
    rows = list(front_rows(plan, [*two_rates(), *history(dirty, [(0.5, 0.0)], "1", "repair", "patch")]))
    assert [row["repair"] for row in rows] == ["fixed"] * 5 + ["fixed, 5 poisoned pairs"]
    assert [row["on_front"] for row in rows] == [1, 1, 0, 0, 1, 1]


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 2), min_size=1, max_size=8))
def test_the_front_holds_what_nothing_dominates(points):
    best = {point for point in points if on_front(point, points)}
    assert best
    for point, other in product(points, best):  # none of the front is worse than any point, and any is worse than one of it
        assert point == other or point[0] < other[0] or point[1] > other[1]
    assert all(any(x >= point[0] and y <= point[1] for x, y in best) for point in points)


def cells(rows) -> list[list[str]]:
    return front_table([{name: str(cell) for name, cell in row.items()} for row in with_six_digits(rows)])


def test_the_table_names_the_lowest_success_within_each_loss():
    assert cells(front_rows(PLAN, two_rates())) == [
        ["patch", "fixed", "2", "1", "50.0", "100.0", "90.0 at 49.0", "10.0 at 45.0"]
    ]


def test_where_every_epoch_loses_more_the_table_says_so():
    rows = [row for row in two_rates() if row["defence"] != SLOW]
    assert cells(front_rows(PLAN, rows))[0][2:] == ["1", "1", "50.0", "100.0", "no epoch", "10.0 at 45.0"]


def test_of_a_model_that_is_no_defence_of_the_experiment_nothing_is_said():
    rows = [row for row in two_rates() if row["defence"] != "clip"]
    assert cells(front_rows(PLAN, rows)) == [["patch", "fixed", "2", "1", "–", "–", "–", "–"]]


def test_without_repairs_there_is_neither_table_nor_figure():
    trained = history("clip", [(0.5, 1.0)], attack="patch")
    assert cells(front_rows(PLAN, trained)) == []
    assert Front.names(PLAN) == ["front"]
    assert Front.names(SimpleNamespace(**vars(PLAN) | {"runs": [("patch", "clip", 1), ("clean", SLOW, 1)]})) == []


def test_the_figure_has_all_points_the_front_and_the_model_before():
    table = pd.DataFrame(list(front_rows(PLAN, two_rates())))
    figure = front(table)
    (axis,) = shown(figure)
    points, line, star = axis.get_lines()
    assert sorted(points.get_xdata()) == pytest.approx([28, 30, 45, 47, 49])
    assert line.get_xdata() == pytest.approx([45, 47, 49])
    assert line.get_ydata() == pytest.approx([10, 60, 90])
    assert (star.get_xdata(), star.get_ydata()) == (pytest.approx([50]), pytest.approx([100]))
    assert legend(figure) == ["fixed", "before the repair"]
    assert "No epoch of a repair" in front(table[:0]).texts[0].get_text()


@pytest.mark.parametrize("repaired", [True, False])
def test_the_report_has_it_where_something_is_repaired(tmp_path, repaired):
    recipe = {"train": {"kind": "clip"}, "repair": {"kind": "finetune", "clean_pairs": 400}}
    defences = ["clip", "fixed"] if repaired else ["clip"]
    made_up(tmp_path, defences=defences, defence={"fixed": recipe}, data={"held_out": 400})
    page = render(ROOT / "workflow/report/report.html", gather(tmp_path))
    assert ("12.3 at 60.0" in page) == repaired
    assert ("<h2>Repairs</h2>" in page) == repaired
    assert "<script>document" not in page
