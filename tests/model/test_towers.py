"""Towers: the model file is open_clip's own format, and weights come back as they were saved."""

import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import open_clip
import psutil
import pytest
import torch
from open_clip.model import CLIP
from safetensors.torch import save

from roclip.core.errors import UserError
from roclip.model import towers
from tests.fixtures.weights import SMALL, record, write_small


def test_open_clip_reads_the_model_file_and_the_weights(tmp_path):
    open_clip.add_model_config(Path(SMALL))
    theirs = open_clip.create_model("small").eval()
    ours = towers.create(towers.model_config(SMALL)).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    images, tokens = torch.randn(4, 3, 32, 32), towers.tokenizer(towers.model_config(SMALL))(["a cat", "", "NA", "a red house"])
    with torch.no_grad():
        assert torch.allclose(ours.encode_image(images), theirs.encode_image(images), atol=1e-5)
        assert torch.allclose(ours.encode_text(tokens), theirs.encode_text(tokens), atol=1e-5)


CAPTIONS = ["a cat", "", "a red house on a hill", "!~ !% !+!"]


@pytest.mark.parametrize("name", [SMALL, "RN50"])
def test_tokens_that_are_cut_give_the_same_features(name):
    """Those of open_clip's own caption tower on all tokens, whatever the rest of the batch cuts them to."""
    torch.manual_seed(0)
    config = towers.model_config(name)
    ours = towers.create({**config, "vision_cfg": towers.model_config(SMALL)["vision_cfg"]}).eval()
    tokens = towers.tokenizer(config)(CAPTIONS)
    assert (tokens[3, : tokens[3].argmax()] == 0).sum() >= 3  # CLIP's token 0 is no padding, but a `!` that goes on
    with torch.no_grad():
        theirs = CLIP.encode_text(ours, tokens, normalize=True)
        for part in (*range(len(CAPTIONS)), slice(0, 2), slice(None)):
            rows = torch.arange(len(CAPTIONS))[part].reshape(-1)
            for multiple in (1, 8):
                cut = ours.cut(tokens[rows], multiple)
                ends = tokens[rows].argmax(1).max() + 1
                assert ends <= cut.shape[1] < min(ends + multiple, tokens.shape[1] + 1)
                assert torch.allclose(ours.encode_text(cut, normalize=True), theirs[rows], atol=1e-6, rtol=0)


@pytest.mark.parametrize("changes", [{"no_causal_mask": True}, {"pool_type": "last"}])
def test_tokens_stay_whole_where_the_rest_counts(changes):
    config = towers.model_config(SMALL)
    config = {**config, "text_cfg": config["text_cfg"] | changes}
    tokens = towers.tokenizer(config)(CAPTIONS)
    model = towers.create(config).eval()
    assert torch.equal(model.cut(tokens, 1), tokens)
    assert torch.equal(model.encode_text(tokens), CLIP.encode_text(model, tokens))


def test_the_paper_s_model_is_open_clip_s_by_name():
    config = towers.model_config("RN50")
    assert config["embed_dim"] == 1024
    tokenizer = towers.tokenizer(config)
    assert torch.equal(tokenizer(["a cat"]), open_clip.get_tokenizer("RN50")(["a cat"]))


def test_weights_and_record_come_back(tmp_path):
    model = towers.create(towers.model_config(SMALL))
    towers.save(model, tmp_path / "a.safetensors", record())
    again, found = towers.load(tmp_path / "a.safetensors")
    assert found == record()
    assert not again.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


RECORDS = (
    "", "no JSON", "[]", "null", "3", "[" * 100_000, '{"a": ' * 100_000, "{}", json.dumps({**record(), "options": None}),
    json.dumps({**record(), "options": {"model": ["x"]}}), json.dumps({**record(), "model_config": []}),
    json.dumps({**record(), "epoch": "7"}), json.dumps({key: value for key, value in record().items() if key != "inputs"}),
)  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [save({"a": torch.zeros(1)}), save({"a": torch.zeros(1)}, {"format": "pt"}), b"", b"garbage" * 20]
    + [save({"a": torch.zeros(1)}, {"record": text}) for text in RECORDS],
    ids=range(17),
)
def test_a_file_of_other_weights_or_of_none_is_named(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.safetensors: not a checkpoint of roclip train; train the model again"):
        towers.load(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.safetensors: no such file"):
        towers.load(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("name", ["hf-hub:someone/model", "local-dir:/tmp", "../model_configs/RN50", "/dev/zero.json"])
def test_weights_never_make_us_look_elsewhere(tmp_path, monkeypatch, name):
    def no_network(*arguments):
        raise AssertionError(f"connects to {arguments}")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    write_small(tmp_path / "a.safetensors", {"options": {"model": name}})
    with pytest.raises(UserError, match=r"a\.safetensors: "):
        towers.load(tmp_path / "a.safetensors")


def test_another_model_than_the_code_builds_now_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    config = towers.model_config(SMALL)
    longer = {**config, "text_cfg": {**config["text_cfg"], "context_length": 33}}
    write_small(path, {"model_config": longer})
    with pytest.raises(
        UserError, match=r"a\.safetensors: .* another model config: config/models/small\.json differs in text_cfg"
    ):
        towers.load(path)
    write_small(path, {"tokenizer": "0" * 64})
    with pytest.raises(UserError, match=r"a\.safetensors: trained with another tokenizer: vocabulary or merges differ now"):
        towers.load(path)
    towers.save(torch.nn.Linear(2, 2), path, record())
    with pytest.raises(UserError, match=r"a\.safetensors: trained with other towers than config/models/small\.json has now"):
        towers.load(path)


def test_a_tokenizer_is_told_from_one_of_other_merges_and_of_another_length():
    config = towers.model_config(SMALL)
    texts = [
        config["text_cfg"],
        {**config["text_cfg"], "context_length": 33},
        {"context_length": config["text_cfg"]["context_length"]},
    ]
    prints = [towers.fingerprint_of(towers.tokenizer({"text_cfg": text})) for text in texts]
    assert len(set(prints)) == 3
    assert prints[0] == towers.fingerprint_of(towers.tokenizer(config))


def test_the_small_vocabulary_covers_its_own_tokens():
    config = towers.model_config(SMALL)
    assert towers.tokenizer(config).vocab_size == config["text_cfg"]["vocab_size"]


def test_batches_do_not_change_features():
    model = towers.create(towers.model_config(SMALL)).eval()
    images = torch.randint(0, 256, (7, 3, 32, 32), dtype=torch.uint8).numpy()
    runtime = towers.Runtime(torch.device("cpu"), bf16=False)
    assert torch.allclose(
        towers.encode_images(model, images, runtime, 3), towers.encode_images(model, images, runtime), atol=1e-5
    )
    assert towers.encode_images(model, images[:0], runtime).shape[0] == 0


@pytest.mark.slow
def test_packages_that_were_deferred_are_whole_for_whoever_uses_them():
    code = """
import sys
from roclip.model import towers
import open_clip, timm, torchvision, torch
assert "timm.models.resnet" not in sys.modules
theirs = open_clip.create_model("convnext_base", pretrained=None)
ours = towers.create(towers.model_config("convnext_base"))
assert theirs.state_dict().keys() == ours.state_dict().keys()
assert timm.create_model("small_resnet")(torch.zeros(1, 3, 32, 32)).shape == (1, 256)
assert torchvision.ops.nms(torch.tensor([[0., 0., 1., 1.]]), torch.ones(1), 0.5).tolist() == [0]
assert torchvision.models.resnet18(weights=None).fc.out_features == 1000
open_clip.add_model_config("config/models/small.json")
open_clip.create_model("small")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_float32_is_no_tf32(precision):
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    towers.Runtime.choose(precision, 1, "cpu")
    assert torch.backends.cudnn.allow_tf32 == (precision == "bf16")
    assert not torch.backends.cuda.matmul.allow_tf32  # the search in a pool


def test_bf16_is_chosen_where_the_processor_says_that_it_has_it():
    said = Path("/proc/cpuinfo").read_text()
    has_it = any(re.search(rf"\b{flag}\b", said) for flag in ("avx512_bf16", "amx_bf16", "bf16"))
    assert towers.Runtime.choose("auto", 1, "cpu").arithmetic == ("bf16" if has_it else "float32")
    for precision in ("bf16", "float32"):
        assert towers.Runtime.choose(precision, 1, "cpu").arithmetic == precision


def test_the_arithmetic_that_is_chosen_is_no_slow_one():
    """Without instructions for bfloat16, a product takes some 30 times as long as in float32."""
    runtime = towers.Runtime.choose("auto", 1, "cpu")
    left, right = torch.randn(2, 512, 512)

    def seconds(chosen: towers.Runtime) -> float:
        times = []
        for _ in range(5):
            started = time.process_time()
            with chosen.autocast():
                left @ right
            times.append(time.process_time() - started)
        return min(times)

    assert seconds(runtime) < 5 * seconds(towers.Runtime.choose("float32", 1, "cpu"))


@pytest.mark.parametrize(
    "changes",
    [
        {"vision_cfg": {"image_size": 32, "colour": 1}}, {"vision_cfg": {"image_size": 32, "timm_model_name": "no_such_tower"}},
        {"vision_cfg": {"image_size": 32, "layers": "many"}}, {"embed_dim": None}, {"text_cfg": {"heads": 0}},
        {"text_cfg": {"vocab_size": -1}},
    ],
)  # fmt: skip
def test_a_config_of_which_no_model_can_be_made_is_one_line(changes):
    with pytest.raises(UserError, match=r"^train\.model: no model can be made of its config: ") as caught:
        towers.create({**towers.model_config(SMALL), **changes})
    assert "\n" not in str(caught.value)


def test_a_model_that_does_not_fit_into_the_memory_is_not_made(monkeypatch):
    config = towers.model_config(SMALL)
    memory = psutil.virtual_memory()
    # of 1.3 million words a caption tower of width 128, the largest part, takes .67 GB
    config = {**config, "text_cfg": {**config["text_cfg"], "vocab_size": 1_300_000}}
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=650_000_000))
    with pytest.raises(UserError, match=r"config: its weights take 0\.7 GB, and 0\.7 GB of memory are free$"):
        towers.create(config)


@pytest.mark.parametrize(
    "settings", [{"bpe_path": "absent.txt.gz"}, {"bpe_path": "pyproject.toml"}, {"colour": 1}, {"clean": "no such way"}, [1]]
)
def test_a_config_of_which_no_tokenizer_can_be_made_is_one_line(settings):
    with pytest.raises(UserError, match=r"^train\.model: no tokenizer can be made of its text_cfg: ") as caught:
        towers.tokenizer({"text_cfg": {"tokenizer_kwargs": settings}})
    assert "\n" not in str(caught.value)
