"""Weights that look like others, or take any time to read: read to the letter, or one line that says what to do."""

import gzip
import json
import os
import struct
import time
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from roclip.core.errors import UserError
from roclip.model import towers
from roclip.model.configs import UNCHANGED, model_config
from roclip.model.start_weights import read_weights, weights_of
from roclip.model.weight_files import MOST, read_tensors
from tests.fixtures.weights import SMALL, in_archive, record, write_small

WEIGHTS = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}


def same(found: dict[str, torch.Tensor]) -> bool:
    return found.keys() == WEIGHTS.keys() and all(torch.equal(found[name], WEIGHTS[name]) for name in WEIGHTS)


def test_files_of_before_pytorch_1_6_are_refused(tmp_path):
    """Where such a file does not hold the numbers, PyTorch gives what was in memory."""
    torch.save(WEIGHTS, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match=r"old\.pt: .*neither safetensors nor of torch\.save since PyTorch 1\.6; load it"):
        read_tensors(tmp_path / "old.pt")


@pytest.mark.parametrize("form", ["torch.save", "TorchScript"])
@pytest.mark.parametrize("opcode", [b"]", b"("])
def test_a_pickle_of_any_length_is_not_read(tmp_path, form, opcode):
    path, content = tmp_path / "long.pt", b"\x80\x02" + opcode * (MOST + 1)
    if form == "TorchScript":
        in_archive(content, path)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
    began = time.monotonic()
    with pytest.raises(UserError, match=r"long\.pt: .*data\.pkl is larger than 4 MB"):
        read_tensors(path)
    assert time.monotonic() - began < 5


def test_a_pickle_that_numbers_values_at_will_takes_no_memory(tmp_path):
    in_archive(b"\x80\x02]r" + struct.pack("<I", 1 << 26) + b".", tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"a\.pt: .*data\.pkl numbers more values than it has bytes"):
        read_tensors(tmp_path / "a.pt")


def test_safetensors_of_any_length_of_their_header_are_read(tmp_path):
    """The length of this one is the letters with which a zip archive begins."""
    length = int.from_bytes(b"PK", "little")
    header = json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode().ljust(length)
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", length) + header + struct.pack("<f", 2.5))
    assert read_tensors(tmp_path / "a.safetensors")["x"].tolist() == [2.5]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."])
@pytest.mark.parametrize("holders", [(), ("state_dict",), ("model", "state_dict"), ("state_dict", "model")])
def test_whatever_trainers_put_around_weights_is_taken_away(tmp_path, prefix, holders):
    held = {f"{prefix}{name}": tensor for name, tensor in WEIGHTS.items()}
    for holder in holders:
        held = {holder: held, "epoch": 3}
    torch.save(held, tmp_path / "a.pt")
    assert same(read_tensors(tmp_path / "a.pt"))


def test_of_several_files_that_say_nothing_none_is_the_latest(tmp_path):
    for epoch in (1, 2, 30):
        save_file(WEIGHTS, tmp_path / f"epoch_{epoch}.safetensors")
    with pytest.raises(UserError, match=r"epoch_1\.safetensors and epoch_2\.safetensors do not say of which epoch they are"):
        weights_of(tmp_path)
    write_small(tmp_path / "last_clip.safetensors", {"epoch": 30})
    assert weights_of(tmp_path).name == "last_clip.safetensors"


@pytest.mark.parametrize("change", [{"quick_gelu": True}, {"preprocess_cfg": UNCHANGED}])
def test_weights_that_tell_of_another_model_are_refused(tmp_path, change):
    """No tensor shows it."""
    config = model_config(SMALL)
    model, path = towers.create(config), tmp_path / "theirs.safetensors"
    towers.save(model, path, record() | {"model_config": config | change})
    with pytest.raises(UserError, match=rf"theirs\.safetensors: its record has another {next(iter(change))}; set train\.model"):
        read_weights(path, model)
    towers.save(model, path, record() | {"model_config": config})
    assert read_weights(path, model).keys() == model.state_dict().keys()


@pytest.mark.parametrize(
    "settings", [[["bpe_path", "/dev/zero"]], {"reduction_mask": "syntax"}, {"bpe_path": "a", "cache": "b"}, None, "clean"]
)
def test_a_model_says_no_more_of_its_tokenizer_than_is_known(tmp_path, settings):
    """Some of open_clip's settings download, and pairs in place of a mapping named any file."""
    config = model_config(SMALL)
    config = config | {"text_cfg": config["text_cfg"] | {"tokenizer_kwargs": settings}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    for name in (tmp_path, tmp_path / "open_clip_config.json"):
        with pytest.raises(UserError, match=r"as text_cfg\.tokenizer_kwargs, which may hold bpe_path and clean alone"):
            model_config(str(name))


def test_the_config_of_a_published_folder_names_no_file_of_merges_by_its_own_name_either(tmp_path):
    config = model_config(SMALL)
    config = config | {"text_cfg": config["text_cfg"] | {"tokenizer_kwargs": {"bpe_path": "/etc/passwd"}}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    with pytest.raises(UserError, match="it may name the project's own alone"):
        model_config(str(tmp_path / "open_clip_config.json"))


def test_merges_that_unpack_to_far_too_much_are_one_line(tmp_path):
    with gzip.open(tmp_path / "merges.txt.gz", "wb") as file:
        for _ in range(17):
            file.write(bytes(1 << 20))
    with pytest.raises(UserError, match=r"no tokenizer can be made of its text_cfg: its merges are longer than 16 MB"):
        towers.tokenizer({"text_cfg": {"tokenizer_kwargs": {"bpe_path": str(tmp_path / "merges.txt.gz")}}})


def test_merges_that_are_a_pipe_are_one_line(tmp_path):
    os.mkfifo(tmp_path / "merges")
    with pytest.raises(UserError, match=r"no tokenizer can be made of its text_cfg: .*merges: is a pipe or device, no file"):
        towers.tokenizer({"text_cfg": {"tokenizer_kwargs": {"bpe_path": str(tmp_path / "merges")}}})
