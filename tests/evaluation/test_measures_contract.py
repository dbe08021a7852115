"""What every registered measure must do, so that a new one is tested by being registered."""

import dataclasses
import inspect
import json
import subprocess
import sys

import numpy as np
import pytest

from roclip.core.errors import UserError
from roclip.core.files import read_json
from roclip.evaluation import MEASURES, PAIRS, attack_set, measures_of
from roclip.evaluation.base import Measure
from roclip.evaluation.export import METRICS
from roclip.evaluation.features import Features
from roclip.evaluation.measure import STAGE
from tests.fixtures.features import LABELS, fitting, write_features

SHIFTS = {"last_clip": 0, "last_matching": 1}
each_measure = pytest.mark.parametrize("kind", MEASURES)


def rows_of(kind: str, features: Features, checkpoint: str) -> list[dict]:
    return MEASURES[kind](MEASURES[kind].Settings()).rows(features, checkpoint)


@each_measure
def test_it_says_what_it_is_and_what_it_is_for(kind):
    measure = MEASURES[kind]
    assert inspect.getdoc(measure).endswith(".")
    assert "\n" not in inspect.getdoc(measure)
    assert measure.__doc__ != measure.__base__.__doc__
    assert measure.of in ("labelled", "attack", "pairs", "captions")
    assert not (measure.is_optional and measure.is_success)
    assert not (measure.of == "attack" and measure.needs_probe)  # an attack's evaluation set has no probe images
    assert all("help" in field.metadata for field in dataclasses.fields(measure.Settings))


def test_an_evaluation_set_has_the_measures_that_are_for_it():
    assert {MEASURES[name].of for name in measures_of("own") + measures_of("cifar10")} == {"labelled"}
    assert {MEASURES[name].of for name in measures_of(attack_set("own"))} == {"attack"}
    assert {MEASURES[name].of for name in measures_of(attack_set("own"), ["own"])} == {"captions"}
    assert {MEASURES[name].of for name in measures_of(PAIRS, [PAIRS])} == {"pairs"}
    sets = measures_of("own"), measures_of(attack_set("a")), measures_of(attack_set("a"), ["a"]), measures_of(PAIRS)
    assert {name for names in sets for name in names} == set(MEASURES)


def test_every_set_of_an_attack_has_one_measure_of_its_success():
    for names in (measures_of(attack_set("a")), measures_of(attack_set("a"), ["a"])):
        assert len([name for name in names if MEASURES[name].is_success]) == 1


@each_measure
def test_rows_count_hits_among_test_images(kind, tmp_path):
    features = Features(write_features(tmp_path / "features.npz", fitting(MEASURES[kind].of, SHIFTS)))
    for checkpoint in SHIFTS:
        rows = rows_of(kind, features, checkpoint)
        assert len({row["measure"] for row in rows}) == len(rows) > 0
        for row in rows:
            needed = {"checkpoint", "measure", "hits", "n"}
            assert needed <= set(row) <= needed | {"outcomes", "median_rank"}
            assert row["checkpoint"] == checkpoint
            assert 0 < row["n"] <= len(LABELS["test"])  # a measure may be of some of the images
            assert row["measure"] == kind or row["measure"].startswith(f"{kind}_")
            assert 0 <= row["hits"] <= row["n"]
            if "outcomes" in row:
                assert (len(row["outcomes"]), row["outcomes"].count("1")) == (row["n"], row["hits"])
        assert json.loads(json.dumps(rows)) == rows


@each_measure
def test_a_model_that_is_always_right_hits_always_and_a_guess_does_not(kind, tmp_path):
    arrays = fitting(MEASURES[kind].of)
    features = Features(write_features(tmp_path / "features.npz", arrays))
    assert all(row["hits"] == row["n"] for row in rows_of(kind, features, "last_clip"))
    rng = np.random.default_rng(1)
    for key in (key for key in arrays if key.startswith("last_clip/") and not key.endswith("class_features")):
        arrays[key] = rng.normal(size=arrays[key].shape)
    guesses = rows_of(kind, Features(write_features(tmp_path / "features.npz", arrays)), "last_clip")
    assert 0 < guesses[0]["hits"] < guesses[0]["n"]


@each_measure
def test_the_order_of_images_does_not_matter(kind, tmp_path):
    arrays = fitting(MEASURES[kind].of)
    arrays["last_clip/test"] = np.random.default_rng(2).normal(size=arrays["last_clip/test"].shape)
    backwards = arrays | {key: arrays[key][::-1] for key in ("test/labels", "last_clip/test")}
    one, other = (
        rows_of(kind, Features(write_features(tmp_path / "features.npz", a)), "last_clip") for a in (arrays, backwards)
    )
    assert [row["hits"] for row in one] == [row["hits"] for row in other]
    turned = 1 if MEASURES[kind].of == "captions" else -1  # outcomes are of captions, or of images
    assert [row.get("outcomes", "") for row in one] == [row.get("outcomes", "")[::turned] for row in other]


@each_measure
def test_clip_benchmarks_metrics_are_columns_of_the_export(kind, tmp_path):
    if not MEASURES[kind].task:
        pytest.skip("CLIP_benchmark has nothing of the kind")
    features = Features(write_features(tmp_path / "features.npz", fitting(MEASURES[kind].of)))
    metrics = MEASURES[kind].metrics(features, "last_clip", rows_of(kind, features, "last_clip"))
    assert set(metrics) <= set(METRICS)
    assert set(metrics.values()) == {1.0}


@each_measure
def test_the_stage_measures_every_checkpoint(kind, tmp_path):
    features = write_features(tmp_path / "features.npz", fitting(MEASURES[kind].of, SHIFTS))
    command = [sys.executable, "-m", "roclip_command", "measure", "--kind", kind, "--features", str(features)]
    done = subprocess.run([*command, "--evaluation_set", "some", "--out", str(tmp_path / "out.json")], capture_output=True)
    assert done.returncode == 0, done.stderr
    rows = read_json(tmp_path / "out.json")
    expected = [row for checkpoint in sorted(SHIFTS) for row in rows_of(kind, Features(features), checkpoint)]
    assert rows == [{**row, "evaluation_set": "some"} for row in expected]
    assert read_json(tmp_path / "out.record.json")["stage"] == "measure"


@each_measure
def test_a_set_without_probe_images_will_do_or_is_named(kind, tmp_path):
    arrays = {key: array for key, array in fitting(MEASURES[kind].of).items() if "probe" not in key}
    features = write_features(tmp_path / "features.npz", arrays)
    options = STAGE.options_of(kind)(features=features, evaluation_set="own", out=tmp_path / "out.json")
    if MEASURES[kind].needs_probe:
        with pytest.raises(UserError, match=f"features.npz: no probe images, which {kind} needs; .* with --probe"):
            STAGE.run(options)
    else:
        STAGE.run(options)
        assert read_json(tmp_path / "out.json")


@each_measure
def test_a_set_without_captions_will_do_or_is_named(kind, tmp_path):
    features = write_features(tmp_path / "features.npz")
    options = STAGE.options_of(kind)(features=features, evaluation_set="own", out=tmp_path / "out.json")
    if MEASURES[kind].of in ("pairs", "captions"):
        with pytest.raises(UserError, match=f"features.npz: no captions, which {kind} needs; .* with --captions"):
            STAGE.run(options)
    else:
        STAGE.run(options)


@each_measure
def test_a_set_of_captions_is_for_measures_that_look_them_up(kind, tmp_path):
    arrays = fitting("captions") | {"test/labels": np.arange(30) + 10_000}  # of pairs, as the stage encode numbers images
    options = STAGE.options_of(kind)(
        features=write_features(tmp_path / "features.npz", arrays), evaluation_set="pairs", out=tmp_path / "out.json"
    )
    if MEASURES[kind].of in ("pairs", "captions"):
        STAGE.run(options)
    elif not MEASURES[kind].needs_probe:
        with pytest.raises(UserError, match=f"features.npz: a set of captions, which {kind} is not for"):
            STAGE.run(options)


ROW = {"checkpoint": "last_clip", "measure": "own_top1", "hits": 2, "n": 3}
AS_ROW = "the measure 'own' gave the row .*; each must be a dict of checkpoint"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (None, "the measure 'own' gave None for last_clip; it must give a list of one row or more"),
        ([], "the measure 'own' gave .* for last_clip; it must give a list of one row or more"),
        (["own_top1"], AS_ROW),
        ([ROW | {"hits": 0.5}], AS_ROW),
        ([ROW | {"hits": np.int64(2)}], AS_ROW),
        ([ROW | {"hits": 4}], AS_ROW),
        ([ROW | {"hits": 0, "n": 0}], AS_ROW),
        ([ROW | {"measure": 1}], AS_ROW),
        ([ROW | {"checkpoint": "last_matching"}], AS_ROW),
        ([ROW | {"measure": "zero_shot_top1"}], "the measure 'own' gave a row 'zero_shot_top1'; its rows must be called"),
        ([ROW | {"measure": "own_more"}], "the measure 'own' gave a row 'own_more'; its rows must be called own, or own_ and"),
        ([ROW, ROW], "the measure 'own' gave two rows 'own_top1' for last_clip; call one otherwise"),
    ],
)
def test_rows_that_cannot_be_counted_are_one_line_and_no_file(tmp_path, monkeypatch, rows, message):
    """Rows of one name are added up, whichever measure they are of."""

    class Own(Measure):
        """Gives what it was made with."""

        of = "labelled"

        def rows(self, features, checkpoint):
            return rows

    monkeypatch.setitem(MEASURES, "own", Own)
    monkeypatch.setitem(MEASURES, "own_more", Own)
    features = write_features(tmp_path / "features.npz", fitting("labelled"))
    with pytest.raises(UserError, match=message):
        STAGE.run(STAGE.options_of("own")(features=features, evaluation_set="own", out=tmp_path / "out.json"))
    assert not (tmp_path / "out.json").exists()


def test_the_registry_is_light():
    code = "import sys, roclip.evaluation; print({'torch', 'scipy', 'sklearn', 'numpy', 'pandas'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).stdout == b"set()\n"
