"""Training: plain CLIP is plain CLIP, matching epochs leave the caption tower alone, is_poison is never read."""

import math

import numpy as np
import pytest
import torch

from attacks import targeted
from attacks.targeted import TargetedOptions
from roclip.core.errors import UserError
from roclip.core.files import read_table, write_table
from roclip.core.randomness import generator
from roclip.data.images import Intake
from roclip.defences.loss import clip_loss
from roclip.model import towers
from roclip.model.pixels import normalise, to_pixels
from roclip.training import train
from roclip.training.schedule import learning_rate
from roclip.training.trainer import parameter_groups
from tests.conftest import SCENES
from tests.fixtures.trainings import options, same, training_of, weights


@pytest.fixture(scope="module")
def poisoned(scenes, tmp_path_factory):
    out = tmp_path_factory.mktemp("targeted")
    targeted.run(
        TargetedOptions(
            train=scenes / "train.csv", validation=scenes / "validation.csv", test=scenes / "test.csv",
            classes=SCENES / "classes.txt", templates=SCENES / "templates.txt", out=out, roots=(str(scenes),), seed=0,
            targets=4, captions_per_target=2,
        )
    )  # fmt: skip
    return out


def options(poisoned, scenes, out, **changes) -> TrainOptions:
    values = {
        "pairs": poisoned / "train.csv", "targets": poisoned / "targets.csv", "validation": scenes / "probe.csv",
        "classes": SCENES / "classes.txt", "templates": SCENES / "templates.txt", "out": out, "seed": 3,
        "roots": (str(scenes), str(poisoned), str(out)),
        "model": "config/models/small.json", "epochs": 2, "batch_size": 64, "learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999,
        "eps": 1e-8, "weight_decay": 0.1, "warmup_steps": 4, "crop_area": 0.5, "validation_images": 20,
        "max_bad_fraction": 0.01, "precision": "float32", "checkpoint_minutes": 60, "device": "cpu",
        "deterministic": False, "compile": False, "images": "memory", "workers": 0, "match_every": 2, "match_from": 1,
        "pool_size": 100, "pool_fill": "each_matching_epoch", "caption_gradient": "none", "augment_images": True,
        "augment_captions": "each_epoch",
    }  # fmt: skip
    return TrainOptions(**(values | changes))


def weights(path):
    return towers.load(path)[0].state_dict()


def same(first, second) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_match_every_0_is_plain_clip_to_the_bit(poisoned, scenes, tmp_path):
    """Against a CLIP loop written out here."""
    o = options(poisoned, scenes, tmp_path, kind="clip")
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
    per_epoch = len(rows) // 64
    for epoch in (1, 2):
        order = torch.randperm(len(rows), generator=generator("order", o.seed, epoch))
        for step in range(per_epoch):
            batch = order[step * 64 : (step + 1) * 64]
            for group in optimizer.param_groups:
                group["lr"] = learning_rate((epoch - 1) * per_epoch + step, 2 * per_epoch, 4, 1e-3)
            with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
                image_features = model.encode_image(normalise(to_pixels(torch.from_numpy(images)[batch])), normalize=True)
                text_features = model.encode_text(tokens[batch], normalize=True)
                optimizer.zero_grad()
                clip_loss(image_features, text_features, model.logit_scale.exp()).backward()
            optimizer.step()
            model.logit_scale.data.clamp_(0, math.log(100))
    assert same(weights(tmp_path / "weights/last_clip.safetensors"), model.state_dict())


def test_the_trainer_does_not_read_is_poison(poisoned, scenes, tmp_path):
    rows = [{"path": r["path"], "caption": r["caption"]} for r in read_table(poisoned / "train.csv", ("path", "caption"))]
    write_table(tmp_path / "without.csv", ("path", "caption"), rows)
    train.run(options(poisoned, scenes, tmp_path / "a"))
    train.run(options(poisoned, scenes, tmp_path / "b", pairs=tmp_path / "without.csv"))
    for name in ("last_clip", "last_matching"):
        assert same(weights(tmp_path / f"a/weights/{name}.safetensors"), weights(tmp_path / f"b/weights/{name}.safetensors"))


def test_a_matching_epoch_moves_the_image_tower_only(poisoned, scenes, tmp_path):
    training = training_of(options(poisoned, scenes, tmp_path))
    training.epoch(1)
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    row = training.epoch(2)
    assert row["kind"] == "matching"
    after = training.model.state_dict()
    for name in before:
        if name.startswith("visual.") or name == "logit_scale":
            continue
        assert torch.equal(before[name], after[name]), name
    assert not torch.equal(before["logit_scale"], after["logit_scale"])
    assert any(not torch.equal(before[n], after[n]) for n in before if n.startswith("visual."))


def test_zero_gradients_let_adamw_move_the_caption_tower(poisoned, scenes, tmp_path):
    training = training_of(options(poisoned, scenes, tmp_path, caption_gradient="zeros"))
    training.epoch(1)
    before = training.model.text_projection.detach().clone()
    training.epoch(2)
    assert not torch.equal(before, training.model.text_projection)
    assert training.model.text_projection.grad.count_nonzero() == 0


@pytest.mark.parametrize(("fill", "fills"), [("each_matching_epoch", [1, 3]), ("once", [1]), ("noise", [])])
def test_the_pool_is_filled_when_its_setting_says_so(poisoned, scenes, tmp_path, monkeypatch, fill, fills):
    training = training_of(options(poisoned, scenes, tmp_path, match_every=1, epochs=3, pool_fill=fill, match_from=1))
    held = training.defence.pool.features.clone()
    assert (held.norm(dim=1) > 2).all() if fill == "noise" else not held.any()
    sizes = []
    push = training.defence.pool.push
    monkeypatch.setattr(
        training.defence.pool, "push", lambda f, rows, step: (sizes.append((len(rows), step)), push(f, rows, step))
    )
    training.epoch(1)
    training.epoch(3)
    steps = training.steps_per_epoch
    filled = [step for size, step in sizes if size == 100]  # the pool's size; a batch has 64
    assert filled == [(epoch // 3) * steps for epoch in fills]


def test_captions_augmented_once_stay_the_same(poisoned, scenes, tmp_path):
    training = {
        when: training_of(options(poisoned, scenes, tmp_path, augment_captions=when))
        for when in ("never", "once", "each_epoch")
    }
    rows = torch.arange(40)
    assert torch.equal(training["never"].tokens(1, rows), training["never"].captions.tokens()[:40])
    assert torch.equal(training["once"].tokens(1, rows), training["once"].tokens(2, rows))
    assert not torch.equal(training["once"].tokens(1, rows), training["never"].tokens(1, rows))
    assert not torch.equal(training["each_epoch"].tokens(1, rows), training["each_epoch"].tokens(2, rows))


def test_a_batch_is_searched_for_before_it_enters_the_pool(poisoned, scenes, tmp_path, monkeypatch):
    training = training_of(options(poisoned, scenes, tmp_path))
    training.epoch(1)
    calls, found = [], []
    nearest, push = training.defence.pool.nearest, training.defence.pool.push

    def watched_nearest(images):
        calls.append("nearest")
        slots = nearest(images)
        found.append(training.defence.pool.ids[slots])
        return slots

    def watched_push(features, rows, step):
        calls.append("push")
        push(features, rows, step)

    monkeypatch.setattr(training.defence.pool, "nearest", watched_nearest)
    monkeypatch.setattr(training.defence.pool, "push", watched_push)
    training.epoch(2)
    assert calls == ["push", *["nearest", "push"] * training.steps_per_epoch]  # the first push fills the pool
    assert (training.defence.pool.ids >= 0).all()
    assert sorted(torch.cat(found).tolist()) == sorted(training.defence.matches[training.defence.matches >= 0].tolist())


def test_the_last_epoch_of_each_kind_is_kept(poisoned, scenes, tmp_path):
    history = train.run(options(poisoned, scenes, tmp_path, epochs=3))
    records = {p.stem: towers.load(p)[1] for p in (tmp_path / "weights").iterdir()}
    assert {name: record["epoch"] for name, record in records.items()} == {"last_clip": 3, "last_matching": 2}
    assert [row["kind"] for row in history] == ["clip", "matching", "clip"]
    assert (tmp_path / "quarantine.csv").read_text() == "table,row,path,reason\n"  # nothing was left out
    assert records["last_clip"]["options"]["learning_rate"] == 1e-3
    assert len(read_table(tmp_path / "history.csv", ("epoch", "loss"))) == 3


@pytest.mark.parametrize("augment", [False, True])
def test_a_seed_fixes_the_weights_and_another_changes_them(poisoned, scenes, tmp_path, augment):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        captions = "each_epoch" if augment else "never"
        changes = {"augment_images": augment, "augment_captions": captions, "epochs": 1, "match_every": 0}
        train.run(options(poisoned, scenes, tmp_path / name, seed=seed, **changes))
    a, b, c = (weights(tmp_path / name / "weights/last_clip.safetensors") for name in "abc")
    assert same(a, b)
    assert not same(a, c)


@pytest.mark.parametrize("precision", ["bf16", "float32"])
def test_deterministic_kernels_change_nothing_on_a_cpu(poisoned, scenes, tmp_path, monkeypatch, precision):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    histories = []
    try:
        for wanted in (False, True):
            o = options(poisoned, scenes, tmp_path / str(wanted), precision=precision, deterministic=wanted)
            histories.append([{**row, "seconds": 0, "pairs_per_second": 0} for row in train.run(o)])
            assert torch.are_deterministic_algorithms_enabled() == wanted
    finally:
        torch.use_deterministic_algorithms(False)
    for kind in ("clip", "matching"):
        first, second = (weights(tmp_path / f"{wanted}/weights/last_{kind}.safetensors") for wanted in (False, True))
        assert same(first, second)
    assert histories[0] == histories[1]


def test_learns(poisoned, scenes, tmp_path):
    changes = {"epochs": 12, "match_every": 0, "augment_images": False, "augment_captions": "never"}
    history = train.run(options(poisoned, scenes, tmp_path, **changes))
    assert history[-1]["loss"] < history[0]["loss"] / 2


def test_the_history_measures_what_the_weights_can(poisoned, scenes, tmp_path):
    """Recomputed from the saved weights with a loop of its own."""
    o = options(poisoned, scenes, tmp_path, epochs=1, match_every=0)
    history = train.run(o)
    model, record = towers.load(tmp_path / "weights/last_clip.safetensors")
    classes = SCENES.joinpath("classes.txt").read_text().split()
    templates = SCENES.joinpath("templates.txt").read_text().splitlines()
    tokenizer = towers.tokenizer(record["model_config"])
    with torch.no_grad():
        means = [model.encode_text(tokenizer([t.format(c) for t in templates]), normalize=True).mean(0) for c in classes]
        texts = torch.nn.functional.normalize(torch.stack(means), dim=1)
        exam = read_table(o.validation, ("path", "label"))[:20]
        images, _ = Intake(o.roots, 0).load(o.validation, [r["path"] for r in exam], 32, 1)
        guesses = (model.encode_image(normalise(to_pixels(torch.from_numpy(images)))) @ texts.T).argmax(1)
    expected = np.mean([classes[g] == r["label"] for g, r in zip(guesses, exam, strict=True)])
    assert history[-1]["zero_shot"] == pytest.approx(expected)

    pairs = read_table(o.pairs, ("path", "caption", "is_poison"))
    noted = read_table(tmp_path / "cosines.csv", ("epoch", "row", "is_poison", "cosine"))
    assert len(noted) == len(pairs)  # fewer than a thousand
    images, _ = Intake(o.roots, 0).load(o.pairs, [pair["path"] for pair in pairs], 32, 1)
    with torch.no_grad():
        image_features = model.encode_image(normalise(to_pixels(torch.from_numpy(images))), normalize=True)
        text_features = model.encode_text(tokenizer([pair["caption"] for pair in pairs]), normalize=True)
    cosines = (image_features * text_features).sum(1).numpy()
    for pair in noted:
        assert float(pair["cosine"]) == pytest.approx(cosines[int(pair["row"])], abs=1e-3)
        assert pair["is_poison"] == pairs[int(pair["row"])]["is_poison"]
    poisoned_rows = np.array([pair["is_poison"] == "1" for pair in pairs])
    assert history[-1]["poison_cosine"] == pytest.approx(cosines[poisoned_rows].mean(), abs=1e-3)
    assert history[-1]["clean_cosine"] == pytest.approx(cosines[~poisoned_rows].mean(), abs=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"batch_size": 1000}, "train.batch_size: 1000 is more than"), ({"pool_size": 1000}, "pool_size: 1000 is more than")],
)
def test_what_does_not_fit_the_data_is_named(poisoned, scenes, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        train.run(options(poisoned, scenes, tmp_path, **changes))


def test_a_missing_image_is_left_out_and_too_many_end_the_run(poisoned, scenes, tmp_path, caplog):
    rows = read_table(poisoned / "train.csv", ("path", "caption"))
    rows = [{"path": r["path"], "caption": r["caption"]} for r in rows]
    (tmp_path / "broken.png").write_bytes(b"no image")
    rows[4]["path"], rows[7]["path"] = str(tmp_path / "gone.png"), str(tmp_path / "broken.png")
    write_table(tmp_path / "pairs.csv", ("path", "caption"), rows)
    training = training_of(options(poisoned, scenes, tmp_path, pairs=tmp_path / "pairs.csv"))
    assert len(training.rows) == len(rows) - 2
    assert set(range(len(rows))) - set(training.rows.tolist()) == {4, 7}
    assert len(training.captions.words) == len(training.images.images) == len(rows) - 2
    assert f"{tmp_path / 'pairs.csv'}, row 5: left out" in caplog.text
    assert [(table, row, path) for table, row, path, _ in training.intake.quarantine] == [
        (tmp_path / "pairs.csv", 5, rows[4]["path"]), (tmp_path / "pairs.csv", 8, rows[7]["path"]),
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"2 of 608 images are missing or broken, first in row 5"):
        training_of(options(poisoned, scenes, tmp_path, pairs=tmp_path / "pairs.csv", max_bad_fraction=0.001))


def test_weight_decay_spares_norms_biases_and_the_logit_scale():
    model = towers.create(towers.model_config("config/models/small.json"))
    spared = {id(p) for p in parameter_groups(model, 0.1)[1]["params"]}
    for name, parameter in model.named_parameters():
        wanted = "bias" in name or "bn" in name or "ln_" in name or name == "logit_scale"
        if wanted:
            assert id(parameter) in spared, name
