"""What a device can do at best, measured: multiplications of matrices and copies in memory, as limits of what runs on it.

On the CPU, seconds are processor time over the number of threads: others on the machine do not enter it.
"""

import os
import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode


def processor_seconds() -> float:
    """Seconds that this process and its ended children have spent on a core, all threads together."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def seconds(work: Callable[[], object], device: torch.device, repeats: int = 7) -> float:
    """The least seconds that `work` takes, after one warm-up."""

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            return time.perf_counter()
        return time.process_time() / torch.get_num_threads()

    work()
    spans = []
    for _ in range(repeats):
        started = now()
        work()
        spans.append(now() - started)
    return min(spans)


def product_rate(device: torch.device, dtype: torch.dtype, rows: int, inner: int, columns: int) -> float:
    """FLOP/s of the product (rows, inner) @ (inner, columns); one multiplication and one addition are two FLOPs."""
    left, right = torch.randn(rows, inner).to(device, dtype), torch.randn(inner, columns).to(device, dtype)
    return 2 * rows * inner * columns / seconds(lambda: left @ right, device)


def copy_rate(device: torch.device, megabytes: int = 256) -> float:
    """Bytes/s of a copy from memory to memory that no cache holds; a byte that is read and written counts twice."""
    source = torch.ones(megabytes << 20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / seconds(lambda: target.copy_(source), device)


def flops(work: Callable[[], object]) -> int:
    """FLOPs of the matrix products, convolutions and attention in what `work` does, backward passes included."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()
