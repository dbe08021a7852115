"""Filters: what they remove, in rows of the table, though they see the pairs in a random order."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from roclip.core.columns import KEPT, PAIRS, QUARANTINE, SCORES, TRUTH
from roclip.core.errors import UserError
from roclip.core.files import read_columns, read_table, write_table
from roclip.data.images import Intake
from roclip.defences.filters import FILTERS
from roclip.defences.filters.base import Filter
from roclip.model import towers
from roclip.model.pixels import normalise, to_pixels
from roclip.training import filter as filtering
from roclip.training import seen
from tests.fixtures.trainings import filter_options
from tests.fixtures.weights import write_small

POISONS = range(128, 136)  # the last rows


class ByPlace(Filter):
    """Takes those that come last for suspicious, as poisoned pairs do in their table."""

    def scores(self, pairs):
        return np.arange(len(pairs.captions))


class ByLength(Filter):
    """Scores a pair by its caption alone, so that a score can be told from its caption."""

    def scores(self, pairs):
        return np.array([len(caption) for caption in pairs.captions])


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for defence in (ByPlace, ByLength):
        monkeypatch.setitem(FILTERS, defence.__name__.lower(), defence)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder of weights of two epochs; the later one scores."""
    folder = tmp_path_factory.mktemp("model")
    for name, epoch in (("last_clip", 2), ("last_matching", 1)):
        write_small(folder / f"{name}.safetensors", {"epoch": epoch})
    return folder


def filtered(few, scenes, out, kind, **changes):
    """Its rows that are kept, and its scores by row."""
    filtering.run(filter_options(few, scenes, out, kind, **changes))
    scores = read_columns(out / "scores.csv", tuple(SCORES))
    rows = [int(row) for row in scores["row"]]
    assert rows == sorted(set(rows))
    kept = [int(row) for row in read_columns(out / "kept.csv", tuple(KEPT))["row"]]
    assert kept == sorted(set(kept))
    return kept, dict(zip(rows, map(float, scores["score"]), strict=True))


def test_random_removal_keeps_its_share_by_seed(few, scenes, tmp_path):
    (first, _), (again, _), (other, _) = (
        filtered(few, scenes, tmp_path / name, "random", keep=0.9, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert len(first) == len(other) == round(0.9 * 136)
    assert first == again
    assert first != other


def test_random_removal_finds_poisons_by_chance_alone(few, scenes, tmp_path):
    left = [
        row
        for seed in range(40)
        for row in filtered(few, scenes, tmp_path / str(seed), "random", keep=0.5, seed=seed)[0]
        if row in POISONS
    ]
    assert len(left) == pytest.approx(40 * 8 / 2, abs=4 * (40 * 8 / 4) ** 0.5)


def test_what_is_scored_by_place_does_not_find_the_poisons(few, scenes, tmp_path):
    found = 0
    for seed in range(20):
        kept, scores = filtered(few, scenes, tmp_path / str(seed), "byplace", keep=128 / 136, seed=seed)
        found += len({*POISONS} - {*kept})
        assert sorted(scores.values()) == list(range(136))
        assert abs(np.corrcoef(list(scores.values()), list(scores))[0, 1]) < 0.35
    assert found < 25  # of 160; by chance 9


def test_scores_and_kept_rows_are_of_the_table(few, scenes, tmp_path):
    captions = read_columns(few / "train.csv", tuple(PAIRS))["caption"]
    kept, scores = filtered(few, scenes, tmp_path, "bylength", keep=0.75)
    assert scores == {row: len(caption) for row, caption in enumerate(captions)}
    assert len(kept) == 102
    assert max(scores[row] for row in kept) <= min(scores[row] for row in {*range(136)} - {*kept})


def test_the_oracle_removes_the_poisons_and_nothing_else(few, scenes, tmp_path):
    kept, scores = filtered(few, scenes, tmp_path, "oracle")
    assert kept == [*range(128)]
    assert scores == {row: float(row in POISONS) for row in range(136)}
    write_table(tmp_path / "truth.csv", tuple(TRUTH), [dict.fromkeys(TRUTH, "") | {"is_poison": "0"}] * 136)
    kept, _ = filtered(few, scenes, tmp_path / "clean", "oracle", truth=tmp_path / "truth.csv")
    assert kept == [*range(136)]


def test_the_truth_is_for_the_oracle_alone(few, scenes, tmp_path):
    assert [kind for kind, chosen in FILTERS.items() if chosen.reads_truth] == ["oracle"]
    with pytest.raises(UserError, match=r"^--truth: the filter 'random' sees only what a defender sees$"):
        filtering.run(filter_options(few, scenes, tmp_path, "random", truth=few / "truth.csv"))
    with pytest.raises(UserError, match=r"^--truth: the filter 'oracle' needs to be told which pairs are poisoned$"):
        filtering.run(filter_options(few, scenes, tmp_path, "oracle", truth=None))


def cosines(few, model) -> np.ndarray:
    """Of all pairs, computed here, with the latest weights."""
    rows = read_table(few / "train.csv", tuple(PAIRS))
    config = towers.model_config("config/models/small.json")
    clip = towers.create(config).eval()
    clip.load_state_dict(load_file(model / "last_clip.safetensors"))
    images, _ = Intake(["/"], 0).load("t", [row["path"] for row in rows], 32, 1)
    with torch.no_grad():
        image_features = clip.encode_image(normalise(to_pixels(torch.from_numpy(images))))
        caption_features = clip.encode_text(towers.tokenizer(config)([row["caption"] for row in rows]))
    return torch.nn.functional.cosine_similarity(image_features, caption_features).numpy()


def test_the_lowest_cosines_are_removed(few, scenes, tmp_path, model, monkeypatch):
    monkeypatch.setattr(seen, "HELD", 50)  # images come in several parts
    kept, scores = filtered(few, scenes, tmp_path, "cosine", keep=0.8, weights=model)
    expected = cosines(few, model)
    assert [scores[row] for row in range(136)] == pytest.approx(-expected, abs=1e-5)
    assert kept == sorted(np.argsort(-expected)[: round(0.8 * 136)].tolist())


def test_images_that_cannot_be_read_are_named_by_row_and_not_kept(few, scenes, tmp_path, model, caplog):
    rows = read_table(few / "train.csv", tuple(PAIRS))
    for row in (3, 77):
        rows[row]["path"] = f"gone{row}.png"
    write_table(tmp_path / "pairs.csv", tuple(PAIRS), rows)
    changes = {"pairs": tmp_path / "pairs.csv", "weights": model, "max_bad_fraction": 0.1}
    kept, scores = filtered(few, scenes, tmp_path / "out", "cosine", keep=1.0, **changes)
    assert kept == [*scores] == sorted({*range(136)} - {3, 77})
    found = read_table(tmp_path / "out/quarantine.csv", tuple(QUARANTINE))
    assert [(row["number"], row["path"]) for row in found] == [("4", "gone3.png"), ("78", "gone77.png")]
    assert f"{tmp_path / 'pairs.csv'}, row 78: left out gone77.png" in caplog.text
    expected = cosines(few, model)
    assert [scores[row] for row in kept] == pytest.approx(-expected[kept], abs=1e-5)
    with pytest.raises(UserError, match=r"2 of 136 images are missing or broken, first in row 4 \(gone3\.png"):
        filtering.run(filter_options(few, scenes, tmp_path / "out", "cosine", **changes | {"max_bad_fraction": 0.001}))


def of_own(scores):
    """A filter that gives these scores, whatever the pairs are."""

    class Own(Filter):
        """Gives what it was made with."""

        def scores(self, pairs):
            return scores

    return Own


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.full(136, np.nan), "the filter 'own': 136 of 136 scores are NaN or infinite"),
        (np.r_[np.inf, np.zeros(135)], "the filter 'own': 1 of 136 scores are NaN or infinite"),
        (
            np.zeros(135),
            "the filter 'own' gave scores of shape (135,) for 136 pairs; it must give one score for each, of shape (136,)",
        ),
        (
            np.zeros((136, 1)),
            "the filter 'own' gave scores of shape (136, 1) for 136 pairs; it must give one score for each, of shape (136,)",
        ),
        (None, "the filter 'own' gave None for 136 pairs; it must give one score for each, of shape (136,)"),
        (["high"] * 136, "the filter 'own': its scores are no numbers"),
        (np.ones(136), "the filter 'own': all 136 scores are equal, so none says which pairs to remove"),
    ],
)
def test_scores_that_cannot_be_compared_are_one_line(few, scenes, tmp_path, monkeypatch, scores, message):
    monkeypatch.setitem(FILTERS, "own", of_own(scores))
    with pytest.raises(UserError) as caught:
        filtering.run(filter_options(few, scenes, tmp_path, "own"))
    assert str(caught.value) == message
    assert not list(tmp_path.iterdir())


def test_a_filter_that_keeps_nothing_is_one_line(few, scenes, tmp_path, monkeypatch):
    class Own(of_own(np.arange(136))):
        """Keeps nothing."""

        def count(self, scores):
            return 0

    monkeypatch.setitem(FILTERS, "own", Own)
    with pytest.raises(UserError, match=r"^the filter 'own' keeps none of 136 pairs; let it keep more$"):
        filtering.run(filter_options(few, scenes, tmp_path, "own"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [None, -5, 0.95, 137])
def test_a_count_that_is_no_number_of_pairs_is_one_line(few, scenes, tmp_path, monkeypatch, count):
    class Own(of_own(np.arange(136))):
        """Keeps what it was made with."""

        def count(self, scores):
            return count

    monkeypatch.setitem(FILTERS, "own", Own)
    with pytest.raises(UserError) as caught:
        filtering.run(filter_options(few, scenes, tmp_path, "own"))
    assert str(caught.value) == f"the filter 'own': its count gave {count}, no whole number from 1 to 136"
    assert not list(tmp_path.iterdir())


def test_a_filter_that_takes_features_says_that_it_needs_a_model(few, scenes, tmp_path, monkeypatch):
    class Own(Filter):
        """Takes what it did not ask for."""

        def scores(self, pairs):
            return pairs.image_features.sum(axis=1)

    monkeypatch.setitem(FILTERS, "own", Own)
    with pytest.raises(UserError, match=r"^the filter 'own' sees no features unless its class sets needs_model = True: '"):
        filtering.run(filter_options(few, scenes, tmp_path, "own"))
    assert not list(tmp_path.iterdir())
