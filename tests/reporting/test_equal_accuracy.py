"""Attack success at equal accuracy: hand-computed numbers, what a slower recipe may not gain, and what has no value."""

from math import isnan, nan
from random import Random

import numpy as np
import pytest
from scipy.stats import ttest_rel

from roclip.core.columns import EQUAL_ACCURACY, EQUAL_DIFFERENCES
from roclip.core.errors import UserError
from roclip.reporting.equal_accuracy import comparisons, difference, ends, main_kinds, rising, success_at
from roclip.reporting.gather import with_six_digits
from tests.fixtures.histories import FLOOR, comparison, history
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


# what success is at an accuracy, whatever the recipe: lines that bend either way, and one that has a step
TRUTHS = {
    "straight": lambda x: x,
    "concave": lambda x: np.sqrt(x),
    "convex": lambda x: x**2,
    "step": lambda x: 1 / (1 + np.exp(-12 * (x - 0.5))),
}


@pytest.mark.parametrize("truth", TRUTHS)
def test_a_recipe_that_only_learns_more_slowly_along_the_same_curve_gains_nothing(truth):
    """On grids of their own, the slower one's ending early, and beginning below the other's first epoch."""
    curve, grids = TRUTHS[truth], {"clip": np.arange(0.3, 0.95, 0.06), "slow": np.arange(0.08, 0.6, 0.05)}
    compared = comparison(
        *(
            history(name, [(x + shift, float(curve(x + shift))) for x in grid.tolist()], seed)
            for name, grid in grids.items()
            for seed, shift in (("1", 0.0), ("2", 0.013), ("3", 0.021))
        )
    )
    for at in ("common", "own"):
        row = differences(compared, at)["slow", "clip"]
        assert (row["reached"], row["seeds"]) == (3, 3)
        assert abs(row["difference"]) < 0.02
        assert row["low"] < 0.02
        assert row["high"] > -0.02


def test_an_accuracy_below_the_first_epoch_has_no_value_for_nothing_was_measured_there():
    fast = [history("clip", [(0.66, 1.0), (0.8, 1.0)], seed) for seed in "12"]
    slow = [history("slow", [(0.1, 0.0), (0.4, 0.3)], seed) for seed in "12"]
    compared = comparison(*fast, *slow)
    for at, of in (("common", ""), ("own", "slow")):
        row = rows_at(compared, at, of=of)["clip", "clip"]
        assert (row["state"], row["reached"], row["seeds"]) == ("not measured (more accurate from the first epoch on)", 0, 2)
        assert isnan(row["success"])
    assert rows_at(compared, "own", of="clip")["slow", "clip"]["state"] == "not reached"
    pair = differences(compared)["slow", "clip"]
    assert pair["reached"] == 0
    assert isnan(pair["difference"])
    half = comparison(*fast[:1], history("clip", [(0.3, 0.2), (0.5, 0.9)], "2"), *slow)
    row = rows_at(half, "common")["clip", "clip"]
    assert (row["state"], row["reached"], row["success"]) == ("", 1, pytest.approx(0.55))


def simulated(random: np.random.Generator, *levels: float, seeds: int, targets: int) -> list[list[float]]:
    """Shares of targets that are lost, by recipe a training each; some targets are easier than others, for all recipes."""
    ease = random.normal(0, 1, (seeds, targets))
    return [
        (random.random((seeds, targets)) < 1 / (1 + np.exp(-level - ease - random.normal(0, 0.5, (seeds, 1))))).mean(1).tolist()
        for level in levels
    ]


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("level", [-3.0, -1.0, 0.0])
def test_identical_recipes_are_told_apart_in_one_case_of_twenty_at_most(seeds, level):
    random, runs = np.random.default_rng(seeds), 500
    found = [difference(*simulated(random, level, level, seeds=seeds, targets=16), 16) for _ in range(runs)]
    wrong = sum(row["p"] < 0.05 for row in found) / runs
    assert wrong < 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5
    missed = sum(not row["low"] <= 0 <= row["high"] for row in found) / runs
    assert missed < 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


def test_a_large_difference_of_five_pairs_is_found():
    random = np.random.default_rng(0)
    found = [difference(*simulated(random, -1.5, 1.5, seeds=5, targets=16), 16) for _ in range(200)]
    assert sum(row["p"] < 0.05 and row["difference"] < 0 for row in found) > 190


def test_identical_curves_do_not_differ():
    compared = comparison(*(history(name, CURVE, seed) for name in ("clip", "same") for seed in "12"))
    for row in compared.differences("targeted"):
        assert (row["difference"], row["low"] + row["high"], row["p"]) == (0, 0, 1)


def test_pairs_that_differ_alike_have_the_errors_of_both():
    half, full = [0.5, 0.5], [1.0, 1.0]  # of 32 images in all
    arm = 1.959964 * ((16.5 / 33 * 16.5 / 33 + 32.5 / 33 * 0.5 / 33) / 32) ** 0.5
    for first, other, by in ((half, full, -0.5), (full, half, 0.5)):
        row = difference(first, other, 16)
        assert (row["low"], row["high"]) == pytest.approx((by - arm, by + arm))


def test_hand_computed_values_and_their_difference():
    clip = [history("clip", [(0.2, 0.2), (0.6, y)], seed) for seed, y in zip("123", (0.6, 0.8, 1.0), strict=True)]
    other = [history("other", [(0.2, 0.1), (0.4, y)], seed) for seed, y in zip("123", (0.1, 0.2, 0.3), strict=True)]
    compared = comparison(*clip, *other)
    assert compared.common() == dict.fromkeys("123", 0.4)
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


def test_trainings_of_a_seed_are_compared_at_the_most_that_all_of_them_reach():
    ends = {"1": 0.4, "2": 0.5, "3": 0.3}
    clip = [history("clip", [(0.2, 0.2), (0.6, 1.0)], seed) for seed in ends]
    slow = [history("slow", [(0.1, 0.0), (end, 0.3)], seed) for seed, end in ends.items()]
    compared = comparison(*clip, *slow)
    assert compared.common() == ends
    assert rows_at(compared, "common")["clip", "clip"]["accuracy"] == pytest.approx(0.4)
    found = [rows_at(compared, "common", seed)["clip", "clip"]["success"] for seed in ends]
    assert found == pytest.approx([0.6, 0.8, 0.4])
    assert differences(compared)["slow", "clip"]["difference"] == pytest.approx(-0.3)


def test_at_the_accuracy_that_a_recipe_has_at_its_end_seed_by_seed():
    fast = [history("clip", [(0.2, 0.2), (0.6, 1.0)], seed) for seed in "12"]
    slow = [history("slow", [(0.3, 0.0), (end, 0.1)], seed) for seed, end in (("1", 0.4), ("2", 0.5))]
    compared = comparison(*fast, *slow)
    assert rows_at(compared, "own", of="slow")["clip", "clip"]["success"] == pytest.approx((0.6 + 0.8) / 2)
    assert rows_at(compared, "own", of="slow")["clip", "clip"]["accuracy"] == pytest.approx(0.45)
    missed = rows_at(compared, "own", of="clip")["slow", "clip"]
    assert (missed["state"], missed["reached"], missed["seeds"]) == ("not reached", 0, 2)
    assert isnan(missed["success"])


def test_the_end_of_a_training_is_its_last_epoch_even_where_an_earlier_one_was_better():
    compared = comparison(history("clip", [(0.2, 0.2), (0.6, 1.0)]), history("slow", [(0.3, 0.0), (0.5, 0.4), (0.4, 0.9)]))
    found = {name: row["success"] for (name, _), row in rows_at(compared, "own", of="slow").items()}
    assert found == pytest.approx({"clip": 0.6, "slow": 0.2})
    assert compared.common() == {"1": 0.5}


def test_an_accuracy_that_some_seeds_do_not_have_is_counted():
    clip = [history("clip", [(0.5, 0.9)], seed) for seed in "123"]
    weak = [history("clip~size~1", [(end, 0.1)], seed) for seed, end in zip("123", (0.4, 0.5, 0.6), strict=True)]
    compared = comparison(*clip, *weak)
    assert compared.common() == dict.fromkeys("123", 0.5)  # a variant does not lower it
    row = rows_at(compared, "common")["clip~size~1", "clip"]
    assert (row["reached"], row["seeds"], row["state"]) == (1, 3, "")
    states = [rows_at(compared, "common", seed)["clip~size~1", "clip"]["state"] for seed in "123"]
    assert states == ["not reached", "", "not measured (more accurate from the first epoch on)"]
    pair = differences(compared)["clip~size~1", "clip"]
    assert (pair["reached"], pair["seeds"]) == (1, 3)


def test_a_recipe_that_learned_nothing_has_no_success_and_lowers_no_accuracy():
    blind = [history("blind", [(0.03, 0.0), (FLOOR, 0.0)], seed) for seed in "12"]
    compared = comparison(*(history("clip", CURVE, seed) for seed in "12"), *blind)
    assert compared.common() == {"1": 0.5, "2": 0.5}
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
    assert compared.common() == {"1": 0.5}
    assert rows_at(compared, "common")["roclip", "matching"]["state"] == "not reached"
    assert main_kinds([*history("repaired", [(0.1, 0.1)], kind="repair"), *matching, *plain, *matching]) == {
        "repaired": "repair", "roclip": "clip",
    }  # fmt: skip


def test_the_comparisons_of_a_plan_are_by_attack_with_chance_of_the_classes():
    rows = [*history("clip", CURVE), *history("clip", CURVE, attack="patch"), *history("clip", [(0.5, "nan")], attack="clean")]
    found = comparisons(rows, 50, 1000, {"targeted": 16, "patch": 1000})
    assert list(found) == ["targeted", "patch"]
    assert found["patch"].floor == pytest.approx(0.02 + 0.05), "as everywhere: five points above chance"


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
