"""Tables of detectors and filters: means over trainings, counts with the truth, and what is said of them."""

from math import nan

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from roclip.core.columns import DETECTED, DETECTION, FILTERED, KEPT, TRUTH
from roclip.core.errors import UserError
from roclip.core.files import read_table, write_table
from roclip.evaluation.detection import MEASURES
from roclip.experiment.steps import Step
from roclip.reporting.detection import cautions, detections, filter_glance, filtered, glance, over_seeds, read_detections
from roclip.reporting.figures.detection import detection
from roclip.reporting.gather import GatherOptions, of_pairs, with_six_digits
from tests.fixtures.artists import legend, lines, shown
from tests.fixtures.pages import written as report
from tests.fixtures.plans import planned

SLOF = {"kind": "slof", "neighbours": 16, "references": 2048}
PLAN = planned([("patch", "clip", seed) for seed in (0, 1, 2)] + [("clean", "clip", 0)], detectors={"slof": SLOF})


def found(auroc=0.9, checkpoint="last_clip", epoch=2, detector="slof", n_poisoned=8, n=1000, **cells):
    """A row of detection.csv of a model."""
    shares = {f"{name}{end}": 0.5 for name in MEASURES for end in ("", "_low", "_high")}
    row = {"checkpoint": checkpoint, "epoch": epoch, "detector": detector, "n_poisoned": n_poisoned, "n": n}
    return {**row, **shares, "auroc": auroc} | cells


def written(folder, aurocs):
    for seed, auroc in enumerate(aurocs):
        write_table(folder / f"patch/clip/seed{seed}/detection.csv", tuple(DETECTION), [found(auroc)])
    return folder


def test_over_trainings_it_is_the_mean_with_students_interval(tmp_path):
    aurocs = [0.7, 0.75, 0.9]
    rows = detections(written(tmp_path, aurocs), PLAN)
    assert [row["seed"] for row in rows] == ["0", "1", "2", "all"]
    low, high = stats.t.interval(0.95, 2, np.mean(aurocs), stats.sem(aurocs))
    every = rows[-1]
    assert [every[f"auroc{end}"] for end in ("", "_low", "_high")] == pytest.approx([np.mean(aurocs), low, min(1, high)])
    assert (every["seeds"], every["n_poisoned"], every["n"]) == (3, 24, 3000)
    assert rows[0]["auroc_low"] == 0.5  # of one training that of its pairs


def test_one_training_has_no_interval_and_trainings_without_poisons_do_not_count():
    model = {"attack": "patch", "defence": "clip", "seeds": 1}
    (one,) = over_seeds([model | found(0.7) | {"seed": "0"}])
    assert (one["auroc"], str(one["auroc_low"])) == (0.7, "nan")
    apart = [model | found(0.7, checkpoint=f"epoch_{epoch}", epoch=epoch) | {"seed": "0"} for epoch in (1, 2)]
    assert [row["epoch"] for row in over_seeds(apart)] == [1, 2]
    two = [model | found(0.7) | {"seed": "0"}, model | found(nan) | {"seed": "1"}]
    (every,) = over_seeds(two)
    assert (every["auroc"], every["seeds"]) == (0.7, 1)


def test_files_that_are_missing_or_broken_are_named(tmp_path):
    with pytest.raises(UserError, match=r"patch/clip/seed2/detection\.csv: no such file"):
        detections(written(tmp_path, [0.5, 0.5]), PLAN)
    written(tmp_path, [0.5, 0.5, "half"])
    with pytest.raises(UserError, match=r"patch/clip/seed2/detection\.csv, row .*'half' and no number; remove the file"):
        detections(tmp_path, PLAN)


def filtered_plan(family="patch"):
    chosen = Step("slof90", "filter", {"kind": "slof"})
    models = {
        "slof90": Step("slof90", "repair", {"kind": "finetune"}, None, "slof90.train"),
        "slof90.train": Step("slof90.train", "train", {"kind": "clip"}, "slof90"),
        "clip": Step("clip", "train", {"kind": "clip"}),
    }
    return planned([(family, "slof90", 0), (family, "clip", 0)], filters={"slof90": chosen}, models=models)


def write_filter(folder, poisoned, kept, attack="patch"):
    truth = [dict.fromkeys(TRUTH, "") | {"is_poison": int(row in poisoned)} for row in range(10)]
    write_table(folder / f"attacks/{attack}/seed0/truth.csv", tuple(TRUTH), truth)
    write_table(folder / f"filters/{attack}/slof90/seed0/kept.csv", tuple(KEPT), [{"row": row} for row in kept])
    return folder / "filters", folder / "attacks"


def test_what_a_filter_left_and_removed_is_counted_with_the_truth(tmp_path):
    """Of 4 poisoned pairs one is left, and of 6 clean ones two are removed; the model is repaired afterwards."""
    (row,) = filtered(*write_filter(tmp_path, {6, 7, 8, 9}, [0, 1, 2, 3, 9]), filtered_plan())
    assert list(row) == list(FILTERED)
    assert [row[name] for name in ("pairs", "poisoned", "kept", "kept_poisoned")] == [10, 4, 5, 1]
    assert (row["poisons_left"], row["clean_removed"]) == pytest.approx((1 / 4, 2 / 6))
    write_table(tmp_path / "filters.csv", tuple(FILTERED), with_six_digits([row]))
    shown = filter_glance(read_table(tmp_path / "filters.csv", tuple(FILTERED)))
    assert shown == [["patch", "slof90", "0", "10", "4", "5", "25.0", "33.3"]]


def test_without_poisons_nothing_is_left_of_them(tmp_path):
    (row,) = with_six_digits(filtered(*write_filter(tmp_path, set(), [0, 1], "clean"), filtered_plan("clean")))
    assert (row["poisons_left"], row["clean_removed"]) == ("", "0.800000")


@pytest.mark.parametrize("wrong", [[10], ["x"], ["-1"], [3, 3], ["1_0"], ["3.0"], []])
def test_rows_that_are_not_there_or_there_twice_are_one_line(tmp_path, wrong):
    with pytest.raises(UserError, match=r"kept\.csv: must name rows of .*train\.csv, 0 to 9, each once; run the filter again"):
        list(filtered(*write_filter(tmp_path, {9}, wrong), filtered_plan()))


def gather_options(folder, **named):
    places = dict.fromkeys(("plan", "measures", "models", "attacks", "classes", "validation", "out"), folder)
    return GatherOptions(**places, validation_images=1, **named)


def test_the_tables_ask_for_their_folders_and_are_not_there_without_need(tmp_path):
    assert of_pairs(gather_options(tmp_path), planned([("patch", "clip", 0)])) == {}
    with pytest.raises(UserError, match=r"^--detection: must be given, for the plan has detectors$"):
        of_pairs(gather_options(tmp_path), PLAN)
    with pytest.raises(UserError, match=r"^--filters: must be given, for the plan has filters$"):
        of_pairs(gather_options(tmp_path), filtered_plan())
    clean = planned([("clean", "clip", 0)], detectors={"slof": SLOF})
    assert of_pairs(gather_options(tmp_path), clean)["detection"][1] == []
    (table,) = of_pairs(gather_options(tmp_path, detection=written(tmp_path, [0.5, 0.6, nan])), PLAN).items()
    columns, rows = table[1]
    write_table(tmp_path / "detection.csv", tuple(columns), rows)
    again = read_detections(tmp_path / "detection.csv", PLAN)
    assert (again[-1]["auroc"], again[-1]["seeds"], again[-1]["epoch"]) == (0.55, 2, 2)
    assert tuple(columns) == tuple(DETECTED)


def test_at_a_glance_are_the_judged_weights_over_trainings(tmp_path):
    model = {"attack": "patch", "defence": "clip", "seeds": "3"}
    rows = [
        model | found(0.7) | {"seed": "0"},
        model | found(0.6, checkpoint="epoch_1") | {"seed": "all"},
        model | found(0.7512, auroc_low=0.7, auroc_high=0.8, fpr_at_95_tpr=nan, average_precision_low=nan) | {"seed": "all"},
    ]
    assert glance(rows) == [
        ["patch", "clip", "last CLIP epoch", "slof", "3", "0.751 [0.700, 0.800]", "50.0", "–"],
    ]


@pytest.mark.parametrize(("n_poisoned", "warned"), [(400, True), (100, False)])
def test_more_poisons_among_the_references_than_neighbours_are_warned_of(n_poisoned, warned):
    """Of 20,000 pairs 2,048 are references: with 400 poisoned ones about 41 of them, with 100 about 10."""
    plan = planned([("patch", "clip", 0)], detectors={"slof": SLOF, "cosine": {"kind": "cosine"}})
    rows = [{"attack": "patch", "seed": "0"} | found(n_poisoned=n_poisoned, n=20000, detector=d) for d in ("slof", "cosine")]
    said = cautions(rows * 2, plan)
    drawn = np.random.default_rng(0).hypergeometric(n_poisoned, 20000 - n_poisoned, 2048, 1000)
    assert ((drawn > 16).mean() > 0.5) == warned
    assert said == (
        [
            "Of slof on patch, about 41 of its 2048 references are poisoned, and it looks at 16 neighbours: where poisoned "
            "pairs look alike they are each other's neighbours, and seem ordinary."
        ]
        if warned
        else []
    )


def table(*rows):
    return pd.DataFrame([{"attack": "patch", "defence": "clip", "seed": "all", "seeds": 2} | row for row in rows])


def test_the_figure_has_a_point_a_detector_and_model_with_its_interval_and_says_what_chance_is():
    rows = table(
        found(0.9, auroc_low=0.8, auroc_high=0.95),
        found(0.3, detector="cosine", auroc_low=0.2, auroc_high=0.4),
        {**found(0.7), "defence": "roclip", "seeds": 1},
        {**found(0.1), "seed": "0"},
        {**found(nan), "attack": "none"},
    )
    figure = detection(rows, ["slof", "cosine"])
    (axis,) = shown(figure)
    points = {c.get_label(): c[0].get_xdata()[0] for c in axis.containers}
    assert points == {"slof clip last_clip": 0.9, "cosine clip last_clip": 0.3, "slof roclip last_clip": 0.7}
    ends = [tuple(part.get_segments()[0][:, 0]) for c in axis.containers for part in c[2]]
    assert ends == [pytest.approx((0.8, 0.95)), pytest.approx((0.2, 0.4))]  # one training has none
    assert lines(axis)["chance"][0] == [0.5, 0.5]
    assert legend(figure)[-1] == "chance: the scores say nothing"
    assert axis.get_xlim()[0] < 0.2  # below the interval
    assert [label.get_text() for label in axis.get_yticklabels()] == ["slof", "cosine"]


def test_where_epochs_are_kept_lines_lead_along_them():
    moments = [("epoch_1", 1), ("last_matching", 2), ("last_clip", 3)]
    rows = table(
        *({**found(0.5 + epoch / 10, name, epoch), "defence": d} for name, epoch in moments[::-1] for d in ("clip", "roclip"))
    )
    figure = detection(rows, ["slof"])
    assert [axis.get_title() for axis in shown(figure)] == ["clip, trained on patch", "roclip, trained on patch"]
    for axis in shown(figure):
        drawn = lines(axis)
        assert drawn["slof"] == ([1, 2, 3], pytest.approx([0.6, 0.7, 0.8]))
        assert drawn["chance"][1] == [0.5, 0.5]


def test_without_a_poisoned_pair_the_figure_says_so():
    for rows in (pd.DataFrame([]), table(found(nan))):
        assert "No model was trained on a poisoned pair" in detection(rows, ["slof"]).texts[0].get_text()


def test_detectors_and_filters_have_a_section_only_where_there_are_some(tmp_path):
    heading = "Poisoned pairs told from clean ones"
    (tmp_path / "without").mkdir()
    assert heading not in report(tmp_path / "without").texts["h2"]
    with_filter = {"filter": {"kind": "random", "keep": 0.9}, "train": {"kind": "clip"}}
    changes = {"attacks": ["clean", "targeted"], "defences": ["clip", "removed"], "defence": {"removed": with_filter}}
    (tmp_path / "with").mkdir()
    page = report(tmp_path / "with", detectors=["slof"], **changes)
    assert heading in page.texts["h2"]
    assert "detection" in {a["id"] for a in page.all("figure")}
    assert page.texts["td"].count("0.750 [0.750, 0.750]") == 2
    assert page.texts["td"].count("25.0") == page.texts["td"].count("12.5") == 2
    said = [text for text in page.texts["li"] if "slof on targeted" in text or "nothing to detect" in text]
    assert [text[:40] for text in said] == [
        "Of slof on targeted, about 1024 of its 2",
        "No detector is run on models that were t",
    ]
