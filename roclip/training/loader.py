"""The images of an epoch, batch by batch, as pixels on the device: held in memory, or read from their files again each time.

Both give the same batches for the same rows and draws whatever the number of threads or workers. They differ in what a random
crop is cut from: `InMemory` holds centre squares and cuts on the device; `FromFiles` cuts from the whole image as it is
decoded, as torchvision's RandomResizedCrop does, which is faster than decoding a square first.
"""

import logging
import math
import mmap
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from roclip.core.errors import UserError
from roclip.data.images import Intake, decode_views
from roclip.defences import augmentation
from roclip.model.pixels import to_pixels
from roclip.training import feed
from roclip.training.pairs import Pairs
from roclip.training.settings import LoopOptions

log = logging.getLogger(__name__)

CHUNK = 64  # images that a worker decodes at a time; a batch is put together from several workers'
AHEAD = 2  # chunks that each worker is given ahead of time
WAIT = 300  # seconds without a chunk after which a worker is taken to hang, as on a network file system that went away

# forked workers start at once, and those that are spawned import PyTorch first, in every epoch; but macOS ends forked ones that
# use its libraries
START = "fork" if sys.platform == "linux" else "spawn"
GRACE = 30  # seconds that a worker lives on after SIGTERM
ROOM = 4  # images are kept on a GPU where so many times their size is free: the towers need the most of it


def open_images(
    options: LoopOptions, intake: Intake, pairs: Pairs, size: int, device: torch.device, ranks: int
) -> tuple["InMemory | FromFiles", np.ndarray]:
    """The images that can be decoded, and their places among the pairs.

    Raises UserError where `images: memory` needs more than is free.
    """
    paths = pairs.path
    recolour = augmentation.compiled() if options.compile and device.type == "cuda" else augmentation.recolour
    if options.images == "memory":
        needed, free = len(paths) * 3 * size**2, psutil.virtual_memory().available
        if needed > free:
            raise UserError(
                f"train.images: memory needs {needed / 1e9:.1f} GB for {len(paths)} images of {size} pixels, and "
                f"{free / 1e9:.1f} GB are free; use files"
            )
        images, places = intake.load(options.pairs, paths, size, options.threads, pairs.rows)
        held = torch.from_numpy(images)
        if device.type == "cuda":
            held = _on_gpu(held, device)
        return InMemory(held, options.crop_area, device, recolour), places
    workers = -(-options.workers // ranks)
    places = intake.readable(options.pairs, paths, max(options.threads, workers), pairs.rows)
    return FromFiles([paths[place] for place in places], size, options.crop_area, workers, device, recolour), places


def _on_gpu(images: Tensor, device: torch.device) -> Tensor:
    """The images on the GPU where there is room for them beside a training, or else as they are."""
    free, _ = torch.cuda.mem_get_info(device)
    fits = ROOM * images.nbytes <= free
    where = "on the GPU" if fits else "in the host's memory, from where each batch is copied"
    log.info("images take %.2f GB, %.2f GB of GPU memory are free: they stay %s", images.nbytes / 1e9, free / 1e9, where)
    return images.to(device) if fits else images


class InMemory:
    """Images that were decoded once: uint8 (n, 3, size, size), in the host's memory or on the device."""

    def __init__(
        self, images: Tensor, min_area: float, device: torch.device, recolour: Callable[..., Tensor] = augmentation.recolour
    ) -> None:
        self.images, self.min_area, self.device, self.recolour = images.permute(0, 2, 3, 1), min_area, device, recolour

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Some images as they are: uint8 (rows, 3, size, size), in the host's memory."""
        return self.images[rows.to(self.images.device)].permute(0, 3, 1, 2).cpu()

    def sent(self, batches: Iterable[Tensor], *draws: Tensor | None) -> Iterator[Tensor]:
        """What is brought to the device for each batch of rows, int64 (batch,) each: their images, or rows that are there.

        One image serves all views.
        """
        for rows in batches:
            if self.images.device.type == "cuda":
                yield rows
            else:
                out = feed.empty(self.device, len(rows), *self.images.shape[1:])
                yield torch.index_select(self.images, 0, rows, out=out)

    def pixels(self, brought: Tensor, draws: Tensor | None, view: int = 0) -> Tensor:
        """The images of a batch in a view, augmented by draws (batch, DRAWS) if given: (batch, 3, size, size) in [0, 1].

        brought, draws: on the device.
        """
        images = self.images[brought] if brought.ndim == 1 else brought
        pixels = to_pixels(images.permute(0, 3, 1, 2))
        if draws is None:
            return pixels
        return self.recolour(augmentation.crop_and_flip(pixels, draws[:, :5], self.min_area), draws)


class FromFiles:
    """Images that are decoded by `workers` processes as they are needed; by this one, without any."""

    def __init__(
        self, paths: Sequence[str], size: int, min_area: float, workers: int, device: torch.device,
        recolour: Callable[..., Tensor] = augmentation.recolour,
    ) -> None:  # fmt: skip
        self.files, self.size, self.min_area = _Texts(paths), size, min_area
        self.workers, self.device, self.recolour = workers, device, recolour

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Some images as they are: uint8 (rows, 3, size, size). Raises as `sent`."""
        parts = [images[0].clone() for images in self.sent(rows.split(CHUNK), None)] if len(rows) else []
        return torch.cat([torch.empty(0, self.size, self.size, 3, dtype=torch.uint8), *parts]).permute(0, 3, 1, 2)

    def sent(self, batches: Sequence[Tensor], *draws: Tensor | None) -> Iterator[Tensor]:
        """The images of each batch of rows, int64 (batch,) each, until the next one is asked for.

        They are uint8 (views, batch, size, size, 3). draws: `augmentation.epoch_draws`, (n, DRAWS), of each view, None for
        images as they are. Workers write into memory that they share with this process, in which a few batches have room, again
        and again. Raises UserError for an image that cannot be read and for workers that end or hang.
        """
        least, most = min(map(len, batches), default=1), max(map(len, batches), default=1)
        room = -(-max(1, AHEAD * self.workers) // -(-least // CHUNK)) + 1  # batches at work at a time, and the one handed out
        shape = room, len(draws), most, self.size, self.size, 3
        shared = _Shared(shape)
        copied: list = [None] * room

        def chunks() -> Iterator[tuple[int, int, list[int]]]:
            """Where each chunk goes, the batch and its place within it, and its rows."""
            for number, rows in enumerate(batches):
                if event := copied[number % room]:
                    event.synchronize()  # of some batches ago
                for part, chosen in enumerate(rows.split(CHUNK)):
                    yield number % room, part * CHUNK, chosen.tolist()

        beside = {"timeout": WAIT, "prefetch_factor": AHEAD, "multiprocessing_context": START} if self.workers else {}
        loader = DataLoader(
            _Images(self.files, self.size, self.min_area, draws, shared), sampler=chunks(), batch_size=None,
            num_workers=self.workers, worker_init_fn=_outlive_a_stop, **beside,
            generator=torch.Generator(),  # or it would draw from the global one
        )  # fmt: skip
        try:
            faults = iter(loader)  # workers are started before the memory is pinned
            memory = torch.from_numpy(shared.array)
            with feed.pinned(memory, self.device):
                for number, rows in enumerate(batches):
                    for _ in rows.split(CHUNK):
                        if fault := next(faults):
                            raise UserError(fault)
                    yield memory[number % room, :, : len(rows)]
                    copied[number % room] = feed.mark(self.device)
        except RuntimeError as error:  # what a DataLoader raises of workers that are gone
            if "DataLoader" not in str(error):
                raise
            raise UserError(
                f"the {self.workers} workers that decode images stopped ({str(error).splitlines()[0]}); is there memory enough "
                "for them, and does the folder of the images answer?"
            ) from None

    def pixels(self, brought: Tensor, draws: Tensor | None, view: int = 0) -> Tensor:
        """As `InMemory.pixels`, of crops that were cut as they were decoded."""
        pixels = to_pixels(brought[view].permute(0, 3, 1, 2))
        return pixels if draws is None else self.recolour(pixels, draws)


def _outlive_a_stop(_: int) -> None:
    """A worker that is told to stop, as all processes of a cluster's job are, lives on for as long as the training saves.

    Its end would be an error there. Without Ctrl-C for the same reason, which reaches all processes of a terminal.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(GRACE))


class _Images(Dataset):
    """What a worker holds: files, the draws of each view, and where images go: (batches, views, batch, size, size, 3)."""

    def __init__(self, files: "_Texts", size: int, min_area: float, draws: Sequence[Tensor | None], shared: "_Shared") -> None:
        self.files, self.size, self.min_area, self.shared = files, size, min_area, shared
        self.draws = [None if each is None else each[:, :5].numpy() for each in draws]

    def __getitem__(self, chunk: tuple[int, int, list[int]]) -> str:
        """Decode the images of some rows to where they go; what is wrong with one of them, empty if nothing is."""
        batch, start, rows = chunk
        for place, row in enumerate(rows, start):
            path, drawn = self.files[row], [None if each is None else each[row].tolist() for each in self.draws]
            try:
                self.shared.array[batch, :, place] = decode_views(path, self.size, drawn, self.min_area)
            except Exception as error:  # Pillow raises many kinds
                return f"{path} can no longer be read ({error}); bring it back and start again"
        return ""


class _Shared:
    """Memory that this process and its workers see: uint8 of a shape. Forked workers have it already, others map its file."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.file = shape, None
        if START == "spawn":
            self.file = NamedTemporaryFile()  # noqa: SIM115  it is there for as long as this is
            self.file.truncate(math.prod(shape))
        self._map()

    def _map(self) -> None:
        memory = mmap.mmap(self.file.fileno() if self.file else -1, math.prod(self.shape))
        self.array = np.frombuffer(memory, np.uint8).reshape(self.shape)

    def __getstate__(self) -> dict[str, Any]:
        return {"shape": self.shape, "name": self.file.name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.shape = state["shape"]
        with open(state["name"], "r+b") as self.file:
            self._map()


class _Texts:
    """Millions of texts in two arrays, which forked workers share; a list's strings would be copied page by page as they count
    references to them."""

    def __init__(self, texts: Sequence[str]) -> None:
        coded = [text.encode("utf-8", "surrogateescape") for text in texts]
        self.bytes = np.frombuffer(b"".join(coded), np.uint8)
        self.ends = np.cumsum([0, *map(len, coded)])

    def __getitem__(self, row: int) -> str:
        return self.bytes[self.ends[row] : self.ends[row + 1]].tobytes().decode("utf-8", "surrogateescape")
