"""What this machine does at best: products of matrices and copies in memory, the limits of what runs on it.

On the CPU, seconds are processor time over the number of threads, so that others on the machine do not enter them. The module
also holds what the benchmarks share: clocks, loops in turn, FLOPs. Prints a table and writes benchmarks/limits.csv.
"""

import os
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from roclip.core.files import write_table

COLUMNS = ("what", "value")


def processor_seconds() -> float:
    """Seconds that this process and its ended children have spent on a core, all threads together."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def in_turn(
    loops: Mapping[Any, Callable[[], object]], repeats: int, clock: Callable[[], float] = processor_seconds
) -> dict[Any, list[float]]:
    """Seconds of each loop, `repeats` times: all of them once as a warm-up, then A B A B."""
    for loop in loops.values():
        loop()
    spans = {name: [] for name in loops}
    for _ in range(repeats):
        for name, loop in loops.items():
            started = clock()
            loop()
            spans[name].append(clock() - started)
    return spans


def ratio(ours: list[float], theirs: list[float]) -> float:
    """How many times as fast as theirs ours is: the median over pairs of spans that were measured one after the other."""
    return statistics.median(b / a for a, b in zip(ours, theirs, strict=True))


def wait(device: torch.device) -> None:
    """Until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def best_seconds(work: Callable[[], object], device: torch.device, repeats: int = 7) -> float:
    """The least seconds that `work` takes, after a warm-up."""

    def clock() -> float:
        wait(device)
        return time.perf_counter() if device.type == "cuda" else time.process_time() / torch.get_num_threads()

    return min(in_turn({"work": work}, repeats, clock)["work"])


def product_rate(device: torch.device, dtype: torch.dtype, side: int = 1024) -> float:
    """FLOP/s of a product of two square matrices; a multiplication and an addition are two FLOPs."""
    left, right = torch.randn(2, side, side).to(device, dtype)
    return 2 * side**3 / best_seconds(lambda: left @ right, device)


def copy_rate(device: torch.device, megabytes: int = 256) -> float:
    """Bytes/s of a copy that no cache of a CPU holds; a byte that is read and written counts twice."""
    source = torch.ones(megabytes << 20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / best_seconds(lambda: target.copy_(source), device)


def flops(work: Callable[[], object]) -> int:
    """FLOPs of the products, convolutions and attention in what `work` does, backward passes included."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def processor() -> str:
    """The name of this machine's processor."""
    names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return names[0] if names else "unknown"


def main() -> None:
    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    values = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory, GB": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9:.0f}",
        "PyTorch": torch.__version__,
        "date": date.today().isoformat(),
        "products of float32 matrices of 1024 x 1024, GFLOP/s per core": f"{product_rate(cpu, torch.float32) / 1e9:.0f}",
        "products of bfloat16 matrices of 1024 x 1024, GFLOP/s per core": f"{product_rate(cpu, torch.bfloat16) / 1e9:.0f}",
        "copies in memory, GB/s": f"{copy_rate(cpu) / 1e9:.0f}",
    }
    rows = [{"what": what, "value": value} for what, value in values.items()]
    for row in rows:
        print("{what:65} {value}".format(**row))
    write_table(Path("benchmarks/limits.csv"), COLUMNS, rows)


if __name__ == "__main__":
    main()
