"""Batches on their way to the device: the copies of one run beside the step before it, so that a GPU does not wait for them.

On the CPU there is nothing to bring, and batches are handed on as they are.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

log = logging.getLogger(__name__)

Tensors = tuple[Tensor | None, ...]


def empty(device: torch.device, *shape: int) -> Tensor:
    """uint8 memory of the host, pinned where a GPU is to copy from it: from other memory a copy holds up the host."""
    return torch.empty(shape, dtype=torch.uint8, pin_memory=device.type == "cuda")


@contextmanager
def pinned(memory: Tensor, device: torch.device) -> Iterator[None]:
    """Pin memory that is there already, such as what processes share, as long as a GPU copies from it."""
    if device.type == "cpu":
        yield
        return
    fault = int(torch.cuda.cudart().cudaHostRegister(memory.data_ptr(), memory.nbytes, 0))
    if fault:
        log.warning(
            "%.0f MB of images could not be pinned (CUDA error %d): each batch is copied twice", memory.nbytes / 1e6, fault
        )
    try:
        yield
    finally:
        torch.cuda.synchronize(device)  # once an epoch: copies from it must be over
        if not fault:
            torch.cuda.cudart().cudaHostUnregister(memory.data_ptr())


def mark(device: torch.device) -> torch.cuda.Event | None:
    """A mark behind the copies that were asked for so far, by what `bring` is given; None where there are none."""
    return torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None


def bring(made: Iterator[Tensors], device: torch.device) -> Iterator[Tensors]:
    """What is made in the host's memory, tensor by tensor on the device.

    On a GPU the next ones are made and their copies begun before the last ones are handed out: while they are made, the GPU
    computes the step before, and while they are copied, the one that is to come.
    """
    if device.type == "cpu":
        yield from made
        return
    copies, waiting = torch.cuda.Stream(device), None
    while True:
        with torch.cuda.stream(copies):
            tensors = next(made, None)
            following = None if tensors is None else (tuple(copy(tensor, device) for tensor in tensors), mark(device))
        if waiting is not None:
            yield _arrived(*waiting)
        if following is None:
            return
        waiting = following


def copy(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    """A tensor of the host on the device; the host does not wait for the copy."""
    if tensor is None or tensor.device == device:
        return tensor
    return (tensor if tensor.is_pinned() else tensor.pin_memory()).to(device, non_blocking=True)


def _arrived(tensors: Tensors, copied: torch.cuda.Event) -> Tensors:
    """Tensors that the current stream may use: it waits for their copies, and their memory is not reused before it is done."""
    current = torch.cuda.current_stream()
    current.wait_event(copied)
    for tensor in tensors:
        if tensor is not None:
            tensor.record_stream(current)
    return tensors
