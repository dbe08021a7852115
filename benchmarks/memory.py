"""What `train.micro_batch` saves and costs: the peak memory of a process and the time of a step, RN50 at 224 pixels on a CPU.

Each size is a process of its own that takes two steps of CLIP on a batch of 32 made-up pairs. `activations` is its peak without
that of a process whose micro-batch is one pair. Prints a table and writes benchmarks/memory.csv.
"""

import resource
import subprocess
import sys
import time
from pathlib import Path

from roclip.core.files import write_table

COLUMNS = ("micro_batch", "peak_gb", "activations_gb", "seconds_a_step")
BATCH, SIZES = 32, (32, 16, 8, 4, 1)


def one(size: int) -> None:
    """In a process of its own: print the peak in bytes and the seconds of the second step."""
    import torch

    from roclip.defences.loss import clip_loss
    from roclip.model import towers
    from roclip.training.micro_batches import MicroBatches

    torch.set_num_threads(2)
    torch.manual_seed(0)
    model = towers.create(towers.model_config("RN50")).train()
    parts = MicroBatches(model, size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    pixels, tokens = torch.randn(BATCH, 3, 224, 224), torch.randint(1, 40_000, (BATCH, 16))
    for _ in range(2):
        started = time.perf_counter()
        optimizer.zero_grad()
        images = parts.encode(lambda part: model.encode_image(part, normalize=True), pixels)
        texts = parts.encode(lambda part: model.encode_text(part, normalize=True), tokens)
        clip_loss(images, texts, model.logit_scale.exp()).backward()
        optimizer.step()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, time.perf_counter() - started)


def main() -> None:
    found = {}
    for size in SIZES:
        command = [sys.executable, "-m", "benchmarks.memory", str(size)]
        peak, seconds = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        found[size] = int(peak), float(seconds)
        print(f"micro-batch {size}: {int(peak) / 1e9:.2f} GB, {float(seconds):.1f} s", flush=True)
    floor = found[min(SIZES)][0]
    rows = [
        dict(zip(COLUMNS, (n, f"{peak / 1e9:.2f}", f"{(peak - floor) / 1e9:.2f}", f"{seconds:.1f}"), strict=True))
        for n, (peak, seconds) in found.items()
    ]
    write_table(Path("benchmarks/memory.csv"), COLUMNS, rows)


if __name__ == "__main__":
    one(int(sys.argv[1])) if len(sys.argv) > 1 else main()
