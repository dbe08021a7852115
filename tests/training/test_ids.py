"""What a defence sees of the pairs: ids that say nothing, and nothing of the truth; what it says by id comes back by row."""

import math

import pytest
import torch
from safetensors.torch import load_file

from roclip.core.columns import HISTORY, KEPT, PAIRS, TRUTH
from roclip.core.errors import UserError
from roclip.core.files import read_columns, read_table, write_rows, write_table
from roclip.defences.base import Defence
from roclip.model import towers
from roclip.training import train
from roclip.training.monitor import MATCHED
from tests.fixtures.trainings import options, outputs, training_of

KNOWN = (*MATCHED, "poison_cosine")  # columns of the history that need the truth
LEFT_OUT = 5  # the row of an image that cannot be read


class Witness(Defence):
    """Plain CLIP that notes which captions its ids stand for."""

    def __init__(self, settings, trainer):
        super().__init__(settings, trainer)
        self.settings_seen, self.lengths, self.seen = settings, torch.full((trainer.pairs,), -1), {}

    def loss(self, batch, kind):
        for id, pixels, tokens in zip(batch.ids.tolist(), batch.pixels, batch.tokens, strict=True):
            assert torch.equal(self.seen.setdefault(id, pixels), pixels)  # the same image in every epoch
            self.lengths[id] = tokens.count_nonzero()
        return super().loss(batch, kind)

    def tables(self):
        ids = (self.lengths >= 0).nonzero().flatten()
        return {"seen.csv": {"row": ids, "same_row": ids, "length": self.lengths[ids]}}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(train.TRAININGS, "witness", Witness)


def test_without_the_truth_the_training_is_the_same(few, scenes, tmp_path):
    for name, truth in (("with", few / "truth.csv"), ("without", None)):
        train.run(options(few, scenes, tmp_path / name, truth=truth))
    told, untold = outputs(tmp_path / "with"), outputs(tmp_path / "without")
    for name in told.keys() - {"history.csv", "cosines.csv"}:
        assert told[name] == untold[name], name
    columns = (*HISTORY, *MATCHED, "own_captions", "pool_age")
    of_told, of_untold = (read_table(tmp_path / name / "history.csv", columns) for name in ("with", "without"))
    for first, second in zip(of_told, of_untold, strict=True):
        assert all(first[column] == second[column] for column in first.keys() - {*KNOWN, "clean_cosine"})
        assert all(math.isnan(float(second[column])) for column in KNOWN)
    assert not any(math.isnan(float(of_told[1][column])) for column in KNOWN)
    cosines = "row", "is_poison", "cosine"
    first, second = (read_table(tmp_path / name / "cosines.csv", cosines) for name in ("with", "without"))
    assert {row["is_poison"] for row in second} == {""}
    assert [row | {"is_poison": ""} for row in first] == second  # of so few pairs all are measured


def test_ids_are_a_permutation_that_differs_by_seed(few, scenes, tmp_path):
    first, second = (training_of(options(few, scenes, tmp_path, kind="clip", seed=seed)) for seed in (1, 2))
    for training in (first, second):
        assert sorted(training.ids.tolist()) == list(range(136))
        assert torch.equal(training.ids[training.places], torch.arange(136))
        assert torch.corrcoef(torch.stack([training.ids.double(), torch.arange(136).double()]))[0, 1].abs() < 0.3
    assert not torch.equal(first.ids, second.ids)
    again = training_of(options(few, scenes, tmp_path, kind="clip", seed=1))
    assert torch.equal(first.ids, again.ids)


def test_a_defence_is_handed_its_own_settings_and_no_path(few, scenes, tmp_path):
    settings = training_of(options(few, scenes, tmp_path, kind="witness")).defence.settings_seen
    assert type(settings) is Witness.Settings
    assert not any(word in repr(settings) for word in ("truth", "train.csv", str(few)))


@pytest.fixture
def with_a_gap(few, tmp_path):
    """Those pairs, the image of one of which is not there."""
    rows = read_table(few / "train.csv", tuple(PAIRS))
    rows[LEFT_OUT]["path"] = "gone.png"
    write_table(tmp_path / "pairs.csv", tuple(PAIRS), rows)
    return tmp_path / "pairs.csv"


def test_tables_come_back_in_rows_of_the_table(few, scenes, tmp_path, with_a_gap):
    """Of images left out, too: each row has the caption that was seen under its id."""
    train.run(options(few, scenes, tmp_path, kind="witness", pairs=with_a_gap))
    found = read_table(tmp_path / "tables/seen.csv", ("row", "same_row", "length"))
    captions = read_columns(with_a_gap, ("caption",))["caption"]
    tokenizer = towers.tokenizer(towers.model_config("config/models/small.json"))
    lengths = tokenizer(captions).count_nonzero(1).tolist()
    assert len(set(lengths)) > 4
    assert {int(row["row"]): int(row["length"]) for row in found}.items() <= dict(enumerate(lengths)).items()
    assert [int(row["row"]) for row in found] == sorted({*range(136)} - {LEFT_OUT})  # in two epochs of 128 of 135, all
    assert all(row["row"] == row["same_row"] for row in found)


def kept(tmp_path, rows) -> dict:
    write_rows(tmp_path / "kept.csv", tuple(KEPT), ([row] for row in rows))
    return {"kept": tmp_path / "kept.csv"}


def test_kept_rows_train_as_a_table_of_them_would(few, scenes, tmp_path):
    """The same weights to the bit, and what is named by row is named by the row of the whole table."""
    rows = [row for row in range(136) if row % 5]
    for name, columns in (("train.csv", PAIRS), ("truth.csv", TRUTH)):
        whole = read_table(few / name, tuple(columns))
        write_table(tmp_path / name, tuple(columns), [whole[row] for row in rows])
    of_them = {"pairs": tmp_path / "train.csv", "truth": tmp_path / "truth.csv"}
    histories = [
        train.run(options(few, scenes, tmp_path / name, **changes))
        for name, changes in (("part", of_them), ("kept", kept(tmp_path, rows)))
    ]
    for kind in ("clip", "matching"):
        first, second = (load_file(tmp_path / f"{name}/weights/last_{kind}.safetensors") for name in ("part", "kept"))
        assert all(torch.equal(first[name], second[name]) for name in first)
    assert [row["poisons_in_pool"] for row in histories[0][1:]] == [row["poisons_in_pool"] for row in histories[1][1:]]
    for name, columns in (("tables/matches.csv", ("row", "caption_row")), ("cosines.csv", ("row",))):
        part, whole = (read_table(tmp_path / run / name, columns) for run in ("part", "kept"))
        assert [row | {column: str(rows[int(row[column])]) for column in columns} for row in part] == whole


@pytest.mark.parametrize("images", ["memory", "files"])
def test_of_kept_rows_those_left_out_are_named_by_their_row(few, scenes, tmp_path, with_a_gap, caplog, images):
    rows = list(range(3, 136))
    o = options(few, scenes, tmp_path / "out", kind="clip", pairs=with_a_gap, images=images, epochs=1, **kept(tmp_path, rows))
    train.run(o)
    found = read_table(o.out / "quarantine.csv", ("table", "number", "path"))
    assert [(row["table"], row["number"], row["path"]) for row in found] == [(str(with_a_gap), str(LEFT_OUT + 1), "gone.png")]
    assert f"{with_a_gap}, row {LEFT_OUT + 1}: left out gone.png" in caplog.text
    assert {int(row["row"]) for row in read_table(o.out / "cosines.csv", ("row",))} == {*rows} - {LEFT_OUT}


@pytest.mark.parametrize("rows", [[], [-1, 2], [136], [1, 2, 1], ["x"], ["1.0"], ["9" * 30], [""]])
def test_what_names_no_rows_is_refused(few, scenes, tmp_path, rows):
    o = options(few, scenes, tmp_path / "out", **kept(tmp_path, rows))
    with pytest.raises(UserError, match=r"kept\.csv: must name rows of .*train\.csv, 0 to 135, each once; run the filter"):
        train.run(o)


def test_a_defence_reaches_nothing_of_the_truth(few, scenes, tmp_path):
    """Neither what the trainer knows, nor the random numbers from which the rows of ids would follow."""
    trainer = training_of(options(few, scenes, tmp_path)).defence.trainer
    for name in ("audit", "options", "rows", "places", "ids", "images", "captions", "measurement"):
        with pytest.raises(AttributeError, match=f"may not use '{name}'"):
            getattr(trainer, name)
    for key in (("ids",), ("order", 1), ("pool", 1), ("augment", 1)):
        with pytest.raises(ValueError, match="the trainer's own"):
            trainer.generator(*key)
    assert trainer.generator("mine", 1).initial_seed() != trainer.generator("mine", 2).initial_seed()
