"""Detectors in a config: what is chosen, what is planned, which jobs are told what, and mistakes in one line."""

import shlex

import pytest

from attacks import ATTACKS
from roclip.core.errors import UserError
from roclip.core.options import parse
from roclip.experiment.config import check
from roclip.experiment.plan import nothing_to_detect, read_plan, write_plan
from roclip.reporting.figures import figures_of
from roclip.training.detect import STAGE, detectors
from tests.fixtures.configs import CONFIG, changed
from tests.fixtures.targets import given, job, targets

DEFENCES = {
    "slof90": {"filter": {"kind": "slof", "scored_by": {"kind": "clip"}, "keep": 0.9}, "train": {"kind": "clip"}},
    "random90": {"filter": {"kind": "random", "keep": 0.9}, "train": {"kind": "clip"}},
    "oracle": {"filter": {"kind": "oracle"}, "train": {"kind": "clip"}},
    "cleaned": {
        "filter": {"kind": "random", "keep": 0.1}, "train": {"kind": "clip"},
        "repair": {"kind": "finetune", "clean_pairs": 500},
    },
}  # fmt: skip
CHANGES = {
    "experiment": "x", "attacks": ["clean", "targeted"], "defences": ["clip", *DEFENCES], "defence": DEFENCES,
    "data": {"held_out": 500},
    "detectors": ["slof", "near", "gmm"], "detector": {"near": {"kind": "slof", "neighbours": 32}},
}  # fmt: skip


@pytest.fixture(scope="module")
def wanted():
    return targets(CHANGES)


def test_without_detectors_there_is_no_job_no_table_and_no_figure():
    plain = targets({"experiment": "x", "attacks": ["targeted"]})
    assert (plain.plan.detectors, plain.detections, plain.filtered, plain.gather_flags()) == ({}, [], [], "")
    assert not [path for path in plain.tables if path.endswith(("detection.csv", "filters.csv"))]
    assert "detection" not in figures_of(plain.plan)


def test_detectors_are_names_that_are_defined_or_kinds_with_their_defaults(wanted, tmp_path):
    of_slof = {"kind": "slof", "neighbours": 16, "references": 2048}
    assert wanted.plan.detectors == {"slof": of_slof, "near": of_slof | {"neighbours": 32}, "gmm": {"kind": "gmm"}}
    assert check(wanted.config, ATTACKS) == (wanted.config, wanted.plan)
    write_plan(tmp_path / "plan.json", wanted.plan)
    assert read_plan(tmp_path / "plan.json") == wanted.plan


def test_a_model_that_was_trained_on_an_attack_has_a_job_and_one_without_has_a_sentence(wanted):
    folders = [f"results/x/detection/targeted/{defence}/seed10/detection.csv" for defence in CHANGES["defences"]]
    assert wanted.detections == folders
    assert "results/x/tables/detection.csv" in wanted.gathered
    assert "results/x/tables/filters.csv" in wanted.gathered
    said = "No detector is run on models that were trained on clean: no pair is poisoned, so there is nothing to detect."
    assert nothing_to_detect(wanted.plan) == [said]
    assert said in wanted.absences()
    assert nothing_to_detect(targets(CHANGES | {"attacks": ["targeted"]}).plan) == []
    clean = targets(CHANGES | {"attacks": ["clean"]})
    assert (clean.detections, "detection" in clean.gather_flags()) == ([], False)
    assert "detection" not in figures_of(clean.plan)


def test_the_stage_understands_what_it_is_told(wanted):
    words = shlex.split(wanted.detect_flags(job(attack="targeted", defence="slof90", seed="10")))
    files = ["--pairs", "p", "--truth", "t", "--weights", "w", "--out", "o", "--threads", "1"]
    options = parse(STAGE.options, [*files, *words])
    chosen = detectors(options.detectors)
    assert [*chosen] == ["slof", "near", "gmm"]
    assert [(one.settings.neighbours, one.settings.references) for one in (chosen["slof"], chosen["near"])] == [
        (16, 2048),
        (32, 2048),
    ]
    assert (options.seed, str(options.kept)) == (10, "results/x/filters/targeted/slof90/seed10/kept.csv")
    assert options.precision == wanted.config["train"]["precision"]


def test_scored_are_the_rows_that_the_model_was_trained_on_before_any_repair(wanted):
    of = {defence: given(wanted.detect_flags(job(attack="targeted", defence=defence, seed="10"))).get("kept")
          for defence in CHANGES["defences"]}  # fmt: skip
    assert of["clip"] is None
    assert of["cleaned"] == ["results/x/filters/targeted/cleaned/seed10/kept.csv"]
    assert of["oracle"] == ["results/x/filters/targeted/oracle/seed10/kept.csv"]


def test_what_filters_kept_is_gathered_with_the_truth(wanted):
    kept = {path for path in wanted.filtered if path.endswith("kept.csv")}
    assert len(kept) == 2 * 4  # attacks, and defences with a filter
    assert {path for path in wanted.filtered if path not in kept} == {
        f"results/x/attacks/{attack}/seed10/truth.csv" for attack in ("clean", "targeted")
    }
    places = {"detection": "detection", "filters": "filters", "truth": "attacks"}
    assert given(wanted.gather_flags()) == {name: [f"results/x/{place}"] for name, place in places.items()}


NO_MODEL = "is a filter that needs no model, so no detector; there are cosine, gmm"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("detectors", ["oracle"], f"detectors: 'oracle' {NO_MODEL}"),
        ("detectors", ["slof", "random"], f"detectors: 'random' {NO_MODEL}"),
        ("detectors", ["sloth"], "detectors: 'sloth' is neither defined under 'detector' nor a kind; there are cosine, gmm"),
        ("detectors", "slof", "detectors: 'slof' is not of type 'array'"),
        ("detectors", ["slof", "slof"], "detectors: .* non-unique"),
        ("detector", {"near": {"kind": "oracle"}}, "detector.near.kind: kind 'oracle' is a filter, not a detector; kinds here"),
        ("detector", {"near": {"kind": "sloth"}}, "detector.near.kind: 'sloth' is not one of"),
        ("detector", {"near": {}}, "detector.near: 'kind' is a required property; kinds are cosine, gmm"),
        ("detector", {"near": {"kind": "slof", "keep": 0.9}}, "detector.near.keep: unknown key; legal here: neighbours"),
        ("detector", {"near": {"kind": "slof", "trees": 9}}, "detector.near.trees: an option of kind isolation_forest, not"),
        ("detector", {"near": {"kind": "slof", "neighbours": 1}}, "detector.near.neighbours: 1 is less than the minimum of 2"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(key, value, message):
    with pytest.raises(UserError, match=f"^{message}") as caught:
        check(changed(key, value), ATTACKS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"neighbours": 4095},
            "detector.near.neighbours: 4095 is more than the 4094 images and captions of 2047 other pairs",
        ),
        ({"neighbours": 32, "references": 20}, "detector.near.references: 20 are fewer than the 32 neighbours that are sought"),
    ],
)
def test_more_neighbours_than_there_are_is_one_line_before_any_job(settings, message):
    config = changed("detectors", ["near"], changed("detector", {"near": {"kind": "slof", **settings}}))
    with pytest.raises(UserError, match=f"^{message}"):
        check(config, ATTACKS)
    assert check(config | {"attacks": ["clean"]}, ATTACKS)[1].detected() == []  # nothing is scored


def test_the_pairs_are_those_that_the_filter_and_the_attack_leave():
    few = {"kind": "targeted", "clean_pairs": 2000, "captions_per_target": 5}
    config = changed("attack.targeted", few, changed("detectors", ["near"]))
    config["detector"] = {"near": {"kind": "slof", "neighbours": 201, "references": 1000}}
    config |= {"attacks": ["targeted"], "defences": ["clip", "cleaned"]}
    config["defence"] = {
        **CONFIG["defence"],
        "cleaned": {"filter": {"kind": "random", "keep": 0.1}, "train": {"kind": "clip", "epochs": 40}},
    }
    check(config | {"defences": ["clip"]}, ATTACKS)
    config["detector"]["near"]["neighbours"] = 399
    with pytest.raises(UserError, match=r"^detector\.near\.neighbours: 399 is more than the 398 .* of 199 other pairs"):
        check(config, ATTACKS)
