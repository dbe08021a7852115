"""The rows of differences.csv: who is compared with whom, on which images and trainings, by which test, in which family."""

import numpy as np
import pytest

from roclip.core.columns import DIFFERENCES
from roclip.core.errors import UserError
from roclip.reporting import trainings
from roclip.reporting.differences import differences
from roclip.reporting.intervals import paired_difference
from roclip.reporting.significance import fisher, holm, mcnemar
from roclip.reporting.trainings import Count
from tests.fixtures.claims import models
from tests.fixtures.plans import planned, point, runs_of
from tests.fixtures.results import counted, judged, trained


def compared(rows, about=None, sweeps=(), **changes):
    """The rows, of all or of one `about`."""
    plan = planned([run for run in runs_of(rows) if run[0] != "clean"], sweeps, **changes)
    plan.family["clean"] = "clean"
    found = differences(rows, plan)
    assert all(set(row) == set(DIFFERENCES) for row in found)
    return [row for row in found if about in (None, row["about"])]


TARGETS = [
    judged("clip", "1110", attack="targeted", on="attack-targeted"),
    judged("clip", "1100", "1", attack="targeted", on="attack-targeted"),
    judged("clip", "1111", "2", attack="targeted", on="attack-targeted"),
    judged("roclip", "1001", attack="targeted", on="attack-targeted"),
    judged("roclip", "1000", "1", attack="targeted", on="attack-targeted"),
    judged("roclip", "0000", attack="targeted", on="attack-patch"),
]


def test_of_targets_it_is_on_the_same_targets_of_the_same_seeds():
    (one,) = compared(TARGETS, "defence")
    named = ("attack", "baseline_attack", "checkpoint", "baseline", "defence", "n", "seeds", "test")
    assert [one[key] for key in named] == ["targeted", "targeted", "last_clip", "clip", "roclip", 8, 2, "mcnemar"]
    assert (one["baseline_success"], one["success"], one["difference"]) == ("0.625000", "0.375000", "0.250000")
    assert (float(one["low"]), float(one["high"])) == pytest.approx(paired_difference(2, 3, 1, 2), abs=1e-6)
    assert float(one["p"]) == pytest.approx(mcnemar(3, 1))


def test_of_a_backdoor_the_trainings_of_the_same_seeds_are_compared():
    rows = models(trained("patch", hits=[90, 95, 99], n=100), trained("patch", "roclip", hits=[10, 20], n=100))
    (one,) = compared(rows, "defence")
    first, second = [Count(90, 100), Count(95, 100)], [Count(10, 100), Count(20, 100)]
    assert (one["n"], one["seeds"], one["test"]) == (200, 2, "welch")
    assert (one["baseline_success"], one["difference"]) == ("0.925000", "0.775000")
    assert float(one["p"]) == pytest.approx(trainings.welch(first, second), rel=1e-3)
    assert (float(one["low"]), float(one["high"])) == pytest.approx(trainings.difference(first, second), abs=1e-6)


def test_one_training_of_a_backdoor_is_not_tested():
    (one,) = compared(models(trained("patch", hits=[99], n=100), trained("patch", "roclip", hits=[0], n=100)), "defence")
    assert (one["difference"], one["low"], one["high"], one["test"]) == ("0.990000", "", "", "")
    assert (one["p"], one["p_corrected"], one["comparisons"]) == ("", "", 0)


def test_a_checkpoint_meets_its_own_and_else_the_first_there_is():
    rows = [
        judged("clip", "11"), judged("roclip", "10"), judged("roclip", "00", checkpoint="last_matching"),
        judged("other", "11", checkpoint="last_matching"), judged("other", "01"), judged("theirs", "00", checkpoint="given"),
    ]  # fmt: skip
    found = {(r["baseline"], r["defence"], r["checkpoint"]): r["difference"] for r in compared(rows)}
    assert {key[1:]: by for key, by in found.items() if key[0] == "clip"} == {
        ("roclip", "last_clip"): "0.500000", ("roclip", "last_matching"): "1.000000",
        ("other", "last_clip"): "0.500000", ("other", "last_matching"): "0.000000", ("theirs", "given"): "1.000000",
    }  # fmt: skip
    assert {key[1:]: by for key, by in found.items() if key[0] == "roclip"} == {
        ("clip", "last_clip"): "-0.500000", ("theirs", "given"): "0.500000",
        ("other", "last_clip"): "0.000000", ("other", "last_matching"): "-1.000000",
    }  # fmt: skip


def test_who_is_in_which_family():
    names = ("a", "b", "clip", "b~pool_size~4")
    rows = models(*(trained(defence=name, hits=[hits], control=[0]) for name, hits in zip(names, (0, 9, 16, 3), strict=True)))
    found = {(r["about"], r["baseline"], r["defence"]) for r in compared(rows)}
    assert {key for key in found if key[0]} == {
        ("defence", "clip", "a"), ("defence", "clip", "b"), ("others", "a", "b"),
        ("controls", "", "a"), ("controls", "", "b"), ("controls", "", "clip"),
    }  # fmt: skip
    assert {key[1:] for key in found if not key[0]} == {
        ("a", "clip"), ("b", "clip"), ("b", "a"), *((name, "b~pool_size~4") for name in names[:3])
    }  # fmt: skip
    assert {row["about"] for row in compared(rows, baseline="gone")} == {"", "controls"}


def test_the_order_of_defences_changes_no_family():
    rows = {
        "clip": models(trained(hits=[16])),
        "roclip": models(trained(defence="roclip", hits=[12]), trained(defence="roclip", checkpoint="last_matching", hits=[3])),
        "half": models(trained(defence="half", hits=[9])),
    }
    found = [
        {(row["checkpoint"], frozenset((row["baseline"], row["defence"])), row["p"], row["p_corrected"]) for row in others}
        for order in (("clip", "roclip", "half"), ("clip", "half", "roclip"), ("half", "roclip", "clip"))
        for others in [compared([row for name in order for row in rows[name]], "others")]
    ]
    assert len(found[0]) == 2, "both checkpoints of RoCLIP meet the other defence"
    assert found[0] == found[1] == found[2]


def test_p_values_are_corrected_within_their_family():
    rows = models(*(trained(defence=d, hits=[hits], control=[0]) for d, hits in (("clip", 16), ("a", 9), ("b", 10), ("c", 16))))
    found = compared(rows, "defence")
    values = [mcnemar(7, 0), mcnemar(6, 0), 1]
    assert [float(row["p"]) for row in found] == pytest.approx(values, rel=1e-3)
    assert [float(row["p_corrected"]) for row in found] == pytest.approx(holm(values), rel=1e-3)
    assert {row["comparisons"] for row in found} == {3}
    assert {row["comparisons"] for row in compared(rows, "controls")} == {4}
    assert {(row["comparisons"], row["p_corrected"]) for row in compared(rows, "")} == {(0, "")}


def test_the_control_is_on_the_same_targets_of_the_same_seeds():
    (one,) = compared(trained(hits=[16, 12], control=[1, 0, 9]), "controls")
    assert (one["baseline_attack"], one["baseline"], one["defence"], one["n"], one["seeds"]) == ("", "", "clip", 32, 2)
    assert (one["baseline_success"], one["success"], one["test"]) == ("0.031250", "0.875000", "mcnemar")
    assert float(one["p"]) == pytest.approx(mcnemar(0, 27), rel=1e-3)  # the first seed's control hits a target that it has


def test_the_control_has_weights_of_the_same_moment():
    moments = {"last_clip": (16, 1), "last_matching": (8, 12)}
    its = (trained(hits=[hits], control=[control], checkpoint=name) for name, (hits, control) in moments.items())
    found = {row["checkpoint"]: (row["success"], row["baseline_success"]) for row in compared(models(*its), "controls")}
    assert found == {"last_clip": ("1.000000", "0.062500"), "last_matching": ("0.500000", "0.750000")}


def test_ends_of_a_sweep_with_other_attacks_may_have_other_targets():
    few = "targeted~captions_per_target~2"
    sweep = [("s", point({"captions_per_target": n}, a, "clip", base_defence="clip")) for n, a in ((2, few), (15, "targeted"))]
    rows = models(trained(few, hits=[3, 4, 2]), trained(hits=[16, 12]))
    (one,) = compared(rows, "sweep s", sweep)
    assert [one[key] for key in ("baseline_attack", "attack", "n", "seeds", "test")] == [few, "targeted", 32, 2, "fisher"]
    assert float(one["p"]) == pytest.approx(fisher(9, 48, 28, 32), rel=1e-3)
    assert (one["difference"], one["low"]) == ("-0.687500", "")


def test_ends_of_a_sweep_of_defences_have_the_same_targets():
    ends = (("roclip~pool_size~4", 4), ("roclip~pool_size~8", 8))
    sweep = [("s", point({"pool_size": size}, defence=name)) for name, size in ends]
    rows = models(*(trained(defence=name, hits=[size]) for name, size in ends))
    (one,) = compared(rows, "sweep s", sweep)
    assert (one["baseline"], one["defence"], one["test"], one["difference"]) == (*(n for n, _ in ends), "mcnemar", "-0.250000")


def test_without_the_baseline_there_is_no_difference():
    assert compared([judged("roclip", "10"), judged("clip", "10", attack="warped", on="attack-warped")]) == []


def test_different_evaluation_sets_are_refused():
    with pytest.raises(UserError, match="attack patch, seed 0: clip was judged on 3 images and roclip on 2"):
        compared([judged("clip", "110"), judged("roclip", "11")])
    with pytest.raises(UserError, match="patch/clip/seed0: no outcome for each of 4 images"):
        compared([counted("patch", on="attack-patch"), judged("roclip", "1111")])


@pytest.mark.parametrize("seeds", [3, 5])
def test_a_family_of_equal_backdoors_makes_false_claims_in_at_most_5_of_100_reports(seeds):
    rng, reports, names = np.random.default_rng(2), 40, ("clip", "a", "b", "c")
    false = 0
    for _ in range(reports):
        hits = rng.binomial(1000, rng.beta(0.95 * 52, 0.05 * 52, (4, seeds)))  # mean .95, standard deviation .03
        rows = models(*(trained("patch", d, list(map(int, its)), n=1000) for d, its in zip(names, hits, strict=True)))
        false += any(float(row["p_corrected"]) < 0.05 for row in compared(rows, "defence"))
    assert false / reports <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / reports)
