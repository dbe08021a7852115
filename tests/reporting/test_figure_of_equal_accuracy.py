"""The figure of success at equal accuracy: its panels, lines, ends and the range in which nothing was learned."""

import dataclasses

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from attacks import ATTACKS
from benchmarks.equal_accuracy import CONTROLS, FLICKR8K, PHOTOS, compared, history
from roclip.experiment.config import complete
from roclip.experiment.plan import Point
from roclip.experiment.sweeps import plan as planned
from roclip.reporting.figures import figures_of
from roclip.reporting.figures.equal_accuracy import EqualAccuracy, by_attack, by_strength, equal_accuracy
from roclip.reporting.figures.style import looks_of
from tests.conftest import ROOT
from tests.fixtures.artists import legend, lines, shown
from tests.fixtures.configs import on_top
from tests.fixtures.experiment import made_up, made_up_plan
from tests.fixtures.histories import FLOOR
from tests.fixtures.histories import history as training

pytestmark = pytest.mark.usefixtures("noting")


def drawn(*histories, panels=None, common=None) -> plt.Figure:
    table = pd.DataFrame([row for rows in histories for row in rows])
    return equal_accuracy(table, panels or {"attack: targeted": "targeted"}, FLOOR, common or {})


def test_a_line_is_the_mean_over_seeds_by_epoch_in_percent_with_a_thin_line_a_seed():
    seeds = [training("clip", [(0.2, y), (0.6, 2 * y)], str(y)) for y in (0.1, 0.3)]
    (axis,) = shown(drawn(*seeds))
    assert lines(axis)["clip"] == (pytest.approx([20, 60]), pytest.approx([20, 40]))
    assert lines(axis)["end of clip"] == (pytest.approx([60]), pytest.approx([40]))
    assert len([line for line in axis.get_lines() if line.get_linewidth() < 1]) == 2
    many = [training("clip", [(0.2, 0.1)], str(seed)) for seed in range(6)]
    assert not [line for line in shown(drawn(*many))[0].get_lines() if line.get_linewidth() < 1]


def test_an_end_near_chance_is_hollow_and_grey_and_lies_in_the_shaded_range():
    axis = shown(drawn(training("clip", [(0.5, 0.4)]), training("blind", [(0.04, 0.0)])))[0]
    ends = {line.get_label(): line for line in axis.get_lines() if line.get_label().startswith("end of")}
    assert to_rgba(ends["end of blind"].get_markerfacecolor()) == to_rgba("white")
    assert to_rgba(ends["end of blind"].get_markeredgecolor()) == to_rgba("0.55")
    assert to_rgba(ends["end of clip"].get_markerfacecolor()) != to_rgba("white")
    (span,) = axis.patches
    assert (span.get_x(), span.get_width()) == (0, pytest.approx(100 * FLOOR))
    assert [text.get_text().strip() for text in axis.texts] == ["not learned"]


def test_epochs_of_other_kinds_variants_and_other_attacks_are_not_drawn():
    rows = [
        training("roclip", [(0.3, 0.2)]),
        training("roclip", [(0.1, 0.9)], kind="matching"),
        training("roclip~size~1", [(0.3, 0.5)]),
    ]
    axis = shown(drawn(*rows, training("clip", [(0.9, 0.9)], attack="patch"), training("fixed", [(0.4, 0.1)], kind="repair")))[
        0
    ]
    assert {name: value for name, value in lines(axis).items() if not name.startswith("end")} == {
        "roclip": ([30], [20]), "fixed": ([40], [10]),
    }  # fmt: skip
    assert (
        "No epoch"
        in drawn(training("clip", [("nan", 0.9)])[:0] + training(attack="b", points=[(0.1, 0.1)])).texts[0].get_text()
    )


def test_what_all_reach_is_marked():
    figure = drawn(training("clip", [(0.5, 0.4)]), common={"targeted": 0.5})
    assert lines(shown(figure)[0])["common"][0] == [50, 50]
    assert legend(figure) == ["clip", "accuracy that all reach"]
    assert legend(drawn(training("clip", [(0.5, 0.4)]))) == ["clip"]


def test_ten_defences_can_be_told_apart():
    looks = list(looks_of([f"d{i}" for i in range(10)]).values())
    for i, one in enumerate(looks):
        assert all(sum(one[key] != other[key] for key in ("color", "marker", "ls")) >= 2 for other in looks[:i])


def strengths(*values: int, attack="images") -> list[Point]:
    return [Point({"poisons": n}, attack, d, f"{attack}~poisons~{n}", d) for n in values for d in ("clip", "noting")]


def test_a_sweep_of_the_strength_of_an_attack_has_a_panel_a_strength_in_order():
    sweeps = {
        "strength": strengths(60, 5, 15),
        "one": strengths(5),
        "pool": [Point({"size": n}, "images", "noting", "images", f"noting~size~{n}") for n in (1, 2)],
    }
    plan = made_up_plan({"clip": "clip", "noting": "noting"}, sweeps)
    varied = {attack: {"kind": "images", "poisons": 1} for attack in plan.attack}
    family = plan.family | {f"images~poisons~{n}": "targeted" for n in (5, 15, 60)}
    plan = dataclasses.replace(plan, attack=varied, family=family)
    assert EqualAccuracy.names(plan) == ["equal_accuracy", "equal_accuracy_strength"]
    assert list(by_strength(plan, "strength").items()) == [(f"images, poisons {n}", f"images~poisons~{n}") for n in (5, 15, 60)]
    assert by_attack(plan) == {"attack: images": "images", "attack: trigger": "trigger"}


@pytest.mark.parametrize("name", sorted(path.stem for path in ROOT.glob("config/*.yaml")))
def test_every_experiment_of_the_repository_draws_it(name, tmp_path):
    plan = planned(complete(on_top(name), ATTACKS), ATTACKS, 32)
    names = [figure for figure in figures_of(plan) if figure.startswith("equal_accuracy")]
    assert names[0] == "equal_accuracy"
    results = made_up(tmp_path / "results", plan)
    for figure in names:
        axes = shown(EqualAccuracy.draw(figure, plan, results))
        assert axes
        assert all(lines(axis) for axis in axes)


@pytest.mark.parametrize(
    ("drawn", "recipes"), [(PHOTOS, 6), (CONTROLS, 8), (FLICKR8K, 4)], ids=["photos", "controls", "flickr8k"]
)
def test_the_published_tables_hold_what_is_drawn_of_them(drawn, recipes):
    """Three strengths of CIFAR-100 and of the controls, two of Flickr8k."""
    rows = history(drawn)
    found = compared(drawn)
    assert {*found} == {*drawn.panels.values()}
    for attack, comparison in found.items():
        assert len(comparison.mains) >= recipes
        for seed, common in comparison.common().items():
            best: dict[str, float] = {}
            for row in rows:
                if (row["attack"], row["seed"], row["kind"]) == (attack, seed, "clip"):
                    best[row["defence"]] = max(row["zero_shot"], best.get(row["defence"], 0))
            assert common == min(best.values())
