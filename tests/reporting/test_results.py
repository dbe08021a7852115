"""Results and differences: what is pooled, who is a control for whom, and what stays empty."""

import pytest

from roclip.core.errors import UserError
from roclip.reporting.intervals import paired_difference
from roclip.reporting.results import DIFFERENCES, RESULTS, accuracy, differences, families, percent, results
from tests.reporting.test_gather import row

KINDS = (
    "targeted=targeted",
    "targeted~poisons~5=targeted",
    "patch~poisons~5=patch",
    "other=targeted",
    "patch=patch",
    "warped=warped",
    "clean=clean",
)
FAMILY = families(KINDS)


def found(rows, attack, method="clip", checkpoint="last_clip"):
    (one,) = [r for r in results(rows, FAMILY) if (r["attack"], r["method"], r["checkpoint"]) == (attack, method, checkpoint)]
    assert tuple(one) == RESULTS
    return one


def test_families():
    assert FAMILY == {
        "targeted": "targeted", "targeted~poisons~5": "targeted", "patch~poisons~5": "backdoor", "other": "targeted",
        "patch": "backdoor", "warped": "backdoor", "clean": "clean",
    }  # fmt: skip


def test_success_pools_images_over_seeds():
    rows = [row("patch", seed="0", exam="patch", hits=1, n=10), row("patch", seed="1", exam="patch", hits=9, n=30)]
    one = found(rows, "patch")
    assert (one["seeds"], one["success"], one["success_n"]) == (2, "0.250000", 40)
    assert (float(one["success_low"]), float(one["success_high"])) == pytest.approx((0.1269, 0.4120), abs=1e-4)


def test_the_control_is_another_family_same_method_and_checkpoint():
    rows = [
        row("targeted", exam="targeted", hits=9, n=10),
        row("other", exam="targeted", hits=9, n=10),  # the same family
        row("targeted~poisons~5", exam="targeted", hits=9, n=10),
        row("patch", exam="targeted", hits=1, n=10),
        row("clean", exam="targeted", hits=2, n=10),
        row("patch", exam="patch", hits=7, n=10),
        row("patch", exam="targeted", hits=5, n=10, method="roclip"),
        row("patch", exam="targeted", hits=6, n=10, checkpoint="last_matching"),
        row("patch", exam="targeted", hits=8, n=10, measure="attack_success_top3"),
    ]
    one = found(rows, "targeted")
    assert (one["control"], one["control_n"]) == ("0.200000", 10)  # of the model without an attack, though patch came first
    assert percent(one, "control") == "20.0 [2.5, 55.6]"
    assert found(rows, "targeted~poisons~5")["control"] == ""  # nobody else sat its exam


def test_every_exam_image_counts_once_for_a_seed_in_the_control():
    rows = [
        row("targeted", exam="targeted", hits=9, n=10, seed="0"),
        row("patch~poisons~5", exam="targeted", hits=9, n=10, seed="0"),  # a variant
        row("patch", exam="targeted", hits=1, n=10, seed="0"),
        row("warped", exam="targeted", hits=9, n=10, seed="0"),
        row("warped", exam="targeted", hits=4, n=10, seed="1"),
        row("clean", exam="targeted", hits=3, n=10, seed="1"),
    ]
    one = found(rows, "targeted")
    assert (one["control"], one["control_n"]) == ("0.200000", 20)


def test_accuracies_are_means_and_deviations_over_seeds():
    rows = [row("patch", seed=str(s), exam="test", measure="zero_shot_top1", hits=h, n=10) for s, h in enumerate([2, 4, 9])]
    one = found(rows, "patch")
    assert (one["zero_shot"], one["zero_shot_sd"]) == ("0.500000", "0.360555")  # numpy.std([.2, .4, .9], ddof=1)
    assert accuracy(one, "zero_shot") == "50.0 ± 36.1"
    alone = found(rows[:1], "patch")
    assert (alone["zero_shot"], alone["zero_shot_sd"]) == ("0.200000", "")
    assert accuracy(alone, "zero_shot") == "20.0"


def test_accuracies_are_those_on_the_experiments_own_test_images():
    for measure in ("zero_shot_top1", "linear_probe"):
        rows = [row("patch", exam=exam, measure=measure, hits=h, n=10) for exam, h in (("cifar10", 9), ("test", 2), ("dtd", 7))]
        one = found(rows, "patch")
        name = measure.removesuffix("_top1")
        assert (one[name], one[f"{name}_sd"]) == ("0.200000", "")
        assert found([rows[0]], "patch")[name] == ""


def test_what_was_not_counted_is_empty():
    one = found([row("clean", exam="test", measure="linear_probe", hits=0, n=4)], "clean")
    assert [one[key] for key in RESULTS[4:14]] == 10 * [""]
    assert one["linear_probe"] == "0.000000"
    assert percent(one, "success") == accuracy(one, "zero_shot") == ""


def judged(method, outcomes, seed="0", checkpoint="last_clip", attack="patch", exam="patch"):
    hits = outcomes.count("1")
    return row(attack, method, seed, exam, hits, len(outcomes), checkpoint=checkpoint) | {"outcomes": outcomes}


def test_a_difference_is_of_the_same_images_of_the_same_seeds():
    rows = [
        judged("clip", "1110"), judged("clip", "1100", seed="1"), judged("clip", "1111", seed="2"),
        judged("roclip", "1001"), judged("roclip", "1000", seed="1"), judged("roclip", "0000", exam="targeted"),
    ]  # fmt: skip
    (one,) = differences(rows, "clip")
    assert tuple(one) == DIFFERENCES
    assert [one[key] for key in DIFFERENCES[:5]] == ["patch", "last_clip", "clip", "roclip", 8]
    assert (one["baseline_success"], one["success"], one["difference"]) == ("0.625000", "0.375000", "0.250000")
    assert (float(one["low"]), float(one["high"])) == pytest.approx(paired_difference(2, 3, 1, 2), abs=1e-6)


def test_a_checkpoint_meets_its_own_and_else_the_one_there_is():
    rows = [
        judged("clip", "11"), judged("roclip", "10"), judged("roclip", "00", checkpoint="last_matching"),
        judged("other", "11", checkpoint="last_matching"), judged("other", "01"),
    ]  # fmt: skip
    assert {(r["method"], r["checkpoint"]): r["difference"] for r in differences(rows, "clip")} == {
        ("roclip", "last_clip"): "0.500000", ("roclip", "last_matching"): "1.000000",
        ("other", "last_clip"): "0.500000", ("other", "last_matching"): "0.000000",
    }  # fmt: skip
    assert {(r["method"], r["checkpoint"]): r["difference"] for r in differences(rows, "roclip")} == {
        ("clip", "last_clip"): "-0.500000",
        ("other", "last_clip"): "0.000000", ("other", "last_matching"): "-1.000000",
    }  # fmt: skip


def test_without_the_baseline_there_is_no_difference():
    assert differences([judged("roclip", "10"), judged("clip", "10", attack="warped", exam="warped")], "clip") == []


def test_different_exams_are_refused():
    with pytest.raises(UserError, match="attack patch, seed 0: clip was judged on 3 exam images and roclip on 2"):
        differences([judged("clip", "110"), judged("roclip", "11")], "clip")
    with pytest.raises(UserError, match="patch/clip/seed0: no outcome for each of 4 exam images"):
        differences([row("patch", exam="patch")], "clip")
