"""Claims: a change only where intervals are apart, no number but the tables', and nothing about what was not run or learned."""

import re

import pytest

from roclip.core.columns import DIFFERENCES, EQUAL_ACCURACY, EQUAL_DIFFERENCES, REFERENCE, RESULTS
from roclip.core.files import read_json, write_table
from roclip.defences import TRAININGS
from roclip.experiment.plan import write_plan
from roclip.reporting import claims as stage
from roclip.reporting.claims import ClaimsOptions, claims, has_learned
from roclip.reporting.labels import defence_label
from roclip.reporting.phrases import change
from roclip.reporting.results import pivot, written
from roclip.reporting.sweep_claims import ordered
from tests.fixtures.plans import planned, point, runs_of
from tests.fixtures.results import result

CLASSES = 50


def models(*of):
    """The rows of several models in one list."""
    return [row for rows in of for row in rows]


def difference(defence="roclip", checkpoint="last_clip", values=("1.000000", "0.726197", "1.000000"), baseline="clip"):
    named = {"attack": "targeted", "checkpoint": checkpoint, "baseline": baseline, "defence": defence}
    return dict.fromkeys(DIFFERENCES, "") | named | dict(zip(("difference", "low", "high"), values, strict=True))


def texts(about, rows, differences=(), sweeps=(), reference=(), **plan):
    found = claims(planned(runs_of(rows), sweeps, **plan), rows, differences, reference, CLASSES)
    return [claim["text"] for claim in found if claim["about"] == about]


def wide(**values):
    (row,) = pivot(result(**values))
    return row


def test_a_change_needs_intervals_apart():
    assert change(wide(hits=16), wide(hits=0)) == -1
    assert change(wide(hits=0), wide(hits=16)) == 1
    # [41.3, 89.0] and [19.8, 70.1] overlap, though the difference of 25 points looks large
    assert change(wide(hits=11), wide(hits=7)) == 0
    touching = wide(hits=8) | {"attack_success_high": wide(hits=12)["attack_success_low"]}
    assert change(wide(hits=12), touching) == 0


@pytest.mark.parametrize(("baseline", "other"), [("clip", "roclip"), ("plain", "filtered"), ("roclip", "clip")])
def test_a_defence_against_the_baseline_whatever_they_are_called(baseline, other):
    later = result(defence=other, checkpoint="last_matching", hits=8)
    rows = models(result(defence=other, hits=0), later, result(defence=baseline, hits=16))
    before, after = map(defence_label, (baseline, other))
    paired = [difference(other, baseline=baseline), difference(baseline, baseline=other)]
    assert texts("defence", rows, paired, baseline=baseline) == [
        f"{after} lowered targeted attack success (ASR) from 100.0% [79.4, 100.0] with {before} to 0.0% [0.0, 20.6] at the "
        "last CLIP epoch (n = 16, 1 seed; paired difference 100.0 points [72.6, 100.0]).",
        f"{after} lowered targeted attack success (ASR) from 100.0% [79.4, 100.0] with {before} at the last CLIP epoch to "
        "50.0% [24.7, 75.3] at the last matching epoch (n = 16, 1 seed).",
    ]


def test_the_checkpoints_of_a_repair_and_of_given_weights_meet_the_baselines():
    rows = models(
        result(hits=16), result(defence="cleaned", checkpoint="last_repair", hits=0),
        result(defence="theirs", checkpoint="given", hits=1),
    )  # fmt: skip
    first, second = texts("defence", rows)
    assert "with CLIP at the last CLIP epoch to 0.0% [0.0, 20.6] at the last repair epoch" in first
    assert "with CLIP at the last CLIP epoch to 6.2% [0.2, 30.2] at the given weights" in second


def test_names_for_people_are_those_of_kinds():
    for kind, defence in TRAININGS.items():
        assert defence_label(kind) == vars(defence).get("label", kind)
    assert defence_label("roclip_noise") == "roclip_noise"


def test_where_no_difference_is_shown_the_numbers_are_still_given():
    assert texts("defence", models(result(hits=3), result(defence="roclip", hits=1, n=32))) == [
        "The data do not show a difference in targeted attack success (ASR) between CLIP, 18.8% [4.0, 45.6], and RoCLIP, "
        "3.1% [0.1, 16.2] at the last CLIP epoch (n = 16 and 32, 1 seed)."
    ]
    raised = models(result("label_consistent", hits=0), result("label_consistent", "roclip", hits=16))
    assert "RoCLIP raised label-consistent attack success (ASR) from 0.0%" in texts("defence", raised)[0]


def test_without_the_baseline_no_comparison_is_claimed():
    two = (("roclip", 0), ("safeclip", 16))
    rows = models(*(result(defence=name, hits=hits, control=0, zero_shot=0.9) for name, hits in two))
    assert {claim["about"] for claim in claims(planned(runs_of(rows)), rows, [], [], CLASSES)} == {"controls"}


def test_the_other_defences_are_compared_with_each_other():
    rows = models(
        result(hits=16), result(defence="a", hits=0), result(defence="b", hits=16), result(defence="c", hits=1),
        result(defence="b~pool_size~4", hits=16), result("patch", "a", hits=3), result("patch", "b"),
    )  # fmt: skip
    assert texts("others", rows) == [
        "b raised targeted attack success (ASR) from 0.0% [0.0, 20.6] with a to 100.0% [79.4, 100.0] at the last CLIP epoch "
        "(n = 16, 1 seed).",
        "c lowered targeted attack success (ASR) from 100.0% [79.4, 100.0] with b to 6.2% [0.2, 30.2] at the last CLIP epoch "
        "(n = 16, 1 seed).",
        "The data do not show a difference in targeted attack success (ASR) between a and c at the last CLIP epoch.",
    ]


def test_every_defence_against_its_control():
    rows = models(
        result(hits=16, control=0), result("a", "roclip", hits=1, control=0), result("b", "other", hits=0, control=16),
        result("c", hits=3), result("a", "roclip~pool_size~4", hits=16, control=0),
    )  # fmt: skip
    above, level, below = texts("controls", rows)
    assert above == (
        "With CLIP, targeted attack success (ASR), 100.0% [79.4, 100.0], is above its control, 0.0% [0.0, 20.6], at the last "
        "CLIP epoch (n = 16, 1 seed)."
    )
    assert level.startswith(
        "With RoCLIP, the data do not show a difference between a attack success (ASR), 6.2% [0.2, 30.2], and"
    )
    assert below.startswith("With other, b attack success (ASR), 0.0% [0.0, 20.6], is below its control")


@pytest.mark.parametrize(
    ("zero_shot", "n", "learned"),
    # the standard error of a share of 2% among 2500 is 0.28 points, among 100 it is 1.4
    [(0.0284, 2500, False), (0.0285, 2500, True), (0.061, 100, False), (0.063, 100, True), (0.001, 2500, False)],
)
def test_a_model_has_learned_when_it_is_three_standard_errors_above_chance(zero_shot, n, learned):
    assert has_learned({"zero_shot": zero_shot, "zero_shot_n": n}, CLASSES) == learned


def test_of_a_model_that_learned_nothing_no_defence_is_claimed():
    sweep = [("k", point({"match_every": 0}, defence="clip")), ("k", point({"match_every": 1}))]
    rows = models(
        result(hits=16, control=0, zero_shot=0.9),
        result(defence="roclip", hits=0, control=0, zero_shot=0.025),
        result(defence="roclip", checkpoint="last_matching", hits=1, control=0, zero_shot=0.5),
    )
    paired = [difference(), difference(checkpoint="last_matching")]
    found = claims(planned(runs_of(rows), sweep), rows, paired, [reference("62.5", defence="roclip")], CLASSES)
    abouts = ["defence", "controls", "controls", "not_learned", "price", "price", "published"]
    assert [claim["about"] for claim in found] == [*abouts, *3 * ["k"]]
    by_about = {claim["about"]: claim["text"] for claim in reversed(found)}
    assert by_about["not_learned"] == (
        "With RoCLIP, trained on targeted, nothing was learned at the last CLIP epoch: zero-shot accuracy, 2.5%, is not three "
        "standard errors above chance, 2.0%. No attack success (ASR) and no defence is claimed of this model."
    )
    assert "at the last matching epoch" in by_about["defence"]
    assert "last matching epoch" in by_about["published"]
    assert "2.5% with RoCLIP" in by_about["price"]  # its price stays
    assert " 0.0%" not in " ".join(by_about[about] for about in ("defence", "published"))
    unlearned = [row | {"value": 0.02} if row["measure"] == "zero_shot" else row for row in rows]
    assert {claim["about"] for claim in claims(planned(runs_of(rows)), unlearned, paired, [], CLASSES)} == {
        "not_learned",
        "price",
    }


def test_a_model_of_clean_pairs_is_under_no_attack():
    rows = models(result("clean", zero_shot=0.9), result("clean", "roclip", zero_shot=0.8))
    (text,) = texts("price", rows)
    assert text.startswith("Without an attack, mean zero-shot accuracy is ")


def test_the_price_is_a_mean_without_significance():
    rows = models(result(hits=9, zero_shot=0.998), result(hits=2, defence="roclip", zero_shot=0.946))
    assert texts("price", rows) == [
        "Under the targeted attack, mean zero-shot accuracy is 99.8% with CLIP and 94.6% with RoCLIP at the last CLIP epoch, "
        "-5.2 points (1 seed, so no significance is claimed)."
    ]
    rows = models(result(hits=9, zero_shot=0.998, sd=0.001), result(hits=2, defence="other", zero_shot=0.9981, sd=0.002))
    assert texts("price", rows)[0].endswith(
        "99.8% (sd 0.1) with CLIP and 99.8% (sd 0.2) with other at the last CLIP epoch, +0.0 points (3 seeds; no significance "
        "is claimed)."
    )


def reference(value, attack="targeted", defence="clip", source="A"):
    named = {"source": source, "attack": attack, "defence": defence, "measure": "attack_success", "value": value}
    return dict.fromkeys(REFERENCE, "") | named


def test_only_what_leaves_out_all_published_numbers_is_said_to_differ():
    rows = models(result(hits=3), result("label_consistent", hits=0))  # [4.0, 45.6] and [0, 20.6]
    inside = [reference("45"), reference("93.75")]
    assert texts("published", rows, reference=inside) == []
    outside = [reference("93.75"), reference("62.5", source="B"), reference("71", "label_consistent")]
    assert texts("published", rows, reference=outside) == [
        "Targeted attack success (ASR) with CLIP, 18.8% [4.0, 45.6] at the last CLIP epoch (n = 16), is below every published "
        "value, 62.5% to 93.75% (A and B).",
        "Label-consistent attack success (ASR) with CLIP, 0.0% [0.0, 20.6] at the last CLIP epoch (n = 16), is below every "
        "published value, 71% (A).",
    ]
    assert "is above every published value, 1%" in texts("published", rows, reference=[reference("1")])[0]


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ([{"pool_size": 200}, {"pool_size": 400}], True),
        ([{"match_every": 0}, {"match_every": 5}, {"match_every": 1}], True),
        ([{"clean_pairs": 10, "epochs": 4}, {"clean_pairs": None, "epochs": 2}], True),
        ([{"rate": 1e-05}, {"rate": 0.1}], True),
        ([{"augment": True}, {"augment": False}], False),
        ([{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 1}, {"a": 2, "b": 2}], False),
        ([{"pool_size": 200}], False),
        ([{}, {}], False),
    ],
)
def test_a_sweep_is_ordered_by_a_number_that_differs_at_every_point(changes, answer):
    assert ordered([point(change) for change in changes]) == answer


def test_a_sweep_from_its_first_to_its_last_point():
    variants = [f"targeted~captions_per_target~{n}" for n in (2, 25)]
    sweep = [
        ("poisons", point({"captions_per_target": n}, attack, defence, base_defence=defence))
        for defence in ("clip", "roclip")
        for n, attack in zip((2, 10, 25), (variants[0], "targeted", variants[1]), strict=True)
    ]
    rows = models(
        result(variants[0], hits=0), result(hits=9), result(variants[1], hits=16),
        result(variants[0], "roclip", hits=0, zero_shot=0.9), result(variants[1], "roclip", hits=1, zero_shot=0.8),
    )  # fmt: skip
    assert texts("poisons", rows, sweeps=sweep) == [
        "In the sweep poisons, targeted attack success (ASR) with CLIP rises from 0.0% [0.0, 20.6] at captions_per_target 2 to "
        "100.0% [79.4, 100.0] at captions_per_target 25 at the last CLIP epoch (n = 16, 1 seed).",
        "In the sweep poisons, the data do not show a difference in targeted attack success (ASR) with RoCLIP between "
        "captions_per_target 2, 0.0% [0.0, 20.6], and captions_per_target 25, 6.2% [0.2, 30.2] at the last CLIP epoch "
        "(n = 16, 1 seed).",
        "In the sweep poisons, mean zero-shot accuracy with RoCLIP under the targeted attack is 90.0% at captions_per_target 2 "
        "and 80.0% at captions_per_target 25 at the last CLIP epoch (1 seed, so no significance is claimed).",
    ]


def test_ends_of_a_sweep_without_a_common_checkpoint():
    rows = models(
        result(defence="clip_augmented", hits=16), result(defence="roclip~match_every~1", checkpoint="last_matching", hits=0)
    )  # fmt: skip
    sweep = [
        ("k", point({"match_every": 0}, defence="clip_augmented")),
        ("k", point({"match_every": 1}, defence="roclip~match_every~1")),
    ]
    assert texts("k", rows, sweeps=sweep) == [
        "In the sweep k, targeted attack success (ASR) with RoCLIP falls from 100.0% [79.4, 100.0] at match_every 0 at the "
        "last CLIP epoch to 0.0% [0.0, 20.6] at match_every 1 at the last matching epoch (n = 16, 1 seed)."
    ]


def test_nothing_is_said_of_what_was_not_run():
    sweep = [("k", point({"match_every": 0}, defence="gone")), ("k", point({"match_every": 1}))]
    alone = result(defence="roclip", hits=3)
    assert claims(planned(runs_of(alone), sweep), alone, [], [], CLASSES) == []
    rows = models(result("clean", hits=None, zero_shot=0.5), result("patch", "roclip", zero_shot=0.5))
    assert claims(planned(runs_of(rows)), rows, [], [], CLASSES) == []


def test_the_written_claims_and_their_numbers(tmp_path):
    rows = models(result(hits=15, control=1), result(defence="roclip", hits=2, control=0))
    write_plan(tmp_path / "plan.json", planned(runs_of(rows)))
    write_table(tmp_path / "results.csv", tuple(RESULTS), written(rows))
    differences = [difference(values=("0.812500", "0.500000", "0.900000"))]
    write_table(tmp_path / "differences.csv", tuple(DIFFERENCES), differences)
    write_table(tmp_path / "reference.csv", tuple(REFERENCE), [])
    write_table(tmp_path / "equal_accuracy.csv", tuple(EQUAL_ACCURACY), [])
    write_table(tmp_path / "equal_differences.csv", tuple(EQUAL_DIFFERENCES), [])
    (tmp_path / "classes.txt").write_text("apple\npear\n")
    tables = ("results", "differences", "equal_accuracy", "equal_differences", "reference")
    files = (tmp_path / name for name in ("plan.json", *(f"{table}.csv" for table in tables), "classes.txt"))
    stage.run(ClaimsOptions(*files, tmp_path / "claims.json"))
    found = read_json(tmp_path / "claims.json")
    assert [claim["about"] for claim in found] == ["defence", "controls", "controls"]
    known = {f"{100 * row[key]:.1f}" for row in rows for key in ("value", "low", "high")}
    for claim in found:
        assert "(ASR)" in claim["text"]
        assert set(re.findall(r"\d+\.\d", claim["text"])) <= known | {"81.2", "50.0", "90.0"}
