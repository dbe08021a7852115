"""A training whose memory does not suffice: one line that says how many pairs at a time would fit.

What the gradients need of each pair is counted, tensor by tensor, in a forward pass of few pairs. For RN50 in bfloat16 that
gives 36.7 GB at 512 pairs, weights and images included; an H100 measured 36.8.
"""

import logging
import resource
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import torch
from torch import Tensor

from roclip.core.errors import UserError, is_out_of_memory
from roclip.model.towers import Runtime
from roclip.training.trainer import Training

log = logging.getLogger(__name__)

SPARE = 0.1  # of the memory: for what kernels work with, and the holes between tensors


def fitting(part: int, below: int, fixed: float, a_pair: float, memory: float) -> int | None:
    """How many pairs at a time fit into memory: the largest such divisor of a device's part of a batch that is below `below`.

    Bytes: fixed, whatever that number is; a_pair, for each of them; memory, of which a tenth is left alone. None where not even
    one fits.
    """
    room = (1 - SPARE) * memory - fixed
    return max((n for n in range(1, below) if part % n == 0 and n * a_pair <= room), default=None)


def bytes_a_pair(model: torch.nn.Module, config: dict[str, Any], runtime: Runtime) -> tuple[int, int]:
    """What the gradients need of an image, and of a caption: bytes that a forward pass of two leaves beyond one's.

    In evaluation mode, in which batch norms keep as much and wait for no other rank, and not compiled, which takes less.
    """
    size, context = config["vision_cfg"]["image_size"], config["text_cfg"].get("context_length", 77)
    images = torch.zeros(2, 3, size, size, device=runtime.device).contiguous(memory_format=torch.channels_last)
    tokens = torch.ones(2, context, dtype=torch.long, device=runtime.device)
    model.eval()
    try:
        with torch.compiler.set_stance("force_eager"), runtime.autocast(), runtime.attention():
            towers = (model.encode_image, images), (model.encode_text, tokens)
            return tuple(_left(tower, x) - _left(tower, x[:1]) for tower, x in towers)
    finally:
        model.train()


def _left(tower: Callable[..., Tensor], inputs: Tensor) -> int:
    """Bytes that a forward pass leaves for the gradients; a storage that several tensors share counts once."""
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        tower(inputs, normalize=True)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def held_and_free(device: torch.device) -> tuple[int, int]:
    """Bytes that this process holds of the GPU, or of memory, and that it may still take, within its limits."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        held, (free, total) = torch.cuda.memory_reserved(device), torch.cuda.mem_get_info(device)
        return held, min(free, int(torch.cuda.get_per_process_memory_fraction(device) * total) - held)
    used, free = psutil.Process().memory_info(), psutil.virtual_memory().available
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return used.rss, free if limit == resource.RLIM_INFINITY else min(free, limit - used.vms)


def to_come(training: Training) -> int:
    """Bytes of a step beside what its pairs leave: gradients, AdamW's moments before its first step, the images of a batch."""
    weights = sum(parameter.nbytes for parameter in training.model.parameters())
    images = part_of_device(training) * 3 * training.config["vision_cfg"]["image_size"] ** 2 * 4
    return weights * (1 if training.optimizer.state else 3) + 2 * images  # as they are, and normalised


def part_of_device(training: Training) -> int:
    return training.options.batch_size // training.ranks.count


@contextmanager
def explained(training: Training) -> Iterator[None]:
    """Raises UserError where memory runs out in here."""
    try:
        yield
        return
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # or all of the step would stay in memory
    training.optimizer.zero_grad(set_to_none=True)
    raise UserError(_line(training))


def _line(training: Training) -> str:
    (_, free), part = held_and_free(training.device), part_of_device(training)
    now = training.options.micro_batch or part
    kind = "GPU memory" if training.device.type == "cuda" else "memory"
    try:
        fits = fitting(part, now, to_come(training), max(bytes_a_pair(training.model, training.config, training.runtime)), free)
    except RuntimeError:  # there is not even room to count
        fits = None
    said = f"train.micro_batch: {now} pairs at a time do not fit into the {free / 1e9:.2f} GB of {kind} that a step can have"
    if fits:
        return f"{said}; {fits} would, or make train.batch_size smaller"
    return f"{said}, nor do fewer; train on a device with more of it, or a smaller train.model"


def warn(training: Training, peak: int) -> None:
    """Say so where steps that were timed took nearly all memory, at their peak `peak` bytes."""
    memory = sum(held_and_free(training.device))
    if peak <= (1 - SPARE) * memory:
        return
    part, each = part_of_device(training), bytes_a_pair(training.model, training.config, training.runtime)
    now = training.options.micro_batch
    held = now * max(each) if now else part * sum(each)
    if fits := fitting(part, now or part, peak - held, max(each), memory):
        said = "steps take %.2f of %.2f GB of memory; should that run out, set train.micro_batch to %d"
        log.warning(said, peak / 1e9, memory / 1e9, fits)
