"""Milliseconds a step that the training's process spends on feeding a GPU: batches of 512, images of 224 pixels.

The real generator of batches runs on the CPU, with workers that decode JPEGs, and nothing of the device's work is done: no
copy, no augmentation, no towers. Processor time of the training's process and all its threads, without the workers', so that
other programs change it little. `images` from files is the taking of what workers decoded; from memory, the gathering of the
batch into memory that is used again and again, as pinned memory is (images that lie on the GPU need neither). All words have
been met before, as in all epochs but the first. The share is that of a step of 120 ms, with which an H100 learns from 4,200
pairs/s. Prints a table and writes benchmarks/host.csv.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.made_up import MadeUp, write_pairs
from roclip.core.files import write_table
from roclip.training import batches as making
from roclip.training import feed, train

COLUMNS = ("method", "images", "workers", "images_ms", "tokens_ms", "rest_ms", "step_ms", "share_of_120_ms")
STEP = 120.0
# of the paper's sizes where they matter to the host
MODEL = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 224, "patch_size": 32, "layers": 1, "width": 64, "head_width": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}


class Clock:
    """Processor time by part, in milliseconds."""

    def __init__(self) -> None:
        self.spent: Counter = Counter()

    def function(self, part: str, work: Callable) -> Callable:
        def timed(*arguments: Any) -> Any:
            started = time.process_time()
            try:
                return work(*arguments)
            finally:
                self.spent[part] += 1e3 * (time.process_time() - started)

        return timed

    def iterator(self, part: str, work: Callable[..., Iterator]) -> Callable[..., Iterator]:
        def timed(*arguments: Any) -> Iterator:
            following = self.function(part, work(*arguments).__next__)
            while True:
                try:
                    item = following()
                except StopIteration:
                    return
                yield item

        return timed


def measure(training: MadeUp, steps: int, warm_up: int) -> dict[str, float]:
    """Milliseconds a step, by part and in all."""
    clock, images = Clock(), training.images
    images.pixels = lambda brought, draws, view: brought  # the device's work
    own = images.sent
    batches = training.batches
    images.sent, batches.tokens = clock.iterator("images", images.sent), clock.function("tokens", batches.tokens)
    try:
        run = batches.of(2, [places for _, _, places in training.passes(2)])
        for _ in islice(run, warm_up):
            pass
        clock.spent.clear()
        started = time.process_time()
        for _ in islice(run, steps):
            pass
        spent = 1e3 * (time.process_time() - started)
        run.close()
    finally:
        images.sent = own
        del batches.tokens
    parts = {part: clock.spent[part] / steps for part in ("images", "tokens")}
    return {**parts, "rest": spent / steps - sum(parts.values()), "step": spent / steps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--pairs", type=int, default=20_480)
    parser.add_argument("--files", type=int, default=600, help="JPEGs that they share")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--steps", type=int, default=12)
    arguments = parser.parse_args()
    making.normalise = lambda pixels, *moments: pixels  # the device's work
    feed.empty = cache(feed.empty)
    results = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_pairs(folder, arguments.files, arguments.pairs)
        (folder / "model.json").write_text(json.dumps(MODEL))
        for method in ("clip", "roclip"):
            own = {"pool_size": arguments.batch} if method == "roclip" else {}
            options = train.STAGE.options_of(method)(
                kind=method, pairs=folder / "pairs.csv", targets=folder / "targets.csv", validation=folder / "validation.csv",
                classes=folder / "classes.txt", templates=folder / "templates.txt", out=folder, seed=0, roots=(name,),
                model=str(folder / "model.json"), batch_size=arguments.batch, crop_area=0.08, warmup_steps=0,
                validation_images=10, device="cpu", workers=arguments.workers, **own,
            )  # fmt: skip
            training = MadeUp(options, train.TRAININGS[method], train.read(options))
            for epoch in (1, 2):
                training.batches.tokens(epoch, torch.arange(training.pairs))
            for images in ("files", "host"):
                training.feed(images)
                parts = measure(training, arguments.steps, 4)
                times = [f"{parts[part]:.1f}" for part in ("images", "tokens", "rest", "step")]
                where, workers = ("files", arguments.workers) if images == "files" else ("memory", 0)
                cells = (method, where, workers, *times, f"{parts['step'] / STEP:.3f}")
                results.append(dict(zip(COLUMNS, cells, strict=True)))
                print("  ".join(f"{name} {value}" for name, value in results[-1].items()), flush=True)
    write_table(Path("benchmarks/host.csv"), COLUMNS, results)


if __name__ == "__main__":
    main()
