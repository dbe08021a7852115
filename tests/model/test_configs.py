"""Model configs are open_clip's own, and nothing that they name is ever downloaded."""

import json
import subprocess
import sys

import open_clip
import pytest

from roclip.core.errors import UserError
from roclip.model.configs import model_config
from tests.fixtures.weights import SMALL


@pytest.mark.parametrize("name", ["RN50", "RN50-quickgelu", "ViT-B-32", "convnext_base"])
def test_configs_by_name_are_what_open_clip_gives(name):
    assert model_config(name) == open_clip.get_model_config(name)


@pytest.mark.parametrize(
    "name", ["no_such_model", "config/models/absent.json", "", "..", "../model_configs/RN50", "hf-hub:a/b", "x" * 5000]
)
def test_an_unknown_model_is_named(name):
    with pytest.raises(UserError, match=f"{name}(' is neither|: no such file)"):
        model_config(name)


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
