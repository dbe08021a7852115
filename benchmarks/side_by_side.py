"""Lanes (benchmarks/lanes.py) trained side by side, and what is measured of them."""

import time
from collections.abc import Callable, Sequence

import torch

from benchmarks.lanes import DRAWN, Lane


class Rows:
    """Measurements on their way to the host: each is read an epoch later, so that no one waits for it."""

    def __init__(self, write: Callable[[dict], None]) -> None:
        self.write, self.waiting, self.started = write, [], time.monotonic()

    def note(self, lane: Lane, epoch: int, steps: int) -> None:
        found, event = lane.measure(), None
        if lane.on_gpu:
            with lane.here():
                held = torch.empty(found.shape, dtype=found.dtype, pin_memory=True).copy_(found, non_blocking=True)
                event = torch.cuda.Event()
                event.record()
            found = (held, found)  # the device's copy lives until it is read
        self.waiting.append((lane, epoch, steps, found, event))

    def flush(self, keep: int = 0) -> None:
        """Write all but the last `keep`."""
        while len(self.waiting) > keep:
            lane, epoch, steps, found, event = self.waiting.pop(0)
            if event:
                event.synchronize()
                found = found[0]
            loss, targets, tests, *drawn = found.tolist()
            matching = lane.is_matching(epoch)
            kind = ("matching" if lane.takes_steps(epoch) else "skipped") if matching else "clip"
            row = {
                **lane.name, "epochs": lane.recipe.epochs, "epoch": epoch, "kind": kind,
                "loss": f"{loss / steps:.5f}" if steps else "",
                "target_hits": int(targets), "targets": len(lane.world.targets),
                "zero_shot_hits": int(tests), "tests": len(lane.world.tests),
                **{name: f"{value:.0f}" if matching and steps else "" for name, value in zip(DRAWN, drawn, strict=True)},
                "seconds": f"{time.monotonic() - self.started:.1f}",
            }  # fmt: skip
            self.write(row)


def steps_per_second(lanes: Sequence[Lane], steps: int = 40) -> float:
    """Of all lanes together, CLIP steps. Their training moves; capture them afterwards, or restart."""
    for lane in lanes:
        lane.advance(False)
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(steps):
        for lane in lanes:
            lane.advance(False)
    torch.cuda.synchronize()
    return steps * len(lanes) / (time.perf_counter() - started)


def train(lanes: Sequence[Lane], write: Callable[[dict], None], deadline: float) -> bool:
    """All lanes to their end, side by side; a row of each after every epoch.

    False when `deadline` (time.monotonic) came first.
    """
    rows = Rows(write)
    for epoch in range(1, max(lane.recipe.epochs for lane in lanes) + 1):
        here = [lane for lane in lanes if epoch <= lane.recipe.epochs]
        for lane in here:
            lane.begin(epoch)
        moving = [(lane, lane.is_matching(epoch)) for lane in here if lane.takes_steps(epoch)]
        for step in range(max((lane.draws.steps for lane, _ in moving), default=0)):
            if time.monotonic() > deadline:
                rows.flush()
                return False
            for lane, matching in moving:
                if step < lane.draws.steps:
                    lane.advance(matching)
        for lane in here:
            rows.note(lane, epoch, lane.draws.steps if lane.takes_steps(epoch) else 0)
        rows.flush(keep=len(here))
    rows.flush()
    return True
