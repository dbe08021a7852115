"""Training: plain CLIP is plain CLIP, what is kept and measured, and what cannot be read is left out."""

import math

import numpy as np
import pytest
import torch

from roclip.core.errors import UserError
from roclip.core.files import read_columns, read_table, write_table
from roclip.core.randomness import generator
from roclip.data.images import Intake
from roclip.defences.base import Defence
from roclip.defences.loss import clip_loss
from roclip.model import towers
from roclip.model.pixels import normalise, to_pixels
from roclip.training import train
from roclip.training.optimizer import parameter_groups
from roclip.training.schedule import learning_rate
from roclip.training.trainer import Training
from tests.conftest import SCENES
from tests.fixtures.trainings import options, same, training_of, weights


def test_clip_is_plain_clip_to_the_bit(few, scenes, tmp_path):
    """Against a CLIP loop written out here."""
    o = options(few, scenes, tmp_path, kind="clip", batch_size=24)
    train.run(o)

    rows = read_table(o.pairs, ("path", "caption"))
    images, _ = Intake(o.roots, 0).load(o.pairs, [row["path"] for row in rows], 32, 1)
    config = towers.model_config(o.model)
    tokens = towers.tokenizer(config)([row["caption"] for row in rows])
    torch.manual_seed(o.seed)
    model = towers.create(config).train()
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}], fused=True)
    per_epoch = len(rows) // 24
    for epoch in (1, 2):
        order = torch.randperm(len(rows), generator=generator("order", o.seed, epoch))
        for step in range(per_epoch):
            batch = order[step * 24 : (step + 1) * 24]
            for group in optimizer.param_groups:
                group["lr"] = learning_rate((epoch - 1) * per_epoch + step, 2 * per_epoch, 4, 1e-3)
            with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
                image_features = model.encode_image(normalise(to_pixels(torch.from_numpy(images)[batch])), normalize=True)
                longest = tokens[batch].argmax(1).max() + 1  # of the batch's captions
                text_features = model.encode_text(tokens[batch][:, :longest], normalize=True)
                optimizer.zero_grad()
                clip_loss(image_features, text_features, model.logit_scale.exp()).backward()
            optimizer.step()
            model.logit_scale.data.clamp_(0, math.log(100))
    assert same(weights(tmp_path / "weights/last_clip.safetensors"), model.state_dict())


def test_captions_augmented_once_stay_the_same(few, scenes, tmp_path):
    training = {
        when: training_of(options(few, scenes, tmp_path, kind="clip", augment_captions=when))
        for when in ("never", "once", "each_epoch")
    }
    places = torch.arange(40)
    tokens = training["never"].captions.tokens()[:40]
    assert torch.equal(training["never"].batches.tokens(1, places), tokens[:, : tokens.argmax(1).max() + 1])
    assert torch.equal(training["once"].batches.tokens(1, places), training["once"].batches.tokens(2, places))
    assert not torch.equal(training["once"].batches.tokens(1, places), training["never"].batches.tokens(1, places))
    assert not torch.equal(training["each_epoch"].batches.tokens(1, places), training["each_epoch"].batches.tokens(2, places))


def test_the_last_epoch_of_each_kind_is_kept(few, scenes, tmp_path):
    history = train.run(options(few, scenes, tmp_path, epochs=3))
    records = {p.stem: towers.load(p)[1] for p in (tmp_path / "weights").iterdir()}
    assert {name: record["epoch"] for name, record in records.items()} == {"last_clip": 3, "last_matching": 2}
    assert [row["kind"] for row in history] == ["clip", "matching", "clip"]
    assert (tmp_path / "quarantine.csv").read_text() == "table,number,path,reason\n"  # nothing was left out
    assert records["last_clip"]["options"]["learning_rate"] == 1e-3
    assert len(read_table(tmp_path / "history.csv", ("epoch", "loss"))) == 3


@pytest.mark.parametrize("precision", ["bf16", "float32"])
def test_deterministic_kernels_change_nothing_on_a_cpu(few, scenes, tmp_path, monkeypatch, precision):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    histories = []
    try:
        for wanted in (False, True):
            o = options(few, scenes, tmp_path / str(wanted), precision=precision, deterministic=wanted)
            histories.append([{**row, "seconds": 0, "pairs_per_second": 0} for row in train.run(o)])
            assert torch.are_deterministic_algorithms_enabled() == wanted
    finally:
        torch.use_deterministic_algorithms(False)
    for kind in ("clip", "matching"):
        first, second = (weights(tmp_path / f"{wanted}/weights/last_{kind}.safetensors") for wanted in (False, True))
        assert same(first, second)
    np.testing.assert_equal(histories[0], histories[1])  # NaN is NaN


def test_learns(few, scenes, tmp_path):
    history = train.run(options(few, scenes, tmp_path, kind="clip", epochs=6))
    assert history[-1]["loss"] < history[0]["loss"] / 2


def test_the_history_measures_what_the_weights_can(few, scenes, tmp_path):
    """Recomputed from the saved weights with a loop of its own."""
    o = options(few, scenes, tmp_path, kind="clip", epochs=1, templates=SCENES / "templates.txt")
    history = train.run(o)
    model, record = towers.load(tmp_path / "weights/last_clip.safetensors")
    classes = SCENES.joinpath("classes.txt").read_text().split()
    templates = SCENES.joinpath("templates.txt").read_text().splitlines()
    tokenizer = towers.tokenizer(record["model_config"])
    with torch.no_grad():
        means = [model.encode_text(tokenizer([t.format(c) for t in templates]), normalize=True).mean(0) for c in classes]
        texts = torch.nn.functional.normalize(torch.stack(means), dim=1)
        judged = read_table(o.validation, ("path", "label"))[:20]
        images, _ = Intake(o.roots, 0).load(o.validation, [r["path"] for r in judged], 32, 1)
        guesses = (model.encode_image(normalise(to_pixels(torch.from_numpy(images)))) @ texts.T).argmax(1)
    expected = np.mean([classes[g] == r["label"] for g, r in zip(guesses, judged, strict=True)])
    assert history[-1]["zero_shot"] == pytest.approx(expected)

    pairs, is_poison = read_table(o.pairs, ("path", "caption")), read_columns(o.truth, ("is_poison",))["is_poison"]
    noted = read_table(tmp_path / "cosines.csv", ("epoch", "row", "is_poison", "cosine"))
    assert len(noted) == len(pairs)  # fewer than a thousand
    images, _ = Intake(o.roots, 0).load(o.pairs, [pair["path"] for pair in pairs], 32, 1)
    with torch.no_grad():
        image_features = model.encode_image(normalise(to_pixels(torch.from_numpy(images))), normalize=True)
        text_features = model.encode_text(tokenizer([pair["caption"] for pair in pairs]), normalize=True)
    cosines = (image_features * text_features).sum(1).numpy()
    for pair in noted:
        assert float(pair["cosine"]) == pytest.approx(cosines[int(pair["row"])], abs=1e-3)
        assert pair["is_poison"] == is_poison[int(pair["row"])]
    poisoned_rows = np.array(is_poison) == "1"
    assert history[-1]["poison_cosine"] == pytest.approx(cosines[poisoned_rows].mean(), abs=1e-3)
    assert history[-1]["clean_cosine"] == pytest.approx(cosines[~poisoned_rows].mean(), abs=1e-3)


def test_a_missing_image_is_left_out_and_too_many_end_the_run(few, scenes, tmp_path, caplog):
    rows = read_table(few / "train.csv", ("path", "caption"))
    (tmp_path / "broken.png").write_bytes(b"no image")
    rows[4]["path"], rows[7]["path"] = str(tmp_path / "gone.png"), str(tmp_path / "broken.png")
    write_table(tmp_path / "pairs.csv", ("path", "caption"), rows)
    training = training_of(options(few, scenes, tmp_path, pairs=tmp_path / "pairs.csv", max_bad_fraction=0.02))
    assert len(training.rows) == len(rows) - 2
    assert set(range(len(rows))) - set(training.rows.tolist()) == {4, 7}
    assert len(training.captions.words) == len(training.images.images) == len(rows) - 2
    assert f"{tmp_path / 'pairs.csv'}, row 5: left out" in caplog.text
    assert [(table, row, path) for table, row, path, _ in training.intake.quarantine] == [
        (tmp_path / "pairs.csv", 5, rows[4]["path"]), (tmp_path / "pairs.csv", 8, rows[7]["path"]),
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"2 of 136 images are missing or broken, first in row 5"):
        training_of(options(few, scenes, tmp_path, pairs=tmp_path / "pairs.csv", max_bad_fraction=0.001))


def test_weight_decay_spares_norms_biases_and_the_logit_scale():
    model = towers.create(towers.model_config("config/models/small.json"))
    spared = {id(p) for p in parameter_groups(model, 0.1)[1]["params"]}
    for name, parameter in model.named_parameters():
        wanted = "bias" in name or "bn" in name or "ln_" in name or name == "logit_scale"
        if wanted:
            assert id(parameter) in spared, name


def test_telemetry_that_was_not_declared_is_one_line(few, scenes, tmp_path, monkeypatch):
    """It would be written over the trainer's own columns."""
    monkeypatch.setattr(Defence, "telemetry", lambda self: {"loss": 0.0})
    with pytest.raises(UserError, match=r"^Defence.telemetry gave 'loss', which is not in its telemetry_columns; add it$"):
        train.run(options(few, scenes, tmp_path, "clip"))


@pytest.mark.parametrize("name", ["../../evil", "Clip", "", None])
def test_a_kind_of_epoch_that_names_no_file_is_one_line_before_the_first_step(few, scenes, tmp_path, monkeypatch, name):
    monkeypatch.setattr(Defence, "kind", lambda self, epoch: name)
    monkeypatch.delattr(Training, "take_step")
    with pytest.raises(UserError, match=rf"^Defence.kind gave '{name}' for epoch 1; it must be small letters, digits and _$"):
        train.run(options(few, scenes, tmp_path, "clip"))


def test_a_training_none_of_whose_weights_are_judged_is_one_line_before_the_first_step(few, scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(Defence, "is_judged", lambda self, kind, later: False)
    monkeypatch.delattr(Training, "take_step")
    with pytest.raises(UserError, match=r"^Defence.is_judged says no of every epoch, so there would be no weights; "):
        train.run(options(few, scenes, tmp_path, "clip"))


@pytest.mark.parametrize("name", ["../../evil.csv", "matches"])
def test_a_table_that_names_no_file_is_one_line_and_the_state_stays(few, scenes, tmp_path, monkeypatch, name):
    o, said = options(few, scenes, tmp_path / "a/b/out", "clip", epochs=1), rf"^Defence.tables gave '{name}'; it must be small"
    with monkeypatch.context() as context, pytest.raises(UserError, match=said):
        context.setattr(Defence, "tables", lambda self: {name: {"row": torch.arange(3)}})
        train.run(o)
    assert not [*tmp_path.rglob("evil.csv")]
    monkeypatch.delattr(Training, "take_step")
    train.run(o)
    assert (o.out / "weights/last_clip.safetensors").exists()
