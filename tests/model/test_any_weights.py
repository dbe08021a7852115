"""Weights that somebody else made: any bytes are read or refused in one line, and none of them asks the network."""

import json
import os
import socket

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from roclip.core.errors import UserError
from roclip.model import towers
from roclip.model.start_weights import latest
from roclip.model.weight_files import read_tensors

RECORD = {
    "model_config": {}, "tokenizer": "x", "epoch": 1, "options": {"model": "RN50"}, "inputs": {}, "commit": "x", "versions": {},
}  # fmt: skip
NAMES = st.sampled_from(
    ["hf-hub:a/b", "HF-HUB:a/b", "https://a/b", "local-dir:/etc", "/dev/zero.json", "../x.json", "", "\0", "a" * 5000, "\ud800",
     "RN50", "config/models/small.json", "/", ".", "roberta-ViT-B-32", "ViT-B-16-SigLIP"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Any look at the network is a failure of the test, not of the file."""

    def asked(*_, **__):
        pytest.fail("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", asked)
    monkeypatch.setattr(socket.socket, "connect", asked)


def read(path) -> None:
    """By all that read weights of others."""
    for reader in (towers.load, towers.read_record, read_tensors, lambda path: latest(path.parent)):
        try:
            reader(path)
        except UserError as error:
            message = str(error)
            assert message.isprintable()
            assert len(message) < 7000


@given(st.dictionaries(st.sampled_from([*RECORD, "x"]), VALUES, max_size=3), NAMES)
@settings(max_examples=150, deadline=None)
def test_any_record_of_weights_is_read_or_one_line(tmp_path_factory, changes, name):
    record = RECORD | {"options": {"model": name}} | changes
    path = tmp_path_factory.mktemp("weights") / "last_clip.safetensors"
    path.write_bytes(save({"a": torch.zeros(1)}, metadata={"record": json.dumps(record)}))
    read(path)


@given(
    st.binary(max_size=80),
    st.sampled_from([b"", b"PK\3\4", b"\x80\2", b"\x80\4\x95", b"\2\0\0\0\0\0\0\0{}", b"@\0\0\0\0\0\0\0{"]),
)
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_weights_or_one_line(tmp_path_factory, content, start):
    path = tmp_path_factory.mktemp("weights") / "last_clip.safetensors"
    path.write_bytes(start + content)
    read(path)


@pytest.mark.parametrize(
    "record", ["", "[", "[1]", "null", "9" * 5000, "[" * 100_000, '{"options": {"model": "hf-hub:a/b"}}', "\ud83d"]
)
def test_a_record_that_is_none_is_one_line(tmp_path, record):
    path = tmp_path / "last_clip.safetensors"
    path.write_bytes(save({"a": torch.zeros(1)}, metadata={"record": record.encode("utf-8", "replace").decode()}))
    with pytest.raises(UserError, match=r"last_clip\.safetensors: not a checkpoint of roclip train"):
        towers.load(path)


@pytest.mark.parametrize("place", ["pipe", "/dev/zero", "folder"])
def test_what_is_no_file_is_one_line_and_nothing_waits(tmp_path, place):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for reader in (read_tensors, towers.read_record):
        with pytest.raises(UserError, match=r"is a pipe or device|is a directory"):
            reader(tmp_path / place)
