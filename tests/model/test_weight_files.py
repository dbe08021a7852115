"""Files of weights in the forms in which CLIP is published, each made here of random weights and read by open_clip too."""

import io
import json
import os
import pickle
import zipfile

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import build_model_from_openai_state_dict
from safetensors.torch import save_file

from roclip.core.errors import UserError
from roclip.model import towers
from roclip.model.configs import model_config
from roclip.model.start_weights import read_weights
from roclip.model.weight_files import read_tensors
from tests.fixtures.weights import in_archive

TINY = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 120, "width": 64, "heads": 1, "layers": 2},
}


@pytest.fixture(scope="module")
def clip():
    """A CLIP of OpenAI's ResNet kind, with weights that nobody trained."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return open_clip.model.CLIP(**TINY).eval()


@pytest.fixture(scope="module")
def seen():
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tokens = torch.zeros(4, 77, dtype=torch.long)
    tokens[:, :5] = torch.tensor([118, 4, 7, 9, 119])
    return images, tokens


def features(model, seen):
    with torch.no_grad():
        return model.encode_image(seen[0], normalize=True), model.encode_text(seen[1], normalize=True)


def ours(path, seen, config=TINY):
    model = towers.create(config).eval()
    model.load_state_dict(read_weights(path, model))
    return features(model, seen)


class Archive(torch.nn.Module):
    """What OpenAI's archives hold: the towers' modules by their names, and three numbers as buffers."""

    def __init__(self, clip):
        super().__init__()
        for name, child in clip.named_children():
            setattr(self, name, child)
        for name in ("positional_embedding", "text_projection", "logit_scale"):
            setattr(self, name, getattr(clip, name))
        for name, value in (("input_resolution", 32), ("context_length", 77), ("vocab_size", 120)):
            self.register_buffer(name, torch.tensor(value))

    def forward(self, image):
        return image


def scripted(clip, path):
    """As OpenAI published it: a TorchScript archive."""
    with torch.no_grad():
        torch.jit.trace(Archive(clip), torch.zeros(1, 3, 32, 32), check_trace=False).save(str(path))


def trainers(clip, path):
    """As trainers of CleanCLIP's kind write it: an optimiser beside, and every name of DistributedDataParallel's."""
    optimizer = torch.optim.AdamW(clip.parameters())
    state = {f"module.{name}": tensor for name, tensor in clip.state_dict().items()}
    torch.save({"epoch": 3, "name": "poisoned", "state_dict": state, "optimizer": optimizer.state_dict()}, path)


def halves(clip, path):
    torch.save(
        {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in clip.state_dict().items()}, path
    )


WRITERS = {
    "safetensors": lambda clip, path: save_file(clip.state_dict(), path),
    "torch.save": lambda clip, path: torch.save(clip.state_dict(), path),
    "a trainer's": trainers,
    "TorchScript": scripted,
}


@pytest.mark.parametrize("form", WRITERS)
def test_every_form_gives_the_features_of_the_model_that_was_written(clip, seen, tmp_path, form):
    WRITERS[form](clip, tmp_path / "theirs.pt")
    for found, expected in zip(ours(tmp_path / "theirs.pt", seen), features(clip, seen), strict=True):
        assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("form", ["safetensors", "torch.save", "a trainer's"])
def test_open_clip_reads_the_same(clip, seen, tmp_path, form):
    path = tmp_path / ("theirs.safetensors" if form == "safetensors" else "theirs.pt")
    WRITERS[form](clip, path)
    theirs = open_clip.model.CLIP(**TINY).eval()
    open_clip.load_checkpoint(theirs, str(path), strict=True)
    for found, expected in zip(ours(path, seen), features(theirs, seen), strict=True):
        assert torch.allclose(found, expected, atol=1e-6)


def test_an_archive_is_what_open_clip_makes_of_it(clip, seen, tmp_path):
    scripted(clip, tmp_path / "theirs.pt")
    theirs = build_model_from_openai_state_dict(
        torch.jit.load(tmp_path / "theirs.pt").state_dict(), cast_dtype=torch.float32
    ).eval()
    for found, expected in zip(ours(tmp_path / "theirs.pt", seen), features(theirs.float(), seen), strict=True):
        assert torch.allclose(found, expected, atol=1e-3)  # open_clip rounds them to half precision


@pytest.mark.parametrize("quick_gelu", [True, False])
def test_a_model_by_its_name_is_what_open_clip_creates_with_quickgelu_or_without(clip, seen, tmp_path, quick_gelu):
    """open_clip knows models by the names of such files, as its own RN50.json and RN50-quickgelu.json."""
    name, path = f"tiny-{quick_gelu}", tmp_path / "theirs.pt"
    (tmp_path / f"{name}.json").write_text(json.dumps(TINY | {"quick_gelu": quick_gelu}))
    open_clip.add_model_config(tmp_path / f"{name}.json")
    trainers(clip, path)
    theirs = features(open_clip.create_model(name, pretrained=str(path)).eval(), seen)
    found = ours(path, seen, model_config(str(tmp_path / f"{name}.json")))
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(found, theirs, strict=True))
    assert torch.allclose(found[1], features(clip, seen)[1], atol=1e-6) == quick_gelu  # of captions the other one differs


def test_half_precision_becomes_single(clip, tmp_path):
    halves(clip, tmp_path / "theirs.pt")
    found = read_tensors(tmp_path / "theirs.pt")
    assert {tensor.dtype for tensor in found.values()} == {torch.float32, torch.int64}
    assert torch.equal(found["text_projection"], clip.text_projection.half().float())


@pytest.mark.parametrize(
    ("name", "form"), [("open_clip_model.safetensors", "safetensors"), ("open_clip_pytorch_model.bin", "torch.save")]
)
def test_a_folder_as_open_clip_publishes_models_is_what_open_clip_makes_of_it(clip, seen, tmp_path, name, form):
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY}))
    WRITERS[form](clip, tmp_path / name)
    theirs = open_clip.create_model(f"local-dir:{tmp_path}").eval()
    found = ours(tmp_path, seen, model_config(str(tmp_path)))
    for one, other, expected in zip(found, features(theirs, seen), features(clip, seen), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
        assert torch.allclose(one, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("open_clip_model.safetensors",), "no open_clip_config.json in it; get the folder whole, or name a file of weights"),
        (
            ("open_clip_config.json",),
            "no open_clip_model.safetensors or open_clip_pytorch_model.bin in it; get the folder whole",
        ),
        (("README.md",), r"no checkpoints \(\*\.safetensors\) in it"),
    ],
)
def test_a_folder_that_is_not_whole_is_one_line(tmp_path, files, message):
    for name in files:
        (tmp_path / name).write_text(json.dumps({"model_cfg": TINY}))
    with pytest.raises(UserError, match=rf"^{tmp_path}: {message}"):
        read_weights(tmp_path, towers.create(TINY))


HALVES = {"mean": [0.5] * 3, "std": [0.5] * 3}


@pytest.mark.parametrize(
    ("says", "config", "differs"),
    [
        ({"model_cfg": TINY}, {**TINY, "quick_gelu": False}, "quick_gelu"),
        ({"model_cfg": TINY}, {key: value for key, value in TINY.items() if key != "quick_gelu"}, "quick_gelu"),
        ({"model_cfg": TINY}, {**TINY, "text_cfg": {**TINY["text_cfg"], "heads": 2}}, "text_cfg"),
        ({"model_cfg": TINY, "preprocess_cfg": HALVES}, TINY, "preprocess_cfg"),
        ({"model_cfg": TINY}, {**TINY, "preprocess_cfg": HALVES}, "preprocess_cfg"),
    ],
)
def test_a_folder_of_another_model_that_fits_is_refused(clip, tmp_path, says, config, differs):
    (tmp_path / "open_clip_config.json").write_text(json.dumps(says))
    save_file(clip.state_dict(), tmp_path / "open_clip_model.safetensors")
    with pytest.raises(
        UserError, match=f"^{tmp_path}: its open_clip_config.json has another {differs}; set train.model to this"
    ):
        read_weights(tmp_path, towers.create(config))
    for pixels in ("model", "none"):  # un-normalised pixels are for the user to ask for, whatever a folder says
        model = towers.create(model_config(str(tmp_path), pixels))
        model.load_state_dict(read_weights(tmp_path, model))


def test_openai_s_archives_are_of_models_with_quickgelu(clip, tmp_path):
    scripted(clip, tmp_path / "theirs.pt")
    with pytest.raises(
        UserError, match=r"theirs\.pt: a TorchScript archive, .* have QuickGELU; set train\.model to RN50-quickgelu"
    ):
        read_weights(tmp_path / "theirs.pt", towers.create({**TINY, "quick_gelu": False}))


class Harm:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("form", ["torch.save", "before 1.6", "pickle", "TorchScript"])
def test_code_is_never_run(tmp_path, form):
    harm, path, made = {"state_dict": Harm(tmp_path / "harmed")}, tmp_path / "theirs.pt", io.BytesIO()
    if form == "TorchScript":
        in_archive(pickle.dumps(harm, 2), path)
    elif form == "pickle":
        path.write_bytes(pickle.dumps(harm))
    else:
        torch.save(harm, made, _use_new_zipfile_serialization=form == "torch.save")
        path.write_bytes(made.getvalue())
    with pytest.raises(UserError, match=r"theirs\.pt: (it holds more than weights|not a file of weights)") as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "harmed").exists()


def test_broken_files_are_one_line(clip, tmp_path):
    scripted(clip, tmp_path / "whole.pt")
    whole, path = (tmp_path / "whole.pt").read_bytes(), tmp_path / "theirs.pt"
    for content in (whole[: len(whole) // 2], whole[:4] + bytes(100), b"PK", pickle.dumps([1, 2])):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"theirs\.pt: ") as caught:
            read_tensors(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("how", ["flipped", "cut"])
def test_a_damaged_file_is_read_or_one_line(clip, tmp_path, form, how):
    """Bits that are flipped, mostly where the file says what it holds, and ends that are missing."""
    path, rng = tmp_path / "theirs.pt", np.random.default_rng(3)
    WRITERS[form](clip, path)
    whole = path.read_bytes()
    for _ in range(25):
        damaged, place = bytearray(whole), int(rng.integers(3000 if rng.random() < 0.7 else len(whole)))
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged if how == "flipped" else whole[:place])
        try:
            read_tensors(path)
            said = None
        except UserError as error:
            said = str(error)
        assert said.startswith(f"{path}: ") if said else how == "flipped"


class OutsideItsStorage(pickle.Pickler):
    """Writes a tensor of 2 billion numbers whose storage holds one."""

    class Storage:
        pass

    class Tensor:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (OutsideItsStorage.Storage(), 0, (2**31,), (1,), False, {})

    def persistent_id(self, value):
        return ("storage", torch.FloatStorage, "0", "cpu", 1) if isinstance(value, self.Storage) else None


def test_a_tensor_outside_its_storage_is_one_line(tmp_path):
    made = io.BytesIO()
    OutsideItsStorage(made, 2).dump({"weight": OutsideItsStorage.Tensor()})
    in_archive(made.getvalue(), tmp_path / "theirs.pt")
    with zipfile.ZipFile(tmp_path / "theirs.pt", "a") as archive:
        archive.writestr("theirs/data/0", bytes(4))
    with pytest.raises(UserError, match=r"theirs\.pt: not a file of weights, or a broken one") as caught:
        read_tensors(tmp_path / "theirs.pt")
    assert "\n" not in str(caught.value)
