"""Whether an attack took: by its interval and its control, and then nothing is claimed of a defence against it."""

import pytest

from roclip.core.columns import TOOK
from roclip.core.errors import UserError
from roclip.core.files import write_table
from roclip.reporting.results import pivot
from roclip.reporting.took import BARELY, ENOUGH, NO, YES, failed, in_words, read_took, table, verdict, verdicts, written
from tests.fixtures.claims import models, said
from tests.fixtures.plans import planned, point, runs_of
from tests.fixtures.results import result, trained

FINDINGS = [
    {"finding": "poisons", "severity": severity, "meaning": f"A {severity}.", "change": f"mend the {severity}"}
    for severity in ("fine", "doubt", "fault")
]


def judged(*rows, checks=None, classes=50, **plan):
    """The rows of took.csv."""
    rows = models(*rows)
    return verdicts(pivot(rows), planned(runs_of(rows), **plan), classes, checks or {})


@pytest.mark.parametrize(
    ("hits", "control", "n", "took"),
    [
        (16, 0, 16, YES),
        (13, 0, 16, YES),  # 81% [54, 96]
        (12, 0, 16, BARELY),  # 75%
        (13, 6, 16, NO),  # the control's interval goes up to 65%
        (5, 0, 16, NO),  # [11, 59] and up to 21%
        (8, 0, 16, BARELY),  # [25, 75]
        (0, 0, 16, NO),
        (0, 16, 16, NO),
        (1000, 1000, 1000, NO),
    ],
)
def test_the_interval_must_lie_above_that_of_the_control(hits, control, n, took):
    (row,) = judged(result(hits=hits, control=control, n=n))
    assert row["took"] == took


@pytest.mark.parametrize(("hits", "classes", "took"), [(1, 50, NO), (3, 50, BARELY), (3, 10, NO), (16, 50, YES)])
def test_without_a_control_chance_takes_its_place(hits, classes, took):
    """1 of 16 is [0.2, 30.2], 3 of 16 [4.0, 45.6]."""
    assert judged(result(hits=hits), classes=classes)[0]["took"] == took


def test_of_one_training_of_a_backdoor_the_images_tell():
    (one,) = pivot(result("patch", hits=900, control=20, n=1000))
    blank = {f"{name}_{end}": float("nan") for name in ("attack_success", "control") for end in ("low", "high")}
    assert verdict(one | blank, 50) == YES
    assert verdict(one | blank | {"attack_success": 0.025}, 50) == NO
    assert verdict(one | blank | {"attack_success": 0.05}, 50) == BARELY


def test_only_the_baseline_is_asked_and_only_where_it_learned():
    assert judged(result(defence="roclip", hits=16)) == []
    assert [row["defence"] for row in judged(result(defence="roclip", hits=16), baseline="roclip")] == ["roclip"]
    assert judged(result(hits=16, zero_shot=0.02)) == []
    assert judged(result("targeted~targets~5", hits=16), result("clean", zero_shot=0.9)) == []
    weights = models(result(hits=2, checkpoint="last_matching"), result(hits=16))
    assert [(row["checkpoint"], row["took"]) for row in judged(weights)] == [("last_clip", YES)]


def test_the_worst_finding_is_the_reason():
    (row,) = judged(result(hits=1, control=0), checks={"targeted": FINDINGS, "patch": []})
    assert (row["reason"], row["change"]) == ("A fault.", "mend the fault")
    (row,) = judged(result(hits=1, control=0), checks={"targeted": FINDINGS[:1]})
    assert "learning_rate" in row["change"]
    (row,) = judged(result(hits=16, control=16), checks={"targeted": FINDINGS})
    assert "100.0% [79.4, 100.0] of its evaluation set too" in row["reason"]
    (row,) = judged(result(hits=16, control=0), checks={"targeted": FINDINGS})
    assert (row["reason"], row["change"]) == ("", "")


@pytest.mark.parametrize(
    ("finding", "augment", "counts"),
    [
        ("trigger_in_crops", False, False),
        ("trigger_in_crops", True, True),
        ("trigger_in_jpeg", True, False),
        ("poisons", False, True),
    ],
)
def test_crops_are_a_reason_only_where_the_baseline_makes_them(finding, augment, counts):
    recipes = {"clip": {"train": {"kind": "clip", "augment_images": augment}}}
    checks = {"targeted": [{**FINDINGS[1], "finding": finding}]}
    (row,) = judged(result(hits=1, control=0), checks=checks, defence=recipes)
    assert (row["reason"] == "A doubt.") == counts


def test_no_defence_is_judged_against_an_attack_that_did_not_take():
    lost = [trained(defence=name, hits=[hits], control=[0], zero_shot=[0.9]) for name, hits in (("clip", 3), ("roclip", 0))]
    other = [trained("patch", name, [hits] * 3, n=1000) for name, hits in (("clip", 1000), ("roclip", 0))]
    found = said(models(*lost, *other), controls=["clip"])
    (sentence,) = found.pop("took")
    assert sentence.startswith(
        "The targeted attack did not take, so no defence against it is judged: targeted attack success (ASR) is not shown to "
        "be above chance, with CLIP at the last CLIP epoch it is 18.8% [4.0, 45.6], its control 0.0% [0.0, 20.6]."
    )
    assert "RoCLIP lowered patch attack success" in found["defence"][0]
    price = found.pop("price")  # accuracy is claimed all the same
    assert "zero-shot" in price[0]
    assert not [text for texts in found.values() for text in texts if "targeted attack success" in text]


def test_an_attack_that_barely_took_is_judged():
    found = said(models(trained(hits=[10], control=[0]), trained(defence="roclip", hits=[0])))
    assert found["took"][0].startswith("The targeted attack barely took: targeted attack success (ASR) is below 80%, with CLIP")
    assert found["defence"]


def test_a_sweep_of_attacks_is_told_and_one_of_defences_is_not():
    rows = models(
        trained(hits=[0], control=[0]), trained("targeted~targets~9", hits=[16]),
        trained(defence="roclip", hits=[0]), trained(defence="roclip~pool_size~9", hits=[16]),
    )  # fmt: skip
    attacks = [
        ("n", point({"targets": 1}, "targeted", "clip", "targeted", "clip")),
        ("n", point({"targets": 9}, "targeted~targets~9", "clip", "targeted", "clip")),
    ]
    pools = [("p", point({"pool_size": 1})), ("p", point({"pool_size": 9}, defence="roclip~pool_size~9"))]
    found = said(rows, [*attacks, *pools])
    assert "rises from 0.0%" in found["sweep n"][0] or "0.0% [0.0, 20.6] at" in found["sweep n"][0]
    assert "sweep p" not in found


def test_the_table_is_read_as_it_was_written(tmp_path):
    rows = judged(result(hits=1, control=0), result("patch", hits=16))
    write_table(tmp_path / "took.csv", tuple(TOOK), written(rows))
    read = read_took(tmp_path / "took.csv")
    assert table(read) == table(rows)
    assert list(in_words(read)) == list(in_words(rows))
    assert failed(read) == {"targeted"}
    assert [line[:4] for line in table(rows)] == [
        ["targeted", NO, "6.2 [0.2, 30.2]", "0.0 [0.0, 20.6]"], ["patch", YES, "100.0 [79.4, 100.0]", "–"],
    ]  # fmt: skip
    write_table(tmp_path / "took.csv", tuple(TOOK), [{**written(rows)[0], "control": "much"}])
    with pytest.raises(UserError, match=r"took\.csv, row 1: .*remove the file and start the workflow"):
        read_took(tmp_path / "took.csv")


def test_four_fifths_are_the_fewest_of_16_targets_above_one_half():
    lows = {hits: judged(result(hits=hits))[0]["attack_success_low"] for hits in range(10, 17)}
    assert min(hits for hits, low in lows.items() if low > 0.5) == 13 == -(-ENOUGH * 16 // 1)
