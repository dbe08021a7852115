"""Claims: a change only where a corrected p value says so, no number but the tables', and nothing about what was not run."""

import re

import pytest

from roclip.core.columns import DIFFERENCES, EQUAL_ACCURACY, EQUAL_DIFFERENCES, REFERENCE, RESULTS, TOOK
from roclip.core.errors import UserError
from roclip.core.files import read_json, write_table
from roclip.defences import TRAININGS
from roclip.experiment.plan import write_plan
from roclip.reporting import claims as stage
from roclip.reporting.claims import ClaimsOptions, claims, has_learned
from roclip.reporting.differences import differences
from roclip.reporting.labels import defence_label
from roclip.reporting.phrases import seeds
from roclip.reporting.results import results, written
from tests.fixtures.claims import CLASSES, models, said, texts
from tests.fixtures.plans import planned, point, runs_of
from tests.fixtures.results import result, trained


def of_results(about, rows, reference=()):
    """The sentences of rows of results.csv without any comparison."""
    return [claim["text"] for claim in claims(planned(runs_of(rows)), rows, [], reference, CLASSES) if claim["about"] == about]


@pytest.mark.parametrize(("baseline", "other"), [("clip", "roclip"), ("plain", "filtered"), ("roclip", "clip")])
def test_a_defence_against_the_baseline_whatever_they_are_called(baseline, other):
    rows = models(
        trained(defence=other, hits=[0]), trained(defence=other, checkpoint="last_matching", hits=[14]),
        trained(defence=baseline, hits=[16]),
    )  # fmt: skip
    before, after = map(defence_label, (baseline, other))
    assert texts("defence", rows, baseline=baseline) == [
        f"{after} lowered targeted attack success (ASR) from 100.0% [79.4, 100.0] with {before} to 0.0% [0.0, 20.6] at the "
        "last CLIP epoch (n = 16, 1 seed; difference 100.0 points [72.6, 100.0]; p < 0.0001, Holm-corrected over 2 "
        "comparisons).",
        f"The data do not show a difference in targeted attack success (ASR) between {before}, 100.0% [79.4, 100.0] at the "
        f"last CLIP epoch, and {after}, 87.5% [61.7, 98.4] at the last matching epoch (n = 16, 1 seed; difference 12.5 points "
        "[-8.9, 36.0]; p = 0.5, Holm-corrected over 2 comparisons).",
    ]


def test_the_correction_can_take_a_change_away():
    pair = [trained(hits=[16]), trained(defence="roclip", hits=[10])]  # 2 ** -5
    assert "RoCLIP lowered" in texts("defence", models(*pair))[0]
    assert "p = 0.031, Holm-corrected over 1 comparison)" in texts("defence", models(*pair))[0]
    more = texts("defence", models(*pair, trained(defence="other", hits=[16])))
    assert "do not show a difference" in more[0]
    assert "p = 0.062, Holm-corrected over 2 comparisons)" in more[0]


def test_of_one_training_of_a_backdoor_nothing_is_claimed():
    rows = models(
        trained("patch", hits=[1000], control=[0], n=1000), trained("patch", "roclip", hits=[0], control=[0], n=1000),
        trained("patch", "other", hits=[500], n=1000),
    )  # fmt: skip
    found = said(rows)
    assert found["defence"][0] == (
        "On patch attack success (ASR) of one training each no difference is claimed between CLIP, 100.0% (1 training), and "
        "RoCLIP, 0.0% (1 training) at the last CLIP epoch (n = 1000, 1 seed)."
    )
    assert found["others"] == [
        "On patch attack success (ASR) of one training each no difference is claimed between RoCLIP and other at the last CLIP "
        "epoch."
    ]
    assert found["controls"][0].startswith("With CLIP, of one training each no difference is claimed between patch attack")


def test_of_several_trainings_of_a_backdoor_the_trainings_are_tested():
    rows = models(
        trained("patch", hits=[990, 980, 1000], n=1000), trained("patch", "roclip", hits=[20, 10, 0], n=1000),
        trained("patch", "other", hits=[1000, 900, 995], n=1000),
    )  # fmt: skip
    lowered, alike = texts("defence", rows)
    assert lowered.startswith("RoCLIP lowered patch attack success (ASR) from 99.0% [")
    assert "(n = 3000, 3 seeds; difference 98.0 points [" in lowered
    assert lowered.endswith(", Holm-corrected over 2 comparisons).")
    assert alike.startswith("The data do not show a difference")  # 2.5 points of 3000 images, were they trials of their own


def test_the_checkpoints_of_a_repair_and_of_given_weights_meet_the_baselines():
    rows = models(
        trained(hits=[16]), trained(defence="cleaned", checkpoint="last_repair", hits=[0]),
        trained(defence="theirs", checkpoint="given", hits=[1]),
    )  # fmt: skip
    first, second = texts("defence", rows)
    assert "with CLIP at the last CLIP epoch to 0.0% [0.0, 20.6] at the last repair epoch" in first
    assert "with CLIP at the last CLIP epoch to 6.2% [0.2, 30.2] at the given weights" in second


def test_names_for_people_are_those_of_kinds():
    for kind, defence in TRAININGS.items():
        assert defence_label(kind) == vars(defence).get("label", kind)
    assert defence_label("roclip_noise") == "roclip_noise"


def test_a_defence_may_raise_success():
    raised = models(trained(hits=[2, 3]), trained(defence="roclip", hits=[16, 12]))
    assert "RoCLIP raised targeted attack success (ASR) from 15.6% [5.3, 32.8] with CLIP" in texts("defence", raised)[0]


def test_without_the_baseline_no_comparison_is_claimed():
    two = (("roclip", 0), ("safeclip", 16))
    rows = models(*(trained(defence=name, hits=[hits], control=[0], zero_shot=[0.9]) for name, hits in two))
    assert set(said(rows)) == {"best_control", "controls"}


def test_the_other_defences_are_compared_with_each_other():
    rows = models(
        trained(hits=[16]), trained(defence="a", hits=[0]), trained(defence="b", hits=[16]), trained(defence="c", hits=[1]),
        trained(defence="b~pool_size~4", hits=[16]), trained("patch", "a", hits=[3]), trained("patch", "b", hits=[]),
    )  # fmt: skip
    assert texts("others", rows) == [
        "b raised targeted attack success (ASR) from 0.0% [0.0, 20.6] with a to 100.0% [79.4, 100.0] at the last CLIP epoch "
        "(n = 16, 1 seed; difference -100.0 points [-100.0, -72.6]; p < 0.0001, Holm-corrected over 3 comparisons).",
        "c lowered targeted attack success (ASR) from 100.0% [79.4, 100.0] with b to 6.2% [0.2, 30.2] at the last CLIP epoch "
        "(n = 16, 1 seed; difference 93.8 points [64.4, 98.9]; p = 0.00012, Holm-corrected over 3 comparisons).",
        "The data do not show a difference in targeted attack success (ASR) between a and c at the last CLIP epoch.",
    ]


def test_every_defence_against_its_control():
    rows = models(
        trained(hits=[16], control=[0]), trained(defence="roclip", hits=[1], control=[0]),
        trained(defence="other", hits=[0], control=[16]), trained(defence="roclip~pool_size~4", hits=[16], control=[0]),
    )  # fmt: skip
    above, level, below = texts("controls", rows)
    assert above == (
        "With CLIP, targeted attack success (ASR), 100.0% [79.4, 100.0], is above its control, 0.0% [0.0, 20.6], at the last "
        "CLIP epoch (n = 16, 1 seed; p < 0.0001, Holm-corrected over 3 comparisons)."
    )
    assert level.startswith(
        "With RoCLIP, the data do not show a difference between targeted attack success (ASR), 6.2% [0.2, 30.2], and"
    )
    assert below.startswith("With other, targeted attack success (ASR), 0.0% [0.0, 20.6], is below its control")


def test_a_control_of_more_seeds_is_compared_on_those_that_both_have():
    rows = models(trained(hits=[16, 16], control=[0, 0, 12]))
    assert "its control, 0.0%, at the last CLIP epoch (n = 32, 2 seeds that both have; p < 0.0001" in texts("controls", rows)[0]


def test_a_defence_of_fewer_seeds_is_compared_on_those_that_both_have():
    """CLIP's three other trainings, under which nothing succeeds, say nothing of RoCLIP."""
    rows = models(trained(hits=[16, 16, 0, 0, 0]), trained(defence="roclip", hits=[8, 8]))
    assert texts("defence", rows)[0].startswith("RoCLIP lowered targeted attack success (ASR) from 100.0% with CLIP to 50.0% [")
    assert "(n = 32, 2 seeds that both have; difference 50.0 points [" in texts("defence", rows)[0]


@pytest.mark.parametrize(
    ("zero_shot", "n", "learned"),
    # the standard error of a share of 2% among 2500 is 0.28 points, among 100 it is 1.4
    # and 2% of 50 classes and five points are less than five times it
    [
        (0.0284, 2500, False),
        (0.0699, 2500, False),
        (0.0701, 2500, True),
        (0.001, 2500, False),
        (0.1, 25, False),
        (0.105, 25, True),
    ],
)
def test_a_model_has_learned_when_it_is_well_above_chance(zero_shot, n, learned):
    assert has_learned({"learned": True, "zero_shot": zero_shot, "zero_shot_n": n}, CLASSES) == learned


@pytest.mark.parametrize(
    ("classes", "zero_shot", "learned"), [(100, 0.03, False), (100, 0.051, True), (1000, 0.0055, True), (20, 0.2, True)]
)
def test_three_percent_of_a_hundred_classes_are_nothing_however_many_images(classes, zero_shot, learned):
    """And models of many classes, or of few, are not asked for more than they can."""
    assert has_learned({"learned": True, "zero_shot": zero_shot, "zero_shot_n": 10**6}, classes) == learned


def test_of_a_model_that_learned_nothing_no_defence_is_claimed():
    sweep = [("k", point({"match_every": 0}, defence="clip")), ("k", point({"match_every": 1}))]
    rows = models(
        trained(hits=[16], control=[0], zero_shot=[0.9]), trained(defence="roclip", hits=[0], control=[0], zero_shot=[0.0252]),
        trained(defence="roclip", checkpoint="last_matching", hits=[1], control=[0], zero_shot=[0.5]),
    )  # fmt: skip
    found = said(rows, sweep, [reference("62.5", defence="roclip")])
    count = {"defence": 1, "best_control": 1, "controls": 2, "not_learned": 1, "price": 2, "published": 1, "sweep k": 3}
    assert {about: len(sentences) for about, sentences in found.items()} == count
    assert found["not_learned"] == [
        "With RoCLIP, trained on targeted, too little was learned at the last CLIP epoch: zero-shot accuracy, 2.5%, is "
        "not above 7.0%, and chance is 2.0%. No attack success (ASR) and no defence is claimed of this model."
    ]
    assert "at the last matching epoch" in found["defence"][0]
    assert "last matching epoch" in found["published"][0]
    assert "2.5% with RoCLIP" in found["price"][0]  # its price stays
    assert " 0.0%" not in found["defence"][0] + found["published"][0]
    unlearned = [row | {"hits": 50} if row["measure"] == "zero_shot_top1" else row for row in rows]
    assert set(said(unlearned)) == {"not_learned", "price"}


def test_a_model_of_clean_pairs_is_under_no_attack():
    rows = models(result("clean", zero_shot=0.9), result("clean", "roclip", zero_shot=0.8))
    (text,) = of_results("price", rows)
    assert text.startswith("Without an attack, mean zero-shot accuracy is ")


def test_the_price_is_a_mean_without_significance():
    rows = models(result(hits=9, zero_shot=0.998), result(hits=2, defence="roclip", zero_shot=0.946))
    assert of_results("price", rows) == [
        "Under the targeted attack, mean zero-shot accuracy is 99.8% with CLIP and 94.6% with RoCLIP at the last CLIP epoch, "
        "-5.2 points (1 seed, so no significance is claimed)."
    ]
    rows = models(result(hits=9, zero_shot=0.998, sd=0.001), result(hits=2, defence="other", zero_shot=0.9981, sd=0.002))
    assert of_results("price", rows)[0].endswith(
        "99.8% (sd 0.1) with CLIP and 99.8% (sd 0.2) with other at the last CLIP epoch, +0.0 points (3 seeds; no significance "
        "is claimed)."
    )


def test_means_over_unlike_seeds_are_not_compared():
    one = result(hits=2, defence="roclip", zero_shot=0.9, seeds=1)
    assert of_results("price", [*result(hits=9, zero_shot=0.9, sd=0.01), *one]) == []
    assert len(of_results("price", [*result(hits=9, zero_shot=0.9), *one])) == 1


def test_a_mean_is_said_to_be_of_as_many_seeds_as_both_have():
    for pair in ({"seeds": 3}, {"seeds": 1}), ({"seeds": 1}, {"seeds": 3}):
        assert seeds(*pair) == "1 seed, so no significance is claimed"


def reference(value, attack="targeted", defence="clip", source="A"):
    named = {"source": source, "attack": attack, "defence": defence, "measure": "attack_success", "value": value}
    return dict.fromkeys(REFERENCE, "") | named


def test_only_what_leaves_out_all_published_numbers_is_said_to_differ():
    rows = models(result(hits=3), result("label_consistent", hits=0))  # [4.0, 45.6] and [0, 20.6]
    inside = [reference("45"), reference("93.75")]
    assert of_results("published", rows, reference=inside) == []
    assert of_results("published", rows, reference=[reference("1"), reference("30")]) == [], "above the lowest alone"
    outside = [reference("93.75"), reference("62.5", source="B"), reference("71", "label_consistent")]
    assert of_results("published", rows, reference=outside) == [
        "Targeted attack success (ASR) with CLIP, 18.8% [4.0, 45.6] at the last CLIP epoch (n = 16), is below every published "
        "value, 62.5% to 93.75% (A and B).",
        "Label-consistent attack success (ASR) with CLIP, 0.0% [0.0, 20.6] at the last CLIP epoch (n = 16), is below every "
        "published value, 71% (A).",
    ]
    assert "is above every published value, 1%" in of_results("published", rows, reference=[reference("1")])[0]


def test_nothing_is_said_of_what_was_not_run():
    sweep = [("k", point({"match_every": 0}, defence="gone")), ("k", point({"match_every": 1}))]
    assert said(trained(hits=[16]), sweep) == {}
    rows = models(result("clean", hits=None, zero_shot=0.5), result("patch", "roclip", zero_shot=0.5))
    assert claims(planned(runs_of(rows)), rows, [], [], CLASSES) == []


def test_the_written_claims_and_their_numbers(tmp_path):
    measures = models(trained(hits=[15], control=[1]), trained(defence="roclip", hits=[2], control=[0]))
    plan = planned(runs_of(measures), controls=["half"])
    rows, compared = results(measures, plan.family), differences(measures, plan)
    write_plan(tmp_path / "plan.json", plan)
    write_table(tmp_path / "results.csv", tuple(RESULTS), written([row | {"learned": 1} for row in rows]))
    write_table(tmp_path / "differences.csv", tuple(DIFFERENCES), compared)
    write_table(tmp_path / "reference.csv", tuple(REFERENCE), [])
    write_table(tmp_path / "equal_accuracy.csv", tuple(EQUAL_ACCURACY), [])
    write_table(tmp_path / "equal_differences.csv", tuple(EQUAL_DIFFERENCES), [])
    write_table(tmp_path / "took.csv", tuple(TOOK), [])
    (tmp_path / "classes.txt").write_text("apple\npear\n")
    tables = ("results", "differences", "equal_accuracy", "equal_differences", "took", "reference")
    files = (tmp_path / name for name in ("plan.json", *(f"{table}.csv" for table in tables), "classes.txt"))
    options = ClaimsOptions(*files, tmp_path / "claims.json")
    stage.run(options)
    found = read_json(tmp_path / "claims.json")
    assert [claim["about"] for claim in found] == ["defence", "best_control", "controls", "controls"]
    known = {f"{100 * row[key]:.1f}" for row in rows for key in ("value", "low", "high")}
    known |= {f"{100 * float(row[key]):.1f}" for row in compared for key in ("difference", "low", "high")}
    known |= {f"{float(row['p_corrected'] or 1):.2g}" for row in compared}
    for claim in found:
        assert set(re.findall(r"\d+\.\d+", claim["text"])) <= known
    write_plan(tmp_path / "plan.json", planned(runs_of(measures[:1])))
    with pytest.raises(UserError, match=r"results\.csv: has \w+ against \w+, plan\.json has not"):
        stage.run(options)
