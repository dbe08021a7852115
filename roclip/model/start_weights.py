"""Weights for a model to start from: of a folder of checkpoints, or of a file that somebody else may have made."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from roclip.core.errors import UserError
from roclip.core.files import open_file
from roclip.model.configs import PIXELS, PUBLISHED_CONFIG, UNCHANGED, is_published, model_config, parameters
from roclip.model.towers import Towers, checkpoints_in
from roclip.model.weight_files import PUBLISHED, is_torchscript, misfit, read_tensors

LARGEST_SCALE = 10.0  # logarithm of the scale of the logits; CLIP's own is 4.6 at most, and its scale begins at 14


def latest(folder: Path) -> Path:
    """The checkpoint of a folder that is of the latest epoch.

    Raises UserError as `checkpoints_in` and `_record`, and where there are several of which none says of which epoch it is.
    """
    epochs = {path: _epoch(path) for path in checkpoints_in(folder)}
    first, *others = epochs
    if others and not any(epochs.values()):
        raise UserError(f"{folder}: {first.name} and {others[0].name} do not say of which epoch they are; name the file")
    return max(epochs, key=epochs.get)


def weights_of(source: Path) -> Path:
    """The file that is meant: a file, the one in a folder as open_clip publishes models, or a folder's latest checkpoint.

    Raises UserError as `latest`, and for such a folder without weights.
    """
    found = [source / name for name in PUBLISHED if (source / name).exists()]
    if bool(found) != is_published(source):
        missing = PUBLISHED_CONFIG if found else " or ".join(PUBLISHED)
        raise UserError(f"{source}: no {missing} in it; get the folder whole, or name a file of weights and its model")
    return found[0] if found else latest(source) if source.is_dir() else source


def refuse_small_file(source: Path, config: Mapping[str, Any]) -> None:
    """Raises UserError for a file that cannot hold the weights of a model, before that is made: it may take gigabytes."""
    path, count = weights_of(source), parameters(config)
    if path.is_file() and path.stat().st_size < count / 2:  # a number has one byte at the least; their count is an estimate
        raise UserError(
            f"{path}: weights of another model: {path.stat().st_size} bytes, and the model has about {count:.0f} parameters; "
            "set train.model to the model that they are of"
        )


def read_weights(source: Path, model: Towers) -> dict[str, Tensor]:
    """The weights of a file, of a folder as open_clip publishes models, or of the latest checkpoint of a folder of ours.

    They fit a model's `load_state_dict`. Raises UserError as `read_tensors`, for tensors that are missing, too many or of
    another shape, for values that are NaN or infinite, for a scale of the logits that is none, and for weights that fit but are
    known to be of another model.
    """
    path = weights_of(source)
    found, wanted = read_tensors(path), model.state_dict()
    if fault := misfit(found, wanted):
        raise UserError(f"{path}: weights of another model: {fault}; set train.model to the model that they are of")
    for name, tensor in found.items():
        if not torch.isfinite(tensor).all():
            raise UserError(f"{path}: {name} holds values that are NaN or infinite; these weights cannot be used")
    if (scale := float(found["logit_scale"])) > LARGEST_SCALE:
        raise UserError(
            f"{path}: logit_scale is {scale:.6g}, the scale itself and not its logarithm, which is 4.6 at most in CLIP; save "
            "the logarithm"
        )
    _check_told(source, path, model.config)
    return found


def _check_told(source: Path, path: Path, config: Mapping[str, Any]) -> None:
    """Raises UserError where what stands beside the weights, or their form, tells of another model than the config.

    Models of one architecture differ in what no tensor shows: QuickGELU or GELU, heads, pixels.
    """
    if is_published(source):
        said = model_config(str(source))
        keys = {*said, *config} - ({PIXELS} if config.get(PIXELS) == UNCHANGED else set())
        if differing := sorted(key for key in keys if said.get(key) != config.get(key)):
            raise UserError(f"{source}: its {PUBLISHED_CONFIG} has another {differing[0]}; set train.model to this folder")
    elif isinstance(said := _record(path).get("model_config"), dict):
        if differing := sorted(key for key in {*said, *config} if said.get(key) != config.get(key)):
            raise UserError(
                f"{path}: its record has another {differing[0]}; set train.model and train.pixels as it was trained with"
            )
    elif is_torchscript(path) and not config.get("quick_gelu"):
        raise UserError(
            f"{path}: a TorchScript archive, as OpenAI published CLIP, whose models have QuickGELU; set train.model to "
            "RN50-quickgelu or the like"
        )


def _record(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself; nothing for one that says nothing, or nonsense. UserError for what is no file."""
    open_file(path).close()
    try:
        with safe_open(path, "pt") as file:
            record = json.loads((file.metadata() or {}).get("record", "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _epoch(path: Path) -> int:
    epoch = _record(path).get("epoch")
    return epoch if isinstance(epoch, int) else 0
