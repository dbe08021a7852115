"""Attack success at equal accuracy: hand-computed numbers, what a slower recipe may not gain, and what has no value."""

from math import isnan, nan
from random import Random

import numpy as np
import pytest
from scipy.stats import ttest_rel

from roclip.core.columns import EQUAL_ACCURACY, EQUAL_DIFFERENCES
from roclip.core.errors import UserError
from roclip.defences.repair import REPAIRS
from roclip.experiment.plan import Step
from roclip.reporting.equal_accuracy import area, comparisons, ends, is_from_scratch, main_kinds, rising, success_at
from roclip.reporting.gather import with_six_digits
from tests.fixtures.histories import CHANCE, FLOOR, comparison, history
from tests.fixtures.plans import planned
from tests.fixtures.results import counted

CURVE = [(0.1, 0.0), (0.3, 0.4), (0.5, 0.2)]


def rows_at(compared, at, seed="all", of=""):
    """Rows of equal_accuracy.csv by recipe."""
    rows = [row for row in compared.rows("targeted") if (row["at"], row["seed"], row["of"]) == (at, seed, of)]
    return {(row["defence"], row["kind"]): row for row in rows}


def differences(compared, at="common"):
    return {(row["defence"], row["other"]): row for row in compared.differences("targeted") if row["at"] == at}


@pytest.mark.parametrize(("accuracy", "success"), [(0.1, 0), (0.2, 0.2), (0.3, 0.4), (0.4, 0.3), (0.5, 0.2)])
def test_success_lies_on_the_line_between_two_epochs(accuracy, success):
    assert success_at(CURVE, accuracy) == pytest.approx(success)


def test_an_accuracy_that_the_curve_does_not_hold_has_no_success():
    assert isnan(success_at(CURVE, 0.51))
    assert isnan(success_at(CURVE, 0.09))
    assert isnan(success_at([], 0.1))
    assert success_at([(0.3, 0.7)], 0.3) == 0.7


def test_a_value_is_of_the_first_time_that_training_had_the_accuracy():
    overfitted = [(0.3, 0.1), (0.2, 0.9), (0.3, 0.5), (0.5, 0.7), (0.4, 1.0)]
    assert rising(overfitted) == [(0.3, 0.1), (0.5, 0.7)]
    assert success_at(rising(overfitted), 0.4) == pytest.approx(0.4)
    assert rising([(0.01, 0.5), (0.2, 0.3)], [(CHANCE, CHANCE)]) == [(CHANCE, CHANCE), (0.2, 0.3)]


def test_the_area_is_the_mean_of_success_over_the_accuracies():
    assert area(CURVE, 0.1, 0.3) == pytest.approx(0.2)
    assert area(CURVE, 0.1, 0.5) == pytest.approx(0.25)
    grid = np.linspace(0.17, 0.43, 20_001)
    assert area(CURVE, 0.17, 0.43) == pytest.approx(np.interp(grid, *zip(*CURVE, strict=True)).mean(), abs=1e-4)
    assert isnan(area(CURVE, 0.1, 0.6))
    assert isnan(area(CURVE, 0.05, 0.3))
    assert isnan(area(CURVE, 0.3, 0.3))


def polyline(random: Random, points: int) -> list[tuple[float, float]]:
    xs = sorted(random.uniform(0.06, 1) for _ in range(points))
    return [(x, random.random()) for x in xs]


def along(line, random: Random, steps: int) -> list[tuple[float, float]]:
    """The same line with steps so small that each of its parts has several."""
    whole = [(CHANCE, CHANCE), *line]
    xs = sorted({x for x, _ in line} | {random.uniform(line[0][0], line[-1][0]) for _ in range(steps)})
    return [(x, success_at(whole, x)) for x in xs]


@pytest.mark.parametrize("draw", range(20))
def test_a_recipe_that_only_learns_more_slowly_along_the_same_curve_gains_nothing(draw):
    random = Random(draw)
    lines = {seed: polyline(random, 6) for seed in "123"}
    fast = [history("clip", line, seed) for seed, line in lines.items()]
    slow = [history("slow", along(line, random, 20)[: random.randint(8, 20)], seed) for seed, line in lines.items()]
    compared = comparison(*fast, *slow)
    for at in ("common", "area", "own"):
        row = differences(compared, at)["slow", "clip"]
        assert (row["reached"], row["seeds"]) == (3, 3)
        assert row["difference"] == pytest.approx(0, abs=1e-9)
        assert row["low"] < 0 < row["high"]  # as wide as so many images make it
        assert row["p"] == pytest.approx(1)
    assert row["success"] == pytest.approx(row["other_success"])


def test_identical_curves_do_not_differ():
    compared = comparison(*(history(name, CURVE, seed) for name in ("clip", "same") for seed in "12"))
    for row in compared.differences("targeted"):
        assert (row["difference"], row["low"] + row["high"], row["p"]) == (0, 0, 1)


def test_hand_computed_values_and_their_difference():
    clip = [history("clip", [(0.2, 0.2), (0.6, y)], seed) for seed, y in zip("123", (0.6, 0.8, 1.0), strict=True)]
    other = [history("other", [(0.2, 0.1), (0.4, y)], seed) for seed, y in zip("123", (0.1, 0.2, 0.3), strict=True)]
    compared = comparison(*clip, *other)
    assert compared.common() == 0.4
    first, second = (
        [rows_at(compared, "common", seed)[name, "clip"]["success"] for seed in "123"] for name in ("clip", "other")
    )
    assert first == pytest.approx([0.4, 0.5, 0.6])
    assert second == pytest.approx([0.1, 0.2, 0.3])
    pooled = rows_at(compared, "common")["clip", "clip"]
    assert [pooled[key] for key in ("accuracy", "success", "low", "high")] == pytest.approx(
        [0.4, 0.5, 0.25159, 0.74841], abs=1e-5
    )
    assert (pooled["reached"], pooled["seeds"], pooled["state"], pooled["floor"]) == (3, 3, "", FLOOR)
    assert set(pooled) == set(EQUAL_ACCURACY)
    row = differences(compared)["other", "clip"]
    assert [row[key] for key in ("success", "other_success", "difference")] == pytest.approx([0.2, 0.5, -0.3])
    assert set(row) == set(EQUAL_DIFFERENCES)


def test_the_interval_of_a_difference_is_student_s_of_paired_trainings():
    random = Random(5)
    ends = {name: [random.uniform(0.2, 0.8) for _ in range(5)] for name in ("clip", "other")}
    compared = comparison(*(history(n, [(0.5, y)], str(s)) for n, its in ends.items() for s, y in enumerate(its)))
    row = differences(compared)["other", "clip"]
    expected = ttest_rel(ends["other"], ends["clip"]).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((max(-1, expected.low), min(1, expected.high)))


def test_at_the_accuracy_that_a_recipe_has_at_its_end_seed_by_seed():
    fast = [history("clip", [(0.2, 0.2), (0.6, 1.0)], seed) for seed in "12"]
    slow = [history("slow", [(0.3, 0.0), (end, 0.1)], seed) for seed, end in (("1", 0.4), ("2", 0.5))]
    compared = comparison(*fast, *slow)
    assert rows_at(compared, "own", of="slow")["clip", "clip"]["success"] == pytest.approx((0.6 + 0.8) / 2)
    assert rows_at(compared, "own", of="slow")["clip", "clip"]["accuracy"] == pytest.approx(0.45)
    missed = rows_at(compared, "own", of="clip")["slow", "clip"]
    assert (missed["state"], missed["reached"], missed["seeds"]) == ("not reached", 0, 2)
    assert isnan(missed["success"])


def test_an_accuracy_that_some_seeds_do_not_reach_is_counted():
    clip = [history("clip", [(0.5, 0.9)], seed) for seed in "123"]
    weak = [history("clip~size~1", [(end, 0.1)], seed) for seed, end in zip("123", (0.4, 0.5, 0.6), strict=True)]
    compared = comparison(*clip, *weak)
    assert compared.common() == 0.5  # a variant does not lower it
    row = rows_at(compared, "common")["clip~size~1", "clip"]
    assert (row["reached"], row["seeds"], row["state"]) == (2, 3, "")
    assert [rows_at(compared, "common", s)["clip~size~1", "clip"]["state"] for s in "123"] == ["not reached", "", ""]
    pair = differences(compared)["clip~size~1", "clip"]
    assert (pair["reached"], pair["seeds"]) == (2, 3)


def test_a_recipe_that_learned_nothing_has_no_success_and_lowers_no_accuracy():
    blind = [history("blind", [(0.03, 0.0), (FLOOR, 0.0)], seed) for seed in "12"]
    compared = comparison(*(history("clip", CURVE, seed) for seed in "12"), *blind)
    assert compared.common() == 0.5
    row = rows_at(compared, "common")["blind", "clip"]
    assert (row["state"], row["reached"], isnan(row["success"])) == ("not learned", 0, True)
    assert rows_at(compared, "own", of="blind") == {}
    assert isnan(differences(compared)["blind", "clip"]["difference"])
    alone = comparison(*blind)
    assert list(alone.rows("targeted")) == list(alone.differences("targeted")) == []


def test_one_training_has_values_and_no_intervals():
    compared = comparison(history("clip", CURVE), history("other", CURVE))
    assert rows_at(compared, "common")["clip", "clip"]["success"] == pytest.approx(0.2)
    assert isnan(rows_at(compared, "common")["clip", "clip"]["low"])
    assert (differences(compared)["other", "clip"]["difference"], isnan(differences(compared)["other", "clip"]["low"])) == (
        0,
        True,
    )


def test_epochs_without_a_number_are_left_out_and_zeros_are_numbers():
    rows = history("clip", [(0.1, 0.0), ("", 0.9), (0.2, "nan"), (nan, nan), ("0.3", "0.0")])
    assert comparison(rows).raw == {("clip", "clip"): {"1": [(0.1, 0), (0.3, 0)]}}
    with pytest.raises(UserError, match=r"^history of targeted/clip/seed1: could not convert string to float: 'much'"):
        comparison(history("clip", [("much", 0.1)]))


def test_epochs_of_another_kind_are_a_curve_of_their_own_after_the_main_one():
    matching = history("roclip", [(0.2, 0.0), (0.25, 0.1)], kind="matching")
    plain = history("roclip", [(0.3, 0.3), (0.5, 0.4)])
    compared = comparison(history("clip", CURVE), matching, plain)
    assert list(compared.curves) == [("clip", "clip"), ("roclip", "clip"), ("roclip", "matching")]
    assert compared.mains == [("clip", "clip"), ("roclip", "clip")]
    assert compared.common() == 0.5
    assert rows_at(compared, "common")["roclip", "matching"]["state"] == "not reached"
    assert main_kinds([*history("repaired", [(0.1, 0.1)], kind="repair"), *matching, *plain, *matching]) == {
        "repaired": "repair", "roclip": "clip",
    }  # fmt: skip


def test_training_from_scratch_starts_at_chance_and_a_repair_has_nothing_below_its_first_epoch():
    rows = history("clip", [(0.42, 0.52)])
    assert comparison(rows).values(("clip", "clip"), comparison(rows).levels()[0]) == {"1": 0.52}
    below = (CHANCE + 0.42) / 2
    assert success_at(comparison(rows).curves["clip", "clip"]["1"], below) == pytest.approx((CHANCE + 0.52) / 2)
    assert isnan(success_at(comparison(rows, from_scratch=False).curves["clip", "clip"]["1"], below))


def test_what_is_trained_from_scratch():
    plan = planned([("targeted", name, 1) for name in ("clip", "tuned", "after", "repaired")])
    plan.models["tuned"] = Step("tuned", "train", {"kind": "clip", "start_from": "weights.pt"})
    plan.models["after"] = Step("after", "train", {"kind": "clip"}, start_from="clip")
    plan.models["repaired"] = Step("repaired", "repair", {"kind": next(iter(REPAIRS))}, start_from="clip")
    assert [name for name in plan.models if is_from_scratch(plan, name)] == ["clip"]


def test_the_comparisons_of_a_plan_are_by_attack_with_chance_of_the_classes():
    rows = [*history("clip", CURVE), *history("clip", CURVE, attack="patch"), *history("clip", [(0.5, "nan")], attack="clean")]
    found = comparisons(planned([("targeted", "clip", 1)]), rows, 50, 1000, {"targeted": 16, "patch": 1000})
    assert list(found) == ["targeted", "patch"]
    assert found["patch"].floor == pytest.approx(0.02 + 0.05), "as everywhere: five points above chance"
    assert found["patch"].curves["clip", "clip"]["1"][0] == (0.02, 0.02)


def test_the_end_is_of_the_full_evaluation():
    rows = [
        counted(seed=seed, checkpoint=kind, hits=hits, n=4) for seed, hits in (("1", 1), ("2", 3))
        for kind in ("last_matching", "last_clip")
    ]  # fmt: skip
    rows += [row | {"evaluation_set": "own", "measure": "zero_shot_top1", "hits": 60, "n": 100} for row in rows]
    rows += [counted("b", hits=0, on="attack-b"), counted("b", on="own", hits=3, n=100, measure="zero_shot_top1")]
    rows += [counted(on="attack-b", hits=4), counted("clean", on="own", measure="zero_shot_top1")]
    found = [row for row in ends(rows, 50, {"clip": "clip"}) if row["seed"] == "all"]
    assert [(r["attack"], r["kind"], r["accuracy"], r["success"], r["state"]) for r in with_six_digits(found)] == [
        ("a", "clip", "0.600000", "0.500000", ""),
        ("b", "clip", "0.030000", "", "not learned"),
        ("a", "matching", "0.600000", "0.500000", ""),
    ]
