"""Somebody else's model from its file to its export: its own towers and its own pixels, wherever images are read."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from roclip.core.errors import UserError
from roclip.core.files import read_table
from roclip.evaluation import encode, export
from roclip.evaluation.encode import EncodeOptions
from roclip.evaluation.features import Features
from roclip.model import towers
from roclip.training import encoding, train
from roclip.training import filter as filtering
from tests.conftest import SCENES
from tests.fixtures.trainings import filter_options, options, training_of
from tests.fixtures.weights import SMALL, write_small

THEIRS = {  # of OpenAI's ResNet kind, small, with CLIP's own vocabulary
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
}
HALVES = {"mean": [0.5, 0.4, 0.6], "std": [0.5, 0.25, 0.3]}
ZEROS = {"mean": [0.0] * 3, "std": [1.0] * 3}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder as open_clip publishes models, whose model takes pixels of its own."""
    folder = tmp_path_factory.mktemp("theirs")
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        clip = open_clip.model.CLIP(**THEIRS).train()
        for module in clip.modules():  # open_clip's begin as zeros, and images would hardly be told apart
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
        clip.visual.attnpool.c_proj.weight.normal_()
        clip.encode_image(torch.rand(64, 3, 32, 32))  # statistics that are not the first ones
        save_file(clip.state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": THEIRS, "preprocess_cfg": HALVES}))
    return folder


def taken_over(few, scenes, out, **changes):
    """The folder of weights that a step of kind given publishes."""
    train.run(options(few, scenes, out, kind="given", **changes))
    return out / "weights"


def encoded(weights, scenes, out) -> Features:
    (templates := out / "templates.txt").write_text("a picture of a {}\n")
    encode.run(
        EncodeOptions(
            weights=weights, test=(f"own={scenes}/test.csv",), classes=SCENES / "classes.txt", templates=templates,
            out=out / "features", roots=("/",), max_bad_fraction=0.0, precision="float32", device="cpu",
        )
    )  # fmt: skip
    return Features(out / "features/own.npz")


def theirs_see(folder, scenes) -> torch.Tensor:
    """Features of the test images by open_clip's own loading and preprocessing."""
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    rows = read_table(scenes / "test.csv", ("path", "label"))
    with torch.no_grad():
        return model.eval().encode_image(torch.stack([preprocess(Image.open(row["path"])) for row in rows])).numpy()


def exported(weights, out) -> SimpleNamespace:
    export.run(export.ExportOptions(weights=weights, measures=out, name="a/b/seed1", experiment="x", sets=("own",), out=out))
    folder = out / "given"
    return SimpleNamespace(folder=folder, **json.loads((folder / "open_clip_config.json").read_text()))


@pytest.mark.parametrize(("pixels", "preprocess"), [("model", HALVES), ("none", ZEROS)])
def test_a_published_folder_is_judged_as_open_clip_does_and_so_is_its_export(
    few, scenes, tmp_path, published, pixels, preprocess
):
    weights = taken_over(few, scenes, tmp_path / "a", weights=str(published), model=str(published), pixels=pixels)
    found = encoded(weights, scenes, tmp_path).images("given", "test")
    out = exported(weights, tmp_path / "out")
    assert out.model_cfg == THEIRS
    assert {key: out.preprocess_cfg[key] for key in ("mean", "std")} == preprocess
    assert np.allclose(found, theirs_see(out.folder, scenes), atol=1e-5)
    assert np.allclose(found, theirs_see(published, scenes), atol=1e-5) == (pixels == "model")
    assert np.ptp(found, axis=0).max() > 1e-3  # the images are told apart at all

    again = taken_over(few, scenes, tmp_path / "b", weights=str(out.folder), model=str(out.folder))
    assert np.array_equal(encoded(again, scenes, tmp_path).images("given", "test"), found)


def test_the_exports_of_the_project_are_given_back_as_they_were(few, scenes, tmp_path):
    write_small(tmp_path / "weights/given.safetensors")
    out = exported(tmp_path / "weights", tmp_path / "out")
    assert out.preprocess_cfg["mean"] == [*open_clip.OPENAI_DATASET_MEAN]
    again = taken_over(few, scenes, tmp_path / "b", weights=str(out.folder), model=str(out.folder))
    first, second = (encoded(weights, scenes, tmp_path) for weights in (tmp_path / "weights", again))
    assert np.array_equal(first.images("given", "test"), second.images("given", "test"))
    assert np.array_equal(first.class_features("given"), second.class_features("given"))


def test_a_training_sees_pixels_as_its_model_takes_them(few, scenes, tmp_path, published):
    """In every batch, between steps, and in what is measured after an epoch."""
    for model, pixels, moments in ((SMALL, "none", ZEROS), (str(published), "model", HALVES)):
        training = training_of(options(few, scenes, tmp_path, kind="clip", model=model, pixels=pixels))
        places = torch.arange(24)
        raw = training.images[places].float() / 255
        mean, std = (torch.tensor(moments[key]).view(3, 1, 1) for key in ("mean", "std"))
        (batch,) = training.batches.of(1, [places])
        assert torch.allclose(batch.pixels, (raw - mean) / std, atol=1e-6)
        with torch.no_grad():
            model = training.model.eval()
            expected = torch.nn.functional.normalize(model.encode_image((raw - mean) / std), dim=-1)
        assert torch.allclose(encoding.features(training, places)[0], expected, atol=1e-5)


def test_a_filter_scores_with_the_pixels_of_the_model_that_scores(few, scenes, tmp_path, published):
    """As with a model that takes CLIP's pixels, and whose weights are the same, but for those pixels."""
    scores = {}
    for pixels in ("model", "none"):
        weights = taken_over(few, scenes, tmp_path / pixels, weights=str(published), model=str(published), pixels=pixels)
        filtering.run(filter_options(few, scenes, tmp_path / f"filter_{pixels}", "cosine", keep=0.8, weights=weights))
        rows = read_table(tmp_path / f"filter_{pixels}/scores.csv", ("row", "score"))
        scores[pixels] = np.array([float(row["score"]) for row in rows])
    pairs = read_table(few / "train.csv", ("path", "caption"))
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{published}")
    with torch.no_grad():
        images = model.eval().encode_image(torch.stack([preprocess(Image.open(pair["path"])) for pair in pairs]))
        captions = model.encode_text(open_clip.get_tokenizer("RN50")([pair["caption"] for pair in pairs]))
    cosines = torch.nn.functional.cosine_similarity(images, captions).numpy()
    assert np.allclose(scores["model"], -cosines, atol=1e-5)
    assert not np.allclose(scores["none"], -cosines, atol=1e-3)


def test_weights_that_come_to_other_pixels_than_they_were_made_for_are_another_model(few, scenes, tmp_path, published):
    weights = taken_over(few, scenes, tmp_path, weights=str(published), model=str(published))
    (published / "open_clip_config.json").write_text(json.dumps({"model_cfg": THEIRS}))
    try:
        with pytest.raises(UserError, match=r"given\.safetensors: .* another model config: .* differs in preprocess_cfg now"):
            towers.load(weights / "given.safetensors")
    finally:
        (published / "open_clip_config.json").write_text(json.dumps({"model_cfg": THEIRS, "preprocess_cfg": HALVES}))


def nan(weights):
    weights["text_projection"][0, 0] = float("nan")


def missing(weights):
    del weights["logit_scale"]


def too_many(weights):
    weights["head"] = torch.zeros(2)


def reshaped(weights):
    weights["text_projection"] = weights["text_projection"][:, :4].clone()


@pytest.mark.parametrize("spoil", [nan, missing, too_many, reshaped, b"", b"cut", b"<html>"])
def test_weights_that_cannot_be_judged_leave_what_was_there_before(few, scenes, tmp_path, published, spoil):
    model = towers.create(THEIRS)
    state, path = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}, tmp_path / "theirs.safetensors"
    save_file(state, path)
    o = options(few, scenes, tmp_path / "out", kind="given", weights=str(path), model=str(published))
    train.run(o)
    before = {file: file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()}
    if callable(spoil):
        spoil(state)
        save_file(state, path)
    else:
        path.write_bytes(path.read_bytes()[:-100] if spoil == b"cut" else spoil)
    with pytest.raises(UserError, match=rf"^{path}: ") as caught:
        train.run(replace(o, weights=str(path)))
    assert "\n" not in str(caught.value)
    assert {file: file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()} == before
