"""Model configs are open_clip's own, and nothing that they name is ever downloaded."""

import json
import re
import socket
import subprocess
import sys

import open_clip
import pytest

from roclip.core.errors import UserError, one_line
from roclip.model import configs
from roclip.model.configs import model_config, pixel_moments
from tests.fixtures.weights import SMALL


@pytest.mark.parametrize("name", ["RN50", "RN50-quickgelu", "ViT-B-32", "convnext_base"])
def test_configs_by_name_are_what_open_clip_gives(name):
    assert model_config(name) == open_clip.get_model_config(name)


@pytest.mark.parametrize(
    "name", ["no_such_model", "config/models/absent.json", "", "../model_configs/RN50", "local-dir:config", "x" * 5000, "a\0b"]
)
def test_an_unknown_model_is_named(name):
    with pytest.raises(UserError, match=re.escape(one_line(name)) + "(' is neither|: no such file)"):
        model_config(name)


@pytest.mark.parametrize("name", ["hf-hub:a/b", "https://example.org/model.json", "http://example.org/model"])
def test_a_model_on_a_hub_is_refused_with_what_to_do(monkeypatch, name):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it connects"))
    with pytest.raises(
        UserError, match=rf"^train\.model: '{name}' is on a hub, .* get the folder by hand \(open_clip_config\.json"
    ):
        model_config(name)


@pytest.mark.parametrize("name", ["ViT-bigG-14", "ViT-e-14", "RN50x64", "ViT-gopt-16-SigLIP2-384", "convnext_xxlarge"])
def test_the_largest_models_of_open_clip_are_not_too_large(name):
    config = open_clip.get_model_config(name)
    config.pop("custom_text", None)
    config["text_cfg"] = {key: value for key, value in config["text_cfg"].items() if not key.startswith("hf_")}
    assert not [fault for fault in configs._faults(name, config) if "is it the right file?" in fault]


@pytest.mark.parametrize("name", ["..", "config"])
def test_a_folder_without_a_config_is_named(name):
    with pytest.raises(
        UserError, match=rf"^train\.model: {name}: no open_clip_config\.json in this folder; take open_clip's name"
    ):
        model_config(name)


def published(folder, model_cfg, **more):
    folder.mkdir(exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model_cfg, **more}))
    return str(folder)


def test_a_folder_gives_its_own_config_and_names_pixels_that_are_not_clip_s(tmp_path):
    theirs = model_config("RN50-quickgelu")
    clip = {"mean": [*open_clip.OPENAI_DATASET_MEAN], "std": [*open_clip.OPENAI_DATASET_STD]}
    for more in ({}, {"preprocess_cfg": None}, {"preprocess_cfg": {}}, {"preprocess_cfg": clip | {"interpolation": "bicubic"}}):
        assert model_config(published(tmp_path / "theirs", theirs, **more)) == theirs
    halves = {"mean": [0.5] * 3, "std": [0.5] * 3}
    folder = published(tmp_path / "theirs", theirs, preprocess_cfg=halves | {"resize_mode": "shortest"})
    assert model_config(folder) == model_config(f"{folder}/open_clip_config.json") == {**theirs, "preprocess_cfg": halves}
    assert pixel_moments(model_config(folder)) == ((0.5,) * 3, (0.5,) * 3)
    assert pixel_moments(theirs) == (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)


def test_pixels_that_are_not_normalised_are_a_part_of_the_config(tmp_path):
    folder = published(tmp_path / "theirs", model_config("RN50"), preprocess_cfg={"mean": [0.5] * 3, "std": [0.5] * 3})
    for name in ("RN50", folder):
        assert pixel_moments(model_config(name, "none")) == ((0.0,) * 3, (1.0,) * 3)
        assert model_config(name, "none") == {**model_config("RN50"), "preprocess_cfg": {"mean": [0.0] * 3, "std": [1.0] * 3}}


@pytest.mark.parametrize(
    ("preprocess", "key"),
    [
        ([1], "mean"), ("x", "mean"), ({"mean": 0.5}, "mean"), ({"mean": [0.5, 0.5]}, "mean"), ({"std": [1, 1, "1"]}, "std"),
        ({"std": [1, 1, None]}, "std"), ({"std": [1, 0, 1]}, "std"), ({"std": [True, 1, 1]}, "std"),
        ({"std": [1, -1, 1]}, "std"), ({"mean": [0, 1e300, 0]}, "mean"), ({"mean": [0, -1e300, 0]}, "mean"),
        ({"std": [1, 1e300, 1]}, "std"), ({"std": [1, 1e-320, 1]}, "std"), ({"std": [1, 10**400, 1]}, "std"),
        ({"mean": [10**400, 0, 0]}, "mean"), ({"mean": [122.77, 116.75, 104.09]}, "mean"), ({"std": [68.5, 0.3, 0.3]}, "std"),
        ({"mean": [0.5, -0.1, 0.5]}, "mean"), ({"mean": [0.5, 0.5, 1.1]}, "mean"), ({"std": [1, 1, 1.1]}, "std"),
    ],
)  # fmt: skip
def test_pixels_that_cannot_be_are_one_line(tmp_path, preprocess, key):
    folder = published(tmp_path / "theirs", model_config("RN50"), preprocess_cfg=preprocess)
    with pytest.raises(UserError, match=rf"theirs: preprocess_cfg\.{key} must be") as caught:
        model_config(folder)
    assert "\n" not in str(caught.value)


def test_moments_of_pixels_to_255_are_told_so(tmp_path):
    folder = published(tmp_path / "theirs", model_config("RN50"), preprocess_cfg={"std": [68.5, 66.63, 70.32]})
    said = "preprocess_cfg.std must be from 1e-06 to 1, of pixels from 0 to 1; of pixels from 0 to 255 divide it by 255"
    with pytest.raises(UserError, match=re.escape(said)):
        model_config(folder)


@pytest.mark.parametrize("pixels", ["model", "none"])
@pytest.mark.parametrize(
    ("preprocess", "said"),
    [
        ({"mode": "L"}, "preprocess_cfg.mode is 'L'; take a model of RGB"),
        ({"size": 336}, "preprocess_cfg.size is 336, and vision_cfg.image_size 224; write the same in both"),
        ({"size": [224, 336]}, "preprocess_cfg.size is [224, 336], and vision_cfg.image_size 224"),
    ],
)
def test_pixels_that_no_model_is_given_are_one_line(tmp_path, preprocess, said, pixels):
    folder = published(tmp_path / "theirs", model_config("RN50"), preprocess_cfg=preprocess)
    with pytest.raises(UserError, match=re.escape(f"train.model: {folder}: {said}")):
        model_config(folder, pixels)


def test_another_way_to_bring_images_to_their_size_is_one_line_of_the_log(tmp_path, caplog):
    usual = {"size": [224, 224], "mode": "RGB", "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0}
    assert model_config(published(tmp_path / "a", model_config("RN50"), preprocess_cfg=usual)) == model_config("RN50")
    assert not caplog.text
    folder = published(tmp_path / "b", model_config("RN50"), preprocess_cfg=usual | {"size": 224, "resize_mode": "squash"})
    assert model_config(folder) == model_config(folder) == model_config("RN50")
    said = "resize_mode 'squash' of its preprocess_cfg is passed over: the shorter side is brought to the model's"
    assert caplog.text.count(said) == len(caplog.records) == 1


@pytest.mark.parametrize("name", ["ViTamin-B", "coca_ViT-B-32", "PE-Core-B-16"])
def test_what_is_no_plain_clip_is_refused_before_any_job(name):
    with pytest.raises(
        UserError, match=f"^train.model: {name} has '(custom_text|multimodal_cfg)', which makes it another model"
    ):
        model_config(name)


@pytest.mark.parametrize("merges", ["/etc/passwd", "../merges.gz", "config/models/../../secret.gz", 3])
def test_a_folder_names_no_file_of_merges_but_the_project_s_own(tmp_path, merges):
    config = model_config(SMALL)
    assert model_config(published(tmp_path / "ours", config)) == config
    config["text_cfg"]["tokenizer_kwargs"] = {"bpe_path": merges}
    with pytest.raises(UserError, match=r"ours names a file of merges, .*; it may name the project's own alone"):
        model_config(published(tmp_path / "ours", config))


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("vision_cfg", {"timm_model_name": "hf-hub:timm/resnet18"}),
        ("vision_cfg", {"timm_model_pretrained": True}),
        ("text_cfg", {"hf_model_name": "roberta-base"}),
        ("text_cfg", {"hf_tokenizer_name": "roberta-base"}),
    ],
)
def test_a_model_with_parts_from_a_hub_is_refused(tmp_path, part, changes):
    config = model_config(SMALL)
    config[part] |= changes
    path = tmp_path / "m.json"
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"m\.json would be downloaded from a hub"):
        model_config(str(path))
    with pytest.raises(UserError, match="roberta-ViT-B-32 would be downloaded from a hub"):
        model_config("roberta-ViT-B-32")


@pytest.mark.parametrize("content", ["[]", "null", "{}", '{"vision_cfg": [], "text_cfg": {}}'])
def test_a_file_of_another_format_is_named(tmp_path, content):
    path = tmp_path / "m.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"m\.json has no vision_cfg and text_cfg"):
        model_config(str(path))


def test_a_config_is_read_without_importing_torch():
    code = "import sys; from roclip.model.configs import model_config; model_config('RN50'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
