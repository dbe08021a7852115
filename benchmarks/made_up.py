"""Trainings on images that nobody took, for times of the loop that do not depend on what is learned."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks import limits
from benchmarks.loader import write_photographs
from benchmarks.words import captions
from roclip.core.files import write_table
from roclip.training.loader import FromFiles, InMemory
from roclip.training.pairs import Pairs
from roclip.training.trainer import Training

IMAGES, WARM_UP = 2048, 4


class Repeated(InMemory):
    """Few images for many rows; on the host or on the device."""

    def __getitem__(self, rows: torch.Tensor) -> torch.Tensor:
        return super().__getitem__(rows % len(self.images))

    def sent(self, batches: Iterable[torch.Tensor], *draws: torch.Tensor | None) -> Iterator[torch.Tensor]:
        return super().sent([rows % len(self.images) for rows in batches], *draws)


class MadeUp(Training):
    """A training on images that nobody took."""

    def _images(self, pairs: Pairs, size: int) -> tuple[InMemory, np.ndarray]:
        torch.manual_seed(0)
        paths = pairs.path
        images = torch.randint(0, 256, (min(IMAGES, len(paths)), size, size, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
        self.host = Repeated(images, self.options.crop_area, self.device)
        self.files = FromFiles(paths, size, self.options.crop_area, self.options.workers, self.device)
        return self.host, np.arange(len(paths))

    def feed(self, where: str) -> None:
        """Take images from `host`, `device` or `files`."""
        if where == "device":
            self.images = Repeated(self.host.images.permute(0, 3, 1, 2).to(self.device), self.options.crop_area, self.device)
        else:
            self.images = self.host if where == "host" else self.files
        self.batches.images = self.images


def write_pairs(folder: Path, files: int, pairs: int) -> None:
    """Tables of `pairs` pairs that share so many JPEGs, no targets, and ten labelled images; what is there stays."""
    if (folder / "templates.txt").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    paths = write_photographs(folder, files)
    rows = [{"path": paths[n % files], "caption": caption} for n, caption in enumerate(captions(pairs, 0))]
    write_table(folder / "pairs.csv", ("path", "caption"), rows)
    write_table(folder / "targets.csv", ("path", "label"), [])
    write_table(folder / "validation.csv", ("path", "label"), [{"path": path, "label": "photograph"} for path in paths[:10]])
    (folder / "classes.txt").write_text("photograph\n")
    (folder / "templates.txt").write_text("a {}\n")


def timed(training: Training, epoch: int, steps: int) -> tuple[float, float, float]:
    """Seconds of the first steps, of `steps` steps after them, and of the second half of those, as train.py takes them."""
    device = training.device
    training.begin_epoch()
    run, marks = training.steps(epoch), [time.perf_counter()]
    for step in range(WARM_UP + steps):
        if step in (WARM_UP, WARM_UP + steps // 2):
            limits.wait(device)
            marks.append(time.perf_counter())
        next(run)
        training.ranks.any(False)  # has someone told it to stop?
    limits.wait(device)
    marks.append(time.perf_counter())
    run.close()
    training.finite.check()
    training.begin_epoch()
    return marks[1] - marks[0], marks[3] - marks[1], marks[3] - marks[2]
