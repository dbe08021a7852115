"""Weights for a model to start from: of a folder of checkpoints, or of a file that somebody else may have made."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from roclip.core.errors import UserError
from roclip.model.weight_files import PUBLISHED, read_tensors


def latest(folder: Path) -> Path:
    """The checkpoint of a folder that is of the latest epoch. Raises UserError where there is none."""
    epochs = {path: _epoch(path) for path in sorted(folder.glob("*.safetensors"))}
    if not epochs:
        raise UserError(f"{folder}: no checkpoints (*.safetensors) in it; train the model first")
    return max(epochs, key=epochs.__getitem__)


def read_weights(source: Path, model: torch.nn.Module) -> dict[str, Tensor]:
    """The weights of a file, of a folder as open_clip publishes models, or of the latest checkpoint of a folder of ours.

    They fit a model's `load_state_dict`. Raises UserError as `read_tensors`, for tensors that are missing, too many or of
    another shape, and for values that are NaN or infinite.
    """
    published = [source / name for name in PUBLISHED if (source / name).exists()]
    path = published[0] if published else latest(source) if source.is_dir() else source
    found, wanted = read_tensors(path), model.state_dict()
    if fault := misfit(found, wanted):
        raise UserError(f"{path}: weights of another model: {fault}; set train.model to the model that they are of")
    for name, tensor in found.items():
        if not torch.isfinite(tensor).all():
            raise UserError(f"{path}: {name} holds values that are NaN or infinite; these weights cannot be used")
    return found


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
            yield f"{name} is {tuple(found[name].shape)} and should be {tuple(wanted[name].shape)}"


def _epoch(path: Path) -> int:
    """Of which epoch a checkpoint says it is; 0 for one that says nothing, or nonsense."""
    try:
        with safe_open(path, "pt") as file:
            record = json.loads((file.metadata() or {}).get("record", "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError):
        return 0
    epoch = record.get("epoch") if isinstance(record, dict) else None
    return epoch if isinstance(epoch, int) else 0
