"""Model configs in open_clip's format. Nothing is ever downloaded.

A model is named by open_clip's name (`RN50`), by a JSON file (`config/models/*.json`), or by a folder as open_clip publishes
models, with an `open_clip_config.json`.

Where a model takes other pixels than CLIP's, its config says so under `preprocess_cfg`, as open_clip's own files do. The config
travels with the weights, so that whatever reads them gives them such pixels.
"""

import gzip
import logging
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from roclip.core.errors import UserError
from roclip.core.files import open_file, read_json

log = logging.getLogger(__name__)

PUBLISHED_CONFIG = "open_clip_config.json"  # in a folder as open_clip publishes models
PIXELS = "preprocess_cfg"
LEGAL = ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu")  # what open_clip's plain CLIP is made of
SIZES = {  # of a model and its parts: whole numbers from 1 to these, well above those of open_clip's largest models
    "embed_dim": 16_384, "width": 16_384, "layers": 1000, "heads": 1024, "head_width": 16_384, "patch_size": 1024,
    "context_length": 4096, "vocab_size": 1_000_000, "attn_pooler_queries": 4096, "attn_pooler_heads": 1024,
}  # fmt: skip
SWITCHES = ("quick_gelu", "no_causal_mask", "embed_cls", "output_tokens", "no_ln_pre")  # of open_clip, for which a text is true
LARGEST = 10_000_000  # of any other number
PARAMETERS = 10**10  # of a model
PATCHES = 16_384  # of an image, each of which attention compares with all; those of open_clip have 729 at most
DARKEST = 1e-6  # the least deviation of pixels, of which none is above 1, and none of their means outside [0, 1]
DONE = {"resize_mode": "shortest", "interpolation": "bicubic"}  # whatever a model says of it
TOKENIZER = ("bpe_path", "clean")  # what a model may say of its tokenizer
MERGES_LENGTH = 16 << 20  # bytes of a file of merges, unpacked; CLIP's has 3 MB
MERGES = r"config/models/[\w-]+\.txt\.gz"  # files that a published folder's config may name
# OpenAI's CLIP, per channel, of pixels in [0, 1]
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
UNCHANGED = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}  # pixels in [0, 1], as they are
BY_HAND = (
    "nothing is downloaded: get the folder by hand (open_clip_config.json, and open_clip_model.safetensors or "
    "open_clip_pytorch_model.bin) and name it"
)


def is_on_a_hub(name: str) -> bool:
    return name.startswith(("hf-hub:", "https:", "http:"))


def is_published(folder: str | Path) -> bool:
    """Whether this is a folder as open_clip publishes models."""
    return os.path.isfile(os.path.join(folder, PUBLISHED_CONFIG))  # noqa: PTH113, PTH118 (Path's raise for a long name)


def own_file(name: str) -> str | None:
    """The JSON file of a model that is the user's, from which its config is read; None for one of open_clip's."""
    if name.endswith(".json"):
        return name
    return os.path.join(name, PUBLISHED_CONFIG) if os.path.isdir(name) and not _of_open_clip(name) else None  # noqa: PTH112, PTH118


def _of_open_clip(name: str) -> Path | None:
    """open_clip's own file of a model.

    It is read here, for importing open_clip takes seconds, and its `get_model_config` asks the network about names like
    `hf-hub:...`.
    """
    (package,) = find_spec("open_clip").submodule_search_locations
    path = Path(package, "model_configs", f"{name}.json")
    return path if re.fullmatch(r"[\w.-]+", name) and os.path.exists(path) else None  # noqa: PTH110 (as above)


def model_config(name: str, pixels: str = "model") -> dict[str, Any]:
    """The config of a model by its name, JSON file or folder; `preprocess_cfg` is in it where its pixels are not CLIP's.

    pixels: `train.pixels`. Raises UserError for a name that is not known, for a model of which a part would be downloaded, and
    for one that is no plain CLIP.
    """
    said = _read(name)
    config = said.get("model_cfg", said)
    if not isinstance(config, dict) or not all(isinstance(config.get(part), dict) for part in ("vision_cfg", "text_cfg")):
        raise UserError(f"train.model: {name} has no vision_cfg and text_cfg; it must be in open_clip's model format")
    config = {key: value for key, value in config.items() if key != PIXELS}
    for fault in _faults(name, config):
        raise UserError(f"train.model: {fault}")
    if isinstance(said.get(PIXELS), dict):
        _check_pixels(name, said[PIXELS], config["vision_cfg"].get("image_size"))
    own = UNCHANGED if pixels == "none" else _moments(name, said.get(PIXELS) or {})
    return config if own == {"mean": [*MEAN], "std": [*STD]} else {**config, PIXELS: own}


def _faults(name: str, config: Mapping[str, Any]) -> Iterator[str]:
    """Why a model cannot be made: parts that would be downloaded, another kind of model, somebody else's file of merges."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    hub = ":" in str(vision.get("timm_model_name")) or text.get("hf_model_name") or text.get("hf_tokenizer_name")
    if hub or vision.get("timm_model_pretrained"):
        yield f"parts of {name} would be downloaded from a hub; take a model that has none"
    if other := sorted(config.keys() - LEGAL):
        yield f"{name} has {other[0][:50]!r}, which makes it another model than a plain CLIP; take one"
    whole = {key: config[key] for key in ("embed_dim", "quick_gelu") if key in config}
    parts = {"": {"embed_dim": None, **whole}, "vision_cfg.": vision, "text_cfg.": text}
    for where, key, value in ((where, key, value) for where, part in parts.items() for key, value in part.items()):
        if fault := _of_size(where + key, value) if key in SIZES else _of_number(value):
            yield f"{name} has {str(value)[:50]} as {where}{key}, {fault}; is it the right file?"
        if key in SWITCHES and type(value) is not bool:
            yield f"{name} has {str(value)[:50]!r} as {where}{key}, which is neither true nor false"
    if isinstance(vision.get("image_size"), list):
        size = str(vision["image_size"])[:50]
        yield f"{name} has a vision_cfg.image_size that is no number of pixels, as of a square: {size}"
    if (count := parameters(config)) > PARAMETERS:
        yield f"{name} would have {count:.1e} parameters, more than {PARAMETERS:.0e}; is it the right file?"
    if (count := patches(vision)) > PATCHES:
        yield f"{name} would cut an image into {count:.0f} patches, more than {PATCHES}; is it the right file?"
    settings = text.get("tokenizer_kwargs", {})
    if not isinstance(settings, dict) or settings.keys() - set(TOKENIZER):  # others of open_clip's download
        yield f"{name} has {str(settings)[:100]} as text_cfg.tokenizer_kwargs, which may hold {' and '.join(TOKENIZER)} alone"
        return
    merges = settings.get("bpe_path")
    published = is_published(name) or os.path.basename(name) == PUBLISHED_CONFIG  # noqa: PTH119 (as above)
    if published and merges is not None and not re.fullmatch(MERGES, str(merges)):
        yield f"{name} names a file of merges, {str(merges)[:100]}; it may name the project's own alone, in config/models"


def _of_size(key: str, value: Any) -> str | None:
    """What is wrong with a size."""
    most, of_resnet = SIZES[key.rpartition(".")[2]], key == "vision_cfg.layers" and isinstance(value, list)
    sizes = value if of_resnet else [value]
    if key == "vision_cfg.patch_size" and value is None:  # of timm's towers, which have their own
        return None
    whole = all(type(size) is int and 1 <= size <= most for size in sizes) and sum(sizes) <= most
    return None if whole else f"no whole number from 1 to {most}{', in all' if of_resnet else ''}"


def _of_number(value: Any) -> str | None:
    """What is wrong with any other value: with the numbers in it, also in lists of lists."""
    waiting, total = [value], 0
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, (list, dict)):
            waiting += inner if isinstance(inner, list) else inner.values()
        elif isinstance(inner, (int, float)):
            total += min(abs(inner), LARGEST + 1)  # integers may be of hundreds of digits
    return f"more than {LARGEST}" if total > LARGEST else None


def check_merges(path: Path) -> None:
    """Raises UserError or OSError for a file of merges that cannot be read, ValueError for one that unpacks to far too much."""
    with open_file(path) as file, gzip.open(file) as unpacked:  # a pipe would hang
        if len(unpacked.read(MERGES_LENGTH + 1)) > MERGES_LENGTH:
            raise ValueError(f"its merges are longer than {MERGES_LENGTH >> 20} MB")


def parameters(config: Mapping[str, Any]) -> float:
    """About how many parameters a model has, but for towers of timm, whose sizes go by their names."""

    def size(part: str, key: str, usual: float) -> float:
        return _size(config[part], key, usual)

    def transformer(part: str, width: float) -> float:
        return width**2 * size(part, "layers", 12) * (4 + 2 * abs(size(part, "mlp_ratio", 4)))

    embedding, layers = config["embed_dim"], config["vision_cfg"].get("layers")
    width, wide = size("text_cfg", "width", 512), size("vision_cfg", "width", 768)
    words = size("text_cfg", "vocab_size", 49408) + size("text_cfg", "context_length", 77)
    count = transformer("text_cfg", width) + width * (words + embedding)
    if config["vision_cfg"].get("timm_model_name"):
        return count + embedding**2
    if isinstance(layers, list):  # a ResNet, of which each stage is twice as wide as the one before
        stages = sum(17 * blocks * (wide * 2**stage) ** 2 for stage, blocks in enumerate(layers[:4]))
        return count + stages + 32 * wide * (3 * 32 * wide + embedding)
    patch = size("vision_cfg", "patch_size", 16)
    return count + transformer("vision_cfg", wide) + wide * (3 * patch**2 + patches(config["vision_cfg"]) + embedding)


def patches(vision: Mapping[str, Any]) -> float:
    """Into how many patches a vision transformer cuts an image; 0 for a ResNet and for towers of timm, which have their own."""
    if vision.get("timm_model_name") or isinstance(vision.get("layers"), list):
        return 0
    return (abs(_size(vision, "image_size", 224)) / _size(vision, "patch_size", 16)) ** 2


def _size(part: Mapping[str, Any], key: str, usual: float) -> float:
    value = part.get(key, usual)
    return value if isinstance(value, (int, float)) else usual


def _read(name: str) -> dict[str, Any]:
    """What the file of a model holds."""
    path = own_file(name) or _of_open_clip(name)
    if is_on_a_hub(name):
        raise UserError(f"train.model: '{name}' is on a hub, and {BY_HAND}")
    if path is None:
        raise UserError(
            f"train.model: '{name}' is neither the name of an open_clip model nor a .json file, nor a folder that is there"
        )
    if path != name and not os.path.exists(path):  # noqa: PTH110
        raise UserError(f"train.model: {name}: no {PUBLISHED_CONFIG} in this folder; take open_clip's name of the model")
    try:
        said = read_json(Path(path))
    except UserError as error:
        raise UserError(f"train.model: {error}") from None
    return said if isinstance(said, dict) else {}


def _check_pixels(name: str, preprocess: Mapping[str, Any], side: Any) -> None:
    """Raises UserError for pixels that are not given to a model: no colours, or of another size; side: that of its images.

    That images are brought to their size in another way than it says is a line in the log.
    """
    mode, size = preprocess.get("mode"), preprocess.get("size")
    if mode not in (None, "RGB"):
        raise UserError(f"train.model: {name}: {PIXELS}.mode is {str(mode)[:50]!r}; take a model of RGB")
    if None not in (size, side) and size not in (side, [side, side]):
        differs = f"{PIXELS}.size is {str(size)[:50]}, and vision_cfg.image_size {str(side)[:50]}"
        raise UserError(f"train.model: {name}: {differs}; write the same in both")
    others = [f"{key} {str(preprocess[key])[:50]!r}" for key in DONE if preprocess.get(key) not in (None, DONE[key])]
    if others:
        _say_what_is_done(name, " and ".join(others))


@cache
def _say_what_is_done(name: str, others: str) -> None:
    done = "the shorter side is brought to the model's, bicubic, and the centre square is taken"
    log.warning("train.model: %s: %s of its %s is passed over: %s", name, others, PIXELS, done)


def _moments(name: str, preprocess: Any) -> dict[str, list[float]]:
    """Mean and standard deviation as a config gives them, CLIP's where it gives none."""
    found = {}
    for key, usual in (("mean", MEAN), ("std", STD)):
        values = preprocess.get(key, [*usual]) if isinstance(preprocess, Mapping) else None
        if not isinstance(values, list) or len(values) != 3 or not all(type(value) in (int, float) for value in values):
            raise UserError(f"train.model: {name}: {PIXELS}.{key} must be three numbers, one for each channel")
        least = DARKEST if key == "std" else 0
        if not all(least <= value <= 1 for value in values):
            said = f"{PIXELS}.{key} must be from {least:g} to 1, of pixels from 0 to 1"
            raise UserError(f"train.model: {name}: {said}; of pixels from 0 to 255 divide it by 255")
        found[key] = [float(value) for value in values]
    return found


def pixel_moments(config: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation, per channel, of the pixels in [0, 1] that a model takes."""
    own = config.get(PIXELS, {})
    return tuple(own.get("mean", MEAN)), tuple(own.get("std", STD))
