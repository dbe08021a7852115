"""Weights to start from: those of the latest epoch of a folder, and one line for every file that does not fit."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from roclip.core.errors import UserError
from roclip.model import towers
from roclip.model.start_weights import latest, read_weights, refuse_small_file
from tests.fixtures.trainings import TRANSFORMER
from tests.fixtures.weights import SMALL, write_small


@pytest.fixture(scope="module")
def model():
    return towers.create(towers.model_config(SMALL))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "last_clip.safetensors"
    write_small(path)
    return path


def test_a_file_gives_its_weights(small, model):
    found, held = read_weights(small, model), load_file(small)
    assert found.keys() == held.keys() == model.state_dict().keys()
    assert all(torch.equal(found[name], held[name]) for name in held)


def test_of_a_folder_the_latest_epoch_counts_whatever_it_is_called(tmp_path, model):
    for name, epoch in (("a", 3), ("b", 11), ("c", 9)):
        write_small(tmp_path / f"{name}.safetensors", {"epoch": epoch})
    assert latest(tmp_path) == tmp_path / "b.safetensors"
    found, held = read_weights(tmp_path, model), load_file(tmp_path / "b.safetensors")
    assert all(torch.equal(found[name], held[name]) for name in held)


NONSENSE = [*(json.dumps({"epoch": epoch}) for epoch in ("7", None, [7])), "[]", "null", "{", "[" * 99_999, "9" * 9999]


@pytest.mark.parametrize("said", NONSENSE)
def test_weights_that_say_nonsense_of_themselves_are_of_no_epoch(tmp_path, said):
    save_file({"a": torch.zeros(1)}, tmp_path / "untrusted.safetensors", {"record": said})
    save_file({"a": torch.zeros(1)}, tmp_path / "silent.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"<html>")
    save_file({"a": torch.zeros(1)}, tmp_path / "z.safetensors", {"record": json.dumps({"epoch": 1})})
    assert latest(tmp_path).name == "z.safetensors"


def test_a_pipe_among_checkpoints_is_one_line(tmp_path, model):
    os.mkfifo(tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=r"x\.safetensors: is a pipe or device, no file$"):
        read_weights(tmp_path, model)


def test_a_folder_without_weights_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"no checkpoints \(\*\.safetensors\) in it; train the model first$"):
        latest(tmp_path)


def test_a_file_that_is_too_small_for_a_model_is_one_line_before_the_model_is_made(small):
    refuse_small_file(small, towers.model_config(SMALL))
    with pytest.raises(UserError, match=r"weights of another model: \d+ bytes, and the model has about 4\d{8} parameters; set"):
        refuse_small_file(small, towers.model_config("ViT-L-14"))


def without(weights: dict) -> None:
    del weights["logit_scale"]


def added(weights: dict) -> None:
    weights["head\nbias"] = torch.zeros(3)


def reshaped(weights: dict) -> None:
    weights["text_projection"] = weights["text_projection"][:64].clone()


def renamed(weights: dict) -> None:
    for name in list(weights):
        weights[f"theirs.{name}"] = weights.pop(name)


def nan(weights: dict) -> None:
    weights["text_projection"][3, 4] = float("nan")


def infinite(weights: dict) -> None:
    weights["logit_scale"] = torch.tensor(float("inf"))


def exponentiated(weights: dict) -> None:
    weights["logit_scale"] = torch.tensor(1 / 0.07)


def whole_numbers(weights: dict) -> None:
    weights["text_projection"] = weights["text_projection"].to(torch.int8)


def longer(weights: dict) -> None:
    weights["positional_embedding"] = torch.zeros(77, 128)


def larger(weights: dict) -> None:
    weights["token_embedding.weight"] = torch.zeros(49408, 128)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            longer,
            "weights of another model: positional_embedding is (77, 128) and should be (16, 128) (text_cfg.context_length)",
        ),
        (larger, "weights of another model: token_embedding.weight is (49408, 128) and should be (8192, 128) (text_cfg.vocab_"),
        (whole_numbers, "weights of another model: text_projection holds torch.int8 and should hold torch.float32; set train"),
        (without, "weights of another model: logit_scale is missing; set train.model to the model that they are of"),
        (added, "weights of another model: head\\nbias is too many; set train.model"),
        (reshaped, "weights of another model: text_projection is (64, 128) and should be (128, 128); set train.model"),
        (renamed, "weights of another model: positional_embedding is missing, and "),
        (nan, "text_projection holds values that are NaN or infinite; these weights cannot be used"),
        (exponentiated, "logit_scale is 14.2857, the scale itself and not its logarithm, which is 4.6 at most in CLIP; save"),
        (infinite, "logit_scale holds values that are NaN or infinite; these weights cannot be used"),
    ],
)
def test_weights_that_do_not_fit_are_one_line(tmp_path, small, model, spoil, message):
    weights = load_file(small)
    spoil(weights)
    save_file(weights, tmp_path / "theirs.safetensors")
    with pytest.raises(UserError) as caught:
        read_weights(tmp_path / "theirs.safetensors", model)
    assert str(caught.value).startswith(f"{tmp_path / 'theirs.safetensors'}: {message}")
    assert "\n" not in str(caught.value)


def test_weights_of_another_architecture_are_one_line(tmp_path, model):
    theirs = towers.create(TRANSFORMER).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in theirs.items()}, tmp_path / "theirs.safetensors")
    with pytest.raises(
        UserError, match=r"theirs\.safetensors: weights of another model: .*, and \d+ tensors more; set"
    ) as caught:
        read_weights(tmp_path / "theirs.safetensors", model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "odd",
    [
        torch.eye(128).to_sparse(), torch.zeros(128, 128, device="meta"), [1.0], None, {"a": torch.zeros(1)},
        torch.nested.nested_tensor([torch.zeros(128, 128)]), torch.zeros(128, 128, dtype=torch.complex64),
        torch.quantize_per_tensor(torch.zeros(128, 128), 0.1, 0, torch.qint8),
    ],
)  # fmt: skip
def test_what_is_no_plain_tensor_is_missing(tmp_path, small, model, odd):
    torch.save({**load_file(small), "text_projection": odd, 7: torch.zeros(1)}, tmp_path / "theirs.pt")
    with pytest.raises(UserError, match=r"theirs\.pt: weights of another model: text_projection is missing; set train\.model"):
        read_weights(tmp_path / "theirs.pt", model)


LIST_HEADER = (8).to_bytes(8, "little") + b"[]      "


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x80\x02}q\x00.", b"\xff" * 100, LIST_HEADER])
def test_what_is_no_file_of_weights_is_one_line(tmp_path, model, content):
    path = tmp_path / "theirs.safetensors"
    path.write_bytes(content)
    with pytest.raises(
        UserError, match=r"theirs\.safetensors: (not a file of weights, or a broken one|it holds more than)"
    ) as caught:
        read_weights(path, model)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path, model):
    with pytest.raises(UserError, match=r"gone: no such file or directory$"):
        read_weights(tmp_path / "gone", model)
