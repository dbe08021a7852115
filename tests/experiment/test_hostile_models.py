"""Models of which somebody else wrote the config: one that would hang, fill the memory or reach a shell is one line."""

import json

import pytest

from attacks import ATTACKS
from roclip.core.errors import UserError
from roclip.experiment.config import check
from roclip.model.configs import model_config
from tests.conftest import ROOT
from tests.fixtures.configs import changed


@pytest.mark.parametrize("size", ["32; touch x", [], [32, "x"], 0, True, 32.5, {"a": 1}])
def test_a_model_without_a_number_of_pixels_is_refused(tmp_path, size):
    (tmp_path / "model.json").write_text(json.dumps({"embed_dim": 8, "vision_cfg": {"image_size": size}, "text_cfg": {}}))
    with pytest.raises(UserError, match=r"train.model: .*model.json has a vision_cfg.image_size that is no number of pixels"):
        check(changed("train.model", str(tmp_path / "model.json")), ATTACKS)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("text_cfg", "layers", 10**9), ("vision_cfg", "layers", [500, 501]), ("text_cfg", "vocab_size", 10**12),
        ("text_cfg", "context_length", 10**400), ("vision_cfg", "width", -1e9), ("vision_cfg", "layers", [10**400, 0.5]),
        ("text_cfg", "vocab_size", 10**7), ("text_cfg", "context_length", 60_000), ("text_cfg", "context_length", -1),
        ("text_cfg", "layers", -2), ("text_cfg", "layers", True), ("text_cfg", "layers", [1]), ("vision_cfg", "layers", [[9]]),
        ("text_cfg", "width", None), ("text_cfg", "heads", 1.0), ("text_cfg", "pad_id", [[10**7], [1]]),
        ("vision_cfg", "ls_init_value", 1e300), ("text_cfg", "mlp_ratio", -(10**400)),
        (None, "embed_dim", 4_000_000), (None, "embed_dim", -5), (None, "embed_dim", None), (None, "embed_dim", [512]),
    ],
)  # fmt: skip
def test_a_model_that_would_fill_the_memory_is_refused_before_it_is_made(tmp_path, part, key, value):
    config = json.loads((ROOT / "config/models/small.json").read_text())
    (config[part] if part else config)[key] = value
    (tmp_path / "model.json").write_text(json.dumps(config))
    where = f"{part}.{key}" if part else key
    with pytest.raises(
        UserError,
        match=rf"model\.json has .* as {where}, (more than|no whole number from 1 to) \d+(, in all)?; is it",
    ) as caught:
        check(changed("train.model", str(tmp_path / "model.json")), ATTACKS)
    assert len(str(caught.value)) < 400


def test_a_size_that_is_not_there_is_refused(tmp_path):
    config = json.loads((ROOT / "config/models/small.json").read_text())
    del config["embed_dim"]
    (tmp_path / "model.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"model\.json has None as embed_dim, no whole number from 1 to"):
        check(changed("train.model", str(tmp_path / "model.json")), ATTACKS)


@pytest.mark.parametrize(
    ("vision", "text"),
    [
        ({}, {"vocab_size": 1_000_000, "width": 16_384}), ({}, {"layers": 1000, "width": 4096}),
        ({"layers": 24, "width": 4096, "mlp_ratio": 1e4}, {}), ({"layers": [3, 4, 900, 3], "width": 512}, {}),
        ({"layers": 12, "width": 16_384, "patch_size": 1, "image_size": 4096}, {}),
    ],
)  # fmt: skip
def test_a_model_of_sizes_that_are_legal_and_too_many_parameters_is_refused(tmp_path, vision, text):
    model = {"embed_dim": 512, "vision_cfg": {"image_size": 32, **vision}, "text_cfg": {"width": 64, **text}}
    (tmp_path / "model.json").write_text(json.dumps(model))
    with pytest.raises(UserError, match=r"model\.json would have \d\.\de\+1\d parameters, more than 1e\+10; is it the right"):
        model_config(str(tmp_path / "model.json"))


@pytest.mark.parametrize(
    "vision", [{"image_size": 224, "patch_size": 1}, {"image_size": 4096}, {"image_size": 513, "patch_size": 4}]
)
def test_a_model_of_more_patches_than_attention_can_compare_is_refused(tmp_path, vision):
    """224 x 224 patches of a pixel would be compared for minutes before the first step."""
    model = {"embed_dim": 64, "vision_cfg": {"layers": 1, "width": 64, **vision}, "text_cfg": {"width": 64}}
    (tmp_path / "model.json").write_text(json.dumps(model))
    with pytest.raises(
        UserError, match=r"model\.json would cut an image into \d+ patches, more than 16384; is it the right file"
    ):
        model_config(str(tmp_path / "model.json"))


def test_a_resnet_of_large_images_is_not_cut(tmp_path):
    model = {"embed_dim": 64, "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "image_size": 4096}, "text_cfg": {"width": 64}}
    (tmp_path / "model.json").write_text(json.dumps(model))
    assert model_config(str(tmp_path / "model.json")) == model
