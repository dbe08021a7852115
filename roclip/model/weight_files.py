"""Files of weights that somebody else may have made, as tensors by name. Nothing in them is ever run or downloaded.

Read are safetensors; files of torch.save since PyTorch 1.6, also dictionaries that hold weights beside an optimiser, as
trainers write them; and TorchScript archives, as OpenAI published CLIP.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from pickletools import genops
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from roclip.core.errors import UserError, first_line, is_out_of_memory
from roclip.core.files import open_file

PUBLISHED = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")  # in a folder as open_clip publishes models
HOLDERS = ("state_dict", "model")  # keys under which trainers put weights
PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile
DESCRIPTIONS = ("input_resolution", "context_length", "vocab_size")  # in OpenAI's archives, beside the weights
MOST = 4 << 20  # bytes of what an archive holds beside the numbers; of a thousand tensors 100 kB
MODULES, LONGEST = 100_000, 10_000  # of an archive, and characters of a module's name
SHARED = 4  # so many times its own bytes a file's tensors may be, where they share their numbers, as tied weights do
STORAGES = {
    f"{kind}Storage": dtype
    for kind, dtype in {
        "Half": torch.float16, "Float": torch.float32, "Double": torch.float64, "BFloat16": torch.bfloat16,
        "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
        "Bool": torch.bool,
    }.items()
}  # fmt: skip
SHOWN_BY = {"positional_embedding": "text_cfg.context_length", "token_embedding.weight": "text_cfg.vocab_size"}
NUMBERS = {*STORAGES.values(), torch.float8_e4m3fn, torch.float8_e5m2}  # neither complex nor quantised


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The weights of a file by name, floats as float32. Raises UserError in one line for what is no such file."""
    try:
        with open_file(path) as file:
            start = file.read(9)
        if start[8:9] == b"{":  # first, for the length before it may be any two letters
            with safe_open(path, "pt") as file:
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        elif start[:2] == b"PK":
            found = _scripted(path) if is_torchscript(path) else _archived(path)
        else:  # before PyTorch 1.6 torch.save wrote files whose numbers may be missing without a word, and take any time
            raise ValueError("neither safetensors nor of torch.save since PyTorch 1.6; load it with PyTorch and save it again")
        return _plain(found, path.stat().st_size)
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        raise UserError(f"{path}: it holds more than weights, pickled code that is never run ({first_line(error)})") from None
    except Exception as error:  # torch, safetensors, pickle and zipfile raise many kinds for what is broken
        if is_out_of_memory(error):
            raise
        raise UserError(f"{path}: not a file of weights, or a broken one ({first_line(error)})") from None


def _archived(path: Path) -> Mapping[str, Any]:
    """What torch.save wrote since 1.6: an archive, which it never compresses."""
    with zipfile.ZipFile(path) as archive:
        if min(member.header_offset for member in archive.infolist()):  # another archive before it, which PyTorch may read
            raise ValueError("it does not begin with its first part")
        _check_members(archive.infolist(), path.stat().st_size)
        for entry in (entry for entry in archive.infolist() if entry.filename.endswith(".pkl")):
            _check_description(entry)
            if any(code.name == "GLOBAL" and "bytearray" in said for code, said, _ in genops(archive.read(entry))):
                raise ValueError(f"its {entry.filename} asks for bytes by their number, of any length, as no weights do")
        if bad := archive.testzip():
            raise ValueError(f"its part {bad} is damaged")
    found = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(found, Mapping):
        raise ValueError(f"it holds a {type(found).__name__} and no weights by name")
    return found


def _check_members(members: Sequence[zipfile.ZipInfo], length: int) -> None:
    """Raises ValueError for tensors that take more than so many bytes in memory, as a small file of compressed zeros would."""
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError("its tensors are compressed, as PyTorch never writes them")
    if sum(member.file_size for member in members) > length:
        raise ValueError("its tensors are longer than the file")


def _check_description(entry: zipfile.ZipInfo) -> None:
    """Raises ValueError for a pickle so long that it may take minutes and gigabytes to read."""
    if entry.file_size > MOST:
        raise ValueError(f"its {entry.filename} is larger than {MOST >> 20} MB")


def _plain(found: Mapping[str, Any], length: int) -> dict[str, Tensor]:
    """The weights alone, out of what a trainer put around them, by the names of the model; length: bytes of the file.

    Raises ValueError for tensors that would take far more memory than the file is long.
    """
    while holder := next((name for name in HOLDERS if isinstance(found.get(name), Mapping)), None):
        found = found[holder]
    found = {name: value for name, value in found.items() if isinstance(name, str) and _is_plain(value)}
    found = {name: tensor for name, tensor in found.items() if name not in DESCRIPTIONS}
    while prefix := next((start for start in PREFIXES if found and all(name.startswith(start) for name in found)), None):
        found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    for name, tensor in found.items():
        stored = tensor.untyped_storage().nbytes() // tensor.element_size()
        if tensor.numel() > stored:  # one number stands for many, as `expand` makes it
            raise ValueError(f"{name} has {tensor.numel()} numbers, of which the file holds {stored}; save a copy of its own")
    if sum(tensor.nbytes for tensor in found.values()) > SHARED * length:
        raise ValueError("its tensors share their numbers, so that they are many times as long as the file")
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in found.items()}


def _is_plain(value: Any) -> bool:
    """Whether this is a tensor with numbers of its own, neither sparse or nested nor an empty shell, nor of odd numbers."""
    is_dense = isinstance(value, Tensor) and value.layout == torch.strided and not value.is_nested
    return is_dense and value.device.type == "cpu" and value.dtype in NUMBERS


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive, which torch.load refuses to read as weights alone."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.split("/")[1:] == ["constants.pkl"] for name in archive.namelist())


class _Module:
    """Stands for any module of an archive: its attributes, and none of its code."""

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.attributes = dict(state)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Those of the module and of all in it. Raises ValueError for modules that hold each other, which never end."""
        waiting, count = [("", self)], 1
        while waiting:
            prefix, module = waiting.pop()
            for name, value in module.attributes.items():
                if isinstance(value, _Module):
                    waiting.append((f"{prefix}{name}.", value))
                    count += 1
                    if count > MODULES or len(prefix) > LONGEST:
                        raise ValueError(f"more than {MODULES} modules, or a name of more than {LONGEST} characters")
                elif isinstance(value, Tensor):
                    yield f"{prefix}{name}", value


class _Attributes(pickle.Unpickler):
    """Reads data.pkl of an archive: modules as their attributes, and tensors; all else is refused."""

    def __init__(self, file: Any, storage: Callable[[str, torch.dtype], Tensor]) -> None:
        super().__init__(file)
        self.storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        known = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("collections", "OrderedDict"): OrderedDict,
            ("torch.jit._pickle", "restore_type_tag"): lambda value, _: value,
            # their numbers are no weights, and copies of a long list would take any amount of memory
            **{("torch.jit._pickle", f"build_{kind}list"): lambda _: () for kind in ("int", "double", "bool", "tensor")},
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return known[module, name]

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, *_ = pid
        return self.storage(key, dtype)


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    return storage.as_strided(size, stride, offset)


def _scripted(path: Path) -> dict[str, Tensor]:
    """The parameters and buffers of a TorchScript archive."""
    with zipfile.ZipFile(path) as archive:
        held: dict[str, bytearray] = {}
        folder = next(name for name in archive.namelist() if name.endswith("/data.pkl")).removesuffix("data.pkl")

        def storage(key: str, dtype: torch.dtype) -> Tensor:
            if key not in held:
                entry = archive.getinfo(f"{folder}data/{key}")
                _check_members([entry], path.stat().st_size - sum(map(len, held.values())))
                held[key] = bytearray(archive.read(entry))
            return torch.frombuffer(held[key], dtype=dtype)

        _check_description(archive.getinfo(f"{folder}data.pkl"))
        content = archive.read(f"{folder}data.pkl")
        # pickle makes room for as many remembered values as the largest number of one says
        if any(code.name.endswith("PUT") and number > len(content) for code, number, _ in genops(content)):
            raise ValueError("its data.pkl numbers more values than it has bytes")
        module = _Attributes(BytesIO(content), storage).load()
    if not isinstance(module, _Module):
        raise ValueError("an archive without a module")
    return dict(module.tensors())


def misfit(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """The first tensor that is missing, too many or of another shape, and how many more there are; empty if all fit."""
    first, *others = [*_faults(found, wanted)] or [""]
    return first + (f", and {len(others)} tensors more" if others else "")


def _faults(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Iterator[str]:
    for name in [*wanted, *(name for name in found if name not in wanted)]:
        if name not in found:
            yield f"{name} is missing"
        elif name not in wanted:
            yield f"{name} is too many"
        elif found[name].shape != wanted[name].shape:
            shown_by = f" ({SHOWN_BY[name]})" if name in SHOWN_BY else ""
            yield f"{name} is {tuple(found[name].shape)} and should be {tuple(wanted[name].shape)}{shown_by}"
        elif found[name].is_floating_point() != wanted[name].is_floating_point():
            yield f"{name} holds {found[name].dtype} and should hold {wanted[name].dtype}"
