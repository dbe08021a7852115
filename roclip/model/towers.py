"""The image and caption towers, their tokenizer and their weight files; the networks are open_clip's."""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip.timm_model
import psutil
import timm
import torch
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import text_global_pool
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from roclip.core.atomic import atomic
from roclip.core.environment import environment_number
from roclip.core.errors import UserError, first_line, is_out_of_memory
from roclip.core.files import open_file
from roclip.core.provenance import fingerprint
from roclip.core.words import counted
from roclip.model.configs import PIXELS, check_merges, model_config, parameters, pixel_moments
from roclip.model.pixels import normalise, to_pixels
from roclip.model.small_resnet import small_resnet
from roclip.model.weight_files import misfit

HOME = Path(__file__).parents[2]  # the project's folder
MAX_LOGIT_SCALE = math.log(100)
EPOCH = "epoch_"  # how the names of weights begin that are kept of an epoch and not judged
# what a weight file says of itself, in JSON
RECORD = {
    "model_config": dict, "tokenizer": str, "epoch": int, "options": dict, "inputs": dict, "commit": str, "versions": dict,
}  # fmt: skip


class _Timm:
    """What open_clip takes for timm: our own tower by its name, without all that timm imports, and timm for any other."""

    @staticmethod
    def create_model(name: str, **settings: Any) -> torch.nn.Module:
        return small_resnet() if name == "small_resnet" else timm.create_model(name, **settings)


open_clip.timm_model.timm = _Timm


class Towers(CLIP):
    """open_clip's, with a caption tower that also takes tokens of which the last columns are cut off (`cut`)."""

    config: dict[str, Any]  # that they were made of

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        """Caption features: (n, up to context) -> (n, d). Of positions and causal mask it uses what the tokens need."""
        length, kind = text.shape[1], self.transformer.get_cast_dtype()
        mask = None if self.attn_mask is None else self.attn_mask[:length, :length]
        x = self.token_embedding(text).to(kind) + self.positional_embedding[:length].to(kind)
        x = self.ln_final(self.transformer(x, attn_mask=mask))
        x = text_global_pool(x, text, self.text_pool_type, eos_token_id=self.text_eos_id)
        if self.text_projection is not None:
            x = self.text_projection(x) if isinstance(self.text_projection, torch.nn.Linear) else x @ self.text_projection
        return functional.normalize(x, dim=-1) if normalize else x

    def cut(self, tokens: Tensor, multiple: int) -> Tensor:
        """Without the columns that none of these captions needs: (n, context) -> (n, a multiple, context at most).

        With a causal mask, what comes after the end token never reaches it. Towers that see all tokens, or take the features
        of another one, get them all. The end token is looked for, not the padding, whose 0 is also a `!` in CLIP's vocabulary.
        """
        if self.attn_mask is None or self.text_pool_type not in ("argmax", "eos"):
            return tokens
        ends = (tokens if self.text_pool_type == "argmax" else (tokens == self.text_eos_id).int()).argmax(1)
        longest = int(ends.max()) + 1
        return tokens[:, : -(-longest // multiple) * multiple].contiguous()


def create(config: dict[str, Any]) -> Towers:
    """Freshly initialised towers in channels-last layout; the weights depend on torch's global random state.

    Raises UserError for a config that open_clip's CLIP cannot be made of, or whose weights do not fit into the memory.
    """
    try:
        needed, free = 4 * parameters(config), psutil.virtual_memory().available
        if needed > free:  # bytes; the system would end the process
            raise ValueError(f"its weights take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory are free")
        model = Towers(**{key: value for key, value in config.items() if key != PIXELS})
    except Exception as error:  # open_clip and timm raise many kinds for settings that are not theirs
        if is_out_of_memory(error):
            raise
        raise UserError(f"train.model: no model can be made of its config: {first_line(error)}") from None
    model.config = config
    return model.to(memory_format=torch.channels_last)


def refuse_misfit(model: Towers) -> None:
    """Raises UserError for a new model that cannot encode what it is to encode: sizes that do not fit show only then."""
    config, training = model.config, model.training
    size = config["vision_cfg"]["image_size"]
    try:
        with torch.no_grad():
            model.eval()  # statistics of batch norms stay as they are
            images = model.encode_image(torch.zeros(2, 3, size, size))
            captions = model.encode_text(torch.as_tensor(tokenizer(config)(["a cat", "two dogs"])))
            shapes = [tuple(images.shape), tuple(captions.shape)]
        fault = ""
        if shapes != [(2, config["embed_dim"])] * 2:
            fault = f"features of images and captions are {shapes[0]} and {shapes[1]}, not (2, {config['embed_dim']})"
        elif torch.equal(captions[0], captions[1]):
            fault = "all captions have the same features; is its end token the tokenizer's, and its context long enough?"
    except UserError:
        raise
    except Exception as error:  # PyTorch, open_clip and timm raise many kinds
        if is_out_of_memory(error):
            raise
        fault = first_line(error)
    finally:
        model.train(training)
    if fault:
        raise UserError(f"train.model: the model of its config cannot encode images and captions: {fault}")


def tokenizer(config: dict[str, Any]) -> SimpleTokenizer:
    """The tokenizer of a model. A caption that is too long keeps its end token, which CLIP's caption tower pools.

    Raises UserError for a config that open_clip's tokenizer cannot be made of.
    """
    text = config["text_cfg"]
    try:
        settings = dict(text.get("tokenizer_kwargs", {}))
        if (merges := settings.get("bpe_path")) and not Path(merges).exists():  # the project's own file, from another folder
            settings["bpe_path"] = str(HOME / merges)
        if merges:
            check_merges(Path(settings["bpe_path"]))
        return SimpleTokenizer(context_length=text.get("context_length", 77), **settings)
    except Exception as error:  # of settings that are not its own, or a file that holds no merges
        raise UserError(f"train.model: no tokenizer can be made of its text_cfg: {first_line(error)}") from None


def fingerprint_of(tokenizer: SimpleTokenizer) -> str:
    """The sha256 of what decides which tokens a caption is read as: vocabulary, merges and context length."""
    return fingerprint(tokenizer.encoder, list(tokenizer.bpe_ranks), tokenizer.context_length)


def computes_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16; a CPU without takes some 30 times as long for it as for float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    # on x86 the first two, on ARM the last
    return torch.backends.mkldnn.is_available() and any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


@dataclass(frozen=True)
class Runtime:
    """Where and how the towers compute: the device, and bfloat16 autocast or float32."""

    device: torch.device
    bf16: bool

    @classmethod
    def choose(cls, precision: str, threads: int, device: str = "auto") -> "Runtime":
        """Where to compute: `device` is cpu, cuda, or auto, the GPU when there is one; `precision` is bf16, float32, or auto,
        bf16 where the device `computes_bf16`.

        `threads` is for the CPU; float32 is without TF32 on a GPU. Each rank of torchrun takes the GPU of its number. Raises
        UserError where there is none; auto does too where CUDA_VISIBLE_DEVICES names GPUs, as it does in a job that asked for
        some, and PyTorch sees none of them.
        """
        torch.set_num_threads(threads)
        chosen = cls._device(device)
        bf16 = computes_bf16(chosen) if precision == "auto" else precision == "bf16"
        # TF32 keeps 10 bits; beside bfloat16 it is for convolutions alone, for the search in a pool is in float32
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = bf16, False
        return cls(chosen, bf16)

    @staticmethod
    def _device(device: str) -> torch.device:
        number = environment_number("LOCAL_RANK", 0)
        found = torch.cuda.device_count()
        asked = os.environ.get("CUDA_VISIBLE_DEVICES", "") not in ("", "-1", "NoDevFiles")
        if device == "cpu" or (device == "auto" and not found and not asked):
            return torch.device("cpu")
        processes = max(number + 1, environment_number("LOCAL_WORLD_SIZE", 1))  # all ranks say so; none waits for another
        if found < processes:
            raise UserError(
                f"train.device: {counted(processes, 'GPU')} needed, and PyTorch sees {found}; use cpu, or fewer processes"
            )
        try:
            torch.cuda.set_device(number)
        except RuntimeError as error:  # of a driver or a GPU that is at fault, or held by somebody else
            raise UserError(f"train.device: GPU {number} cannot be used ({first_line(error)}); see nvidia-smi") from None
        return torch.device("cuda", number)

    @property
    def arithmetic(self) -> str:
        return "bf16" if self.bf16 else "float32"

    def cut(self, model: Towers, tokens: Tensor) -> Tensor:
        """Tokens on the host as `model.cut` shortens them; for GPUs to a multiple of 8, of which attention has fast kernels."""
        return model.cut(tokens, 1 if self.device.type == "cpu" else 8)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def attention(self) -> sdpa_kernel:
        """On CPUs the plain attention kernel: the fused one is several times slower backwards at short contexts."""
        return sdpa_kernel(SDPBackend.MATH if self.device.type == "cpu" else list(SDPBackend.__members__.values())[1:])


def repeat_to_the_bit() -> None:
    """On GPUs only kernels that give the same bits each time, from now on in this process. To be called before CUDA starts."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False


def encode_images(model: Towers, images: np.ndarray, runtime: Runtime, batch: int = 500) -> Tensor:
    """Un-normalised features of uint8 images, without augmentation: (n, 3, s, s) -> (n, d), float32 on the CPU."""
    with torch.no_grad(), runtime.autocast(), runtime.attention():
        parts = [
            model.encode_image(normalise(to_pixels(part.to(runtime.device)), *pixel_moments(model.config))).float().cpu()
            for part in torch.from_numpy(images).split(batch)
        ]
    return torch.cat(parts)


def encode_tokens(model: Towers, tokens: Tensor, runtime: Runtime, batch: int = 500) -> Tensor:
    """Normalised caption features: (n, context) -> (n, d), float32 on the CPU."""
    with torch.no_grad(), runtime.autocast(), runtime.attention():
        parts = [
            model.encode_text(runtime.cut(model, part).to(runtime.device), normalize=True).float().cpu()
            for part in tokens.split(batch)
        ]
    return torch.cat(parts)


def save(model: torch.nn.Module, path: Path, record: dict[str, Any]) -> None:
    """Write the weights, and beside them in the same file a record of what they are, with the keys of RECORD."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic(path, sum(tensor.nbytes for tensor in weights.values())) as temporary:
        save_file(weights, temporary, metadata={"record": json.dumps(record, sort_keys=True)})


def read_record(path: Path) -> dict[str, Any]:
    """What a weight file says of itself. Raises UserError for a file that `save` did not write."""
    open_file(path).close()
    try:
        with safe_open(path, "pt") as file:
            record = json.loads((file.metadata() or {})["record"])
        if all(isinstance(record[key], kind) for key, kind in RECORD.items()) and isinstance(record["options"]["model"], str):
            return record
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError):  # no such record, or no JSON
        pass
    raise UserError(f"{path}: not a checkpoint of roclip train; train the model again")


def load(path: Path) -> tuple[Towers, dict[str, Any]]:
    """Towers in evaluation mode and the record that was saved with them. The file may be untrusted.

    Raises UserError for a file that `save` did not write, and for one of another model or tokenizer than there is now.
    """
    record = read_record(path)
    name, config = record["options"]["model"], record["model_config"]
    try:
        now = model_config(name, record["options"].get("pixels", "model"))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if config != now:
        keys = ", ".join(sorted(key for key in {*config, *now} if config.get(key) != now.get(key)))
        raise UserError(f"{path}: trained with another model config: {name} differs in {keys} now; train the model again")
    if record["tokenizer"] != fingerprint_of(tokenizer(config)):
        raise UserError(f"{path}: trained with another tokenizer: vocabulary or merges differ now; train the model again")
    model, found = create(config), load_file(path)
    if fault := misfit(found, model.state_dict()):
        raise UserError(f"{path}: trained with other towers than {name} has now ({fault}); train the model again")
    model.load_state_dict(found)
    return model.eval(), record


def checkpoints_in(folder: Path, all_epochs: bool = True) -> list[Path]:
    """The checkpoints of a folder, or those alone that are judged. Raises UserError where there is none."""
    found = [path for path in sorted(folder.glob("[!.]*.safetensors")) if all_epochs or not path.name.startswith(EPOCH)]
    if not found:
        raise UserError(f"{folder}: no checkpoints (*.safetensors) in it; train the model first")
    return found


def load_all(folder: Path) -> dict[str, tuple[Towers, dict[str, Any]]]:
    """Every checkpoint of a model that is judged, by its name, as `load` gives it.

    Raises UserError as it does, and when there is none.
    """
    return {path.stem: load(path) for path in checkpoints_in(folder, all_epochs=False)}
