"""Towers: the model file is open_clip's own format, and weights come back as they were saved."""

from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save

from roclip import towers
from roclip.errors import UserError

SMALL = "config/models/small.json"


def test_open_clip_reads_the_model_file_and_the_weights(tmp_path):
    open_clip.add_model_config(Path(SMALL))
    theirs = open_clip.create_model("small").eval()
    ours = towers.create(towers.model_config(SMALL)).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    images, tokens = torch.randn(4, 3, 32, 32), towers.tokenizer(towers.model_config(SMALL))(["a cat", "", "NA", "a red house"])
    with torch.no_grad():
        assert torch.allclose(ours.encode_image(images), theirs.encode_image(images), atol=1e-5)
        assert torch.allclose(ours.encode_text(tokens), theirs.encode_text(tokens), atol=1e-5)


def test_the_paper_s_model_is_open_clip_s_by_name():
    config = towers.model_config("RN50")
    assert config["embed_dim"] == 1024
    tokenizer = towers.tokenizer(config)
    assert torch.equal(tokenizer(["a cat"]), open_clip.get_tokenizer("RN50")(["a cat"]))


def test_weights_and_record_come_back(tmp_path):
    config = towers.model_config(SMALL)
    model = towers.create(config)
    towers.save(model, tmp_path / "a.safetensors", {"model_config": config, "epoch": 3})
    again, record = towers.load(tmp_path / "a.safetensors")
    assert record["epoch"] == 3
    assert not again.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_a_file_of_other_weights_or_of_none_is_named(tmp_path):
    path = tmp_path / "a.safetensors"
    for content in (save({"a": torch.zeros(1)}), save({"a": torch.zeros(1)}, {"format": "pt"}), b"", b"garbage" * 20):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"a\.safetensors: not a checkpoint of roclip\.train; train the model again"):
            towers.load(path)


def test_the_small_vocabulary_covers_its_own_tokens():
    config = towers.model_config(SMALL)
    assert towers.tokenizer(config).vocab_size == config["text_cfg"]["vocab_size"]


@pytest.mark.parametrize("name", ["no_such_model", "config/models/absent.json"])
def test_an_unknown_model_is_named(name):
    with pytest.raises(UserError, match=name):
        towers.model_config(name)


def test_batches_do_not_change_features():
    model = towers.create(towers.model_config(SMALL)).eval()
    images = torch.randint(0, 256, (7, 3, 32, 32), dtype=torch.uint8).numpy()
    runtime = towers.Runtime(torch.device("cpu"), bf16=False)
    assert torch.allclose(
        towers.encode_images(model, images, runtime, 3), towers.encode_images(model, images, runtime), atol=1e-5
    )
    assert towers.encode_images(model, images[:0], runtime).shape[0] == 0
