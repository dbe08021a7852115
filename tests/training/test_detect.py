"""Detectors: they score what a filter would, see nothing of the truth, and are compared with it."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from roclip.core.columns import DETECTION, KEPT, PAIRS, QUARANTINE, SCORES, TRUTH
from roclip.core.errors import UserError
from roclip.core.files import read_columns, read_table, write_table
from roclip.core.options import flags
from roclip.defences.detectors import DETECTORS, detector
from roclip.defences.filters import FILTERS
from roclip.defences.filters.base import Filter, scored_by
from roclip.training import detect
from roclip.training import filter as filtering
from tests.fixtures.trainings import filter_options
from tests.fixtures.weights import write_small

POISONED = np.arange(136) >= 128


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder of weights, of epoch 1 and of the last epochs of two kinds."""
    folder = tmp_path_factory.mktemp("model")
    for seed, (name, epoch) in enumerate((("last_clip", 3), ("epoch_1", 1), ("last_matching", 2))):
        torch.manual_seed(seed)
        write_small(folder / f"{name}.safetensors", {"epoch": epoch})
    return folder


def detect_options(few, scenes, out, model, *detectors, **changes):
    values = {
        "pairs": few / "train.csv", "truth": few / "truth.csv", "weights": model, "out": out, "detectors": detectors, "seed": 3,
        "precision": "float32", "device": "cpu", "roots": (str(scenes), str(scenes.parent), str(out)),
    }  # fmt: skip
    return detect.DetectOptions(**values | changes)


def detected(few, scenes, out, model, *detectors, **changes):
    """The rows of detection.csv."""
    detect.run(detect_options(few, scenes, out, model, *detectors, **changes))
    return read_table(out / "detection.csv", tuple(DETECTION))


@pytest.mark.parametrize(("kind", "settings"), [("slof", {"neighbours": 5, "references": 50}), ("gmm", {}), ("cosine", {})])
def test_a_detector_scores_as_the_filter_of_its_kind(few, scenes, tmp_path, model, kind, settings):
    """Compared by what scikit-learn says of the filter's scores, which has the latest weights; in scores.csv are six digits."""
    filtering.run(filter_options(few, scenes, tmp_path / "filter", kind, weights=model, **settings))
    scores = np.array(read_columns(tmp_path / "filter/scores.csv", tuple(SCORES))["score"], float)
    rows = detected(few, scenes, tmp_path / "out", model, "cosine", f"near --kind {kind} {flags(settings)}")
    own = next(row for row in rows if (row["checkpoint"], row["detector"]) == ("last_clip", "near"))
    assert float(own["auroc"]) == pytest.approx(roc_auc_score(POISONED, scores), abs=1e-4)
    assert float(own["average_precision"]) == pytest.approx(average_precision_score(POISONED, scores), abs=1e-3)


def test_every_filter_that_needs_a_model_is_a_detector_of_all_checkpoints(few, scenes, tmp_path, model):
    assert [*DETECTORS] == [name for name, kind in FILTERS.items() if kind.needs_model]
    rows = detected(few, scenes, tmp_path, model, *DETECTORS)
    moments = [("epoch_1", "1"), ("last_matching", "2"), ("last_clip", "3")]
    assert [(row["checkpoint"], row["epoch"], row["detector"]) for row in rows] == [(*m, d) for m in moments for d in DETECTORS]
    for row in rows:
        assert (row["n_poisoned"], row["n"]) == ("8", "136")
        for name in ("auroc", "average_precision", "fpr_at_95_tpr"):
            value, low, high = (float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
            assert 0 <= low <= high <= 1
            assert 0 <= value <= 1
    assert len({row["auroc"] for row in rows}) > len(moments)
    assert (tmp_path / "quarantine.csv").read_text() == ",".join(QUARANTINE) + "\n"
    again = detected(few, scenes, tmp_path / "again", model, *reversed(DETECTORS))  # the draws are each one's own
    assert sorted(map(str, again)) == sorted(map(str, rows))


@pytest.mark.parametrize("kind", DETECTORS)
def test_a_detector_has_the_options_that_its_scores_depend_on_and_no_others(kind):
    own = {field.name: field for field in dataclasses.fields(DETECTORS[kind].Settings)}
    of_filter = {field.name: field for field in dataclasses.fields(FILTERS[kind].Settings)}
    assert of_filter.keys() - own.keys() <= {"keep", "threshold", "scored_by"}
    assert not own.keys() & {"keep", "threshold", "scored_by"}
    assert all(field.default == of_filter[name].default for name, field in own.items())
    assert DETECTORS[kind].__doc__ == FILTERS[kind].__doc__


class Watching(Filter):
    """Notes what it is shown, and scores by place."""

    needs_model = True
    shown = None

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Settings(Filter.Settings):
        scored_by: dict = scored_by()

    def scores(self, pairs):
        Watching.shown = pairs
        return np.arange(len(pairs.captions))


@pytest.mark.parametrize("features", ["image_features", "caption_features"])
def test_a_detector_that_changes_what_the_next_one_sees_is_one_line(few, scenes, tmp_path, model, monkeypatch, features):
    class Centring(Watching):
        """Moves features to their mean."""

        def scores(self, pairs):
            array = getattr(pairs, features)
            array -= array.mean(axis=0)
            return array.sum(axis=1)

    monkeypatch.setitem(DETECTORS, "centring", detector(Centring))
    with pytest.raises(UserError, match=r"^the detector 'centring' changes features that others see too: .* a copy$"):
        detected(few, scenes, tmp_path, model, "centring", "cosine")


def test_a_detector_sees_what_a_filter_sees_in_its_order_and_nothing_of_the_truth(few, scenes, tmp_path, model, monkeypatch):
    monkeypatch.setitem(FILTERS, "watching", Watching)
    monkeypatch.setitem(DETECTORS, "watching", detector(Watching))
    filtering.run(filter_options(few, scenes, tmp_path / "filter", "watching", weights=model))
    by_filter = Watching.shown
    aurocs = []
    write_small(tmp_path / "one/last_clip.safetensors")
    for seed in range(8):
        (*_, last) = detected(
            few, scenes, tmp_path / str(seed), model if seed == 3 else tmp_path / "one", "watching", seed=seed
        )
        aurocs.append(float(last["auroc"]))
        if seed == 3:
            assert Watching.shown.captions == by_filter.captions
            assert (Watching.shown.image_features == by_filter.image_features).all()
    assert Watching.shown.is_poison is None
    assert not [field.name for field in dataclasses.fields(Watching.shown) if field.name in ("rows", "paths")]
    assert abs(np.mean(aurocs) - 0.5) < 0.18  # by table it would be 1


def test_only_the_rows_that_a_filter_kept_are_scored(few, scenes, tmp_path, model):
    kept = [*range(0, 128, 2), 129, 133]
    write_table(tmp_path / "kept.csv", tuple(KEPT), [{"row": row} for row in kept])
    rows = detected(few, scenes, tmp_path, model, "cosine", kept=tmp_path / "kept.csv")
    assert {(row["n_poisoned"], row["n"]) for row in rows} == {("2", "66")}
    everything = detected(few, scenes, tmp_path / "all", model, "cosine")
    assert {row["auroc"] for row in rows} != {row["auroc"] for row in everything}
    write_table(tmp_path / "kept.csv", tuple(KEPT), [{"row": 136}])
    with pytest.raises(
        UserError, match=r"kept\.csv: must name rows of .*train\.csv, 0 to 135, each once; run the filter again"
    ):
        detected(few, scenes, tmp_path, model, "cosine", kept=tmp_path / "kept.csv")


def test_without_a_poisoned_pair_there_is_nothing_to_detect(few, scenes, tmp_path, model, caplog):
    write_table(tmp_path / "truth.csv", tuple(TRUTH), [dict.fromkeys(TRUTH, "") | {"is_poison": "0"}] * 136)
    assert detected(few, scenes, tmp_path / "out", model, "slof", truth=tmp_path / "truth.csv") == []
    assert "train.csv: none of its 136 pairs is poisoned; there is nothing to detect" in caplog.text


def test_images_that_cannot_be_read_are_named_once_and_not_scored(few, scenes, tmp_path, model):
    rows = read_table(few / "train.csv", tuple(PAIRS))
    rows[3]["path"] = rows[130]["path"] = "gone.png"
    write_table(tmp_path / "pairs.csv", tuple(PAIRS), rows)
    found = detected(few, scenes, tmp_path / "out", model, "cosine", pairs=tmp_path / "pairs.csv", max_bad_fraction=0.1)
    assert {(row["n_poisoned"], row["n"]) for row in found} == {("7", "134")}
    assert sorted(row["number"] for row in read_table(tmp_path / "out/quarantine.csv", tuple(QUARANTINE))) == ["131", "4"]


@pytest.mark.parametrize("word", ["oracle", "random", "mystery", "near --kind oracle", "near --kind"])
def test_what_is_no_detector_is_one_line(few, scenes, tmp_path, model, word):
    kind = "near" if word.endswith("--kind") else word.split()[-1]
    with pytest.raises(UserError, match=f"^--detectors: '{kind}' is no detector; there are cosine, gmm, k_distance, "):
        detected(few, scenes, tmp_path, model, word)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("slof --keep 0.5", "--keep"),
        ("slof --neighbours 1", "argument --neighbours: 1 must be at least 2"),
        ("lid --trees 5", "--trees"),
    ],
)
def test_a_wrong_flag_of_a_detector_is_named(few, scenes, tmp_path, model, word, said, capsys):
    with pytest.raises(SystemExit):
        detected(few, scenes, tmp_path, model, word)
    assert said in capsys.readouterr().err


def test_a_folder_without_weights_is_one_line(few, scenes, tmp_path):
    with pytest.raises(UserError, match=r"no checkpoints \(\*\.safetensors\) in it; train the model first"):
        detected(few, scenes, tmp_path, tmp_path, "cosine")


def test_scores_that_cannot_be_compared_are_one_line(few, scenes, tmp_path, model, monkeypatch):
    monkeypatch.setattr(DETECTORS["cosine"], "scores", lambda self, pairs: np.full(len(pairs.captions), np.nan))
    with pytest.raises(UserError, match=r"^the detector 'cosine': 136 of 136 scores are NaN or infinite$"):
        detected(few, scenes, tmp_path, model, "cosine")
