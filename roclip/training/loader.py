"""The images of an epoch, batch by batch, as pixels on the device: held in memory, or read from their files again each time.

Both give the same batches for the same rows and draws whatever the number of threads or workers. They differ in what a random
crop is cut from: `InMemory` holds centre squares and cuts on the device; `FromFiles` cuts from the whole image as it is
decoded, as torchvision's RandomResizedCrop does, which is faster than decoding a square first.
"""

import signal
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from roclip.core.errors import UserError
from roclip.data.images import decode, decode_crop
from roclip.defences import augmentation
from roclip.model.pixels import to_pixels

CHUNK = 64  # images that a worker decodes at a time; a batch is put together from several workers'
WAIT = 300  # seconds without a chunk after which a worker is taken to hang, as on a network file system that went away

GRACE = 30  # seconds that a worker lives on after SIGTERM


class InMemory:
    """Images that were decoded once: uint8 (n, 3, size, size)."""

    def __init__(self, images: Tensor, min_area: float, device: torch.device) -> None:
        self.images, self.min_area, self.device = images, min_area, device

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Some images as they are: uint8 (rows, 3, size, size)."""
        return self.images[rows]

    def pixels(self, batches: Iterable[Tensor], draws: Tensor | None) -> Iterator[Tensor]:
        """The images of each batch of rows, augmented by their draws if given, on the device: (batch, 3, size, size) in [0, 1].

        batches: row numbers, int64 (batch,) each; draws: `augmentation.epoch_draws`, (n, DRAWS).
        """
        for rows in batches:
            pixels = to_pixels(self.images[rows].to(self.device, non_blocking=True))
            if draws is not None:
                pixels = augmentation.augment(pixels, draws[rows].to(self.device, non_blocking=True), self.min_area)
            yield pixels


class FromFiles:
    """Images that are decoded by `workers` processes as they are needed; by this one, without any."""

    def __init__(self, paths: Sequence[str], size: int, min_area: float, workers: int, device: torch.device) -> None:
        self.files, self.size, self.min_area = _Texts(paths), size, min_area
        self.workers, self.device = workers, device

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Some images as they are: uint8 (rows, 3, size, size). Raises as `pixels`."""
        return torch.cat([torch.empty(0, 3, self.size, self.size, dtype=torch.uint8), *self.chunks([rows], None)])

    def pixels(self, batches: Sequence[Tensor], draws: Tensor | None) -> Iterator[Tensor]:
        """As `InMemory.pixels`. Raises UserError for an image that cannot be read and for workers that end or hang."""
        chunks = self.chunks(batches, draws)
        for rows in batches:
            parts = [next(chunks).to(self.device, non_blocking=True) for _ in rows.split(CHUNK)]
            pixels = to_pixels(torch.cat(parts))
            yield pixels if draws is None else augmentation.recolour(pixels, draws[rows].to(self.device, non_blocking=True))

    def chunks(self, batches: Iterable[Tensor], draws: Tensor | None) -> Iterator[Tensor]:
        """uint8 (up to CHUNK, 3, size, size), in the order of the batches, none of which shares a chunk with another."""
        chunks = [part.tolist() for rows in batches for part in rows.split(CHUNK)]
        loader = DataLoader(
            _Images(self.files, self.size, self.min_area, draws), sampler=chunks, batch_size=None, num_workers=self.workers,
            pin_memory=self.device.type == "cuda", timeout=WAIT if self.workers else 0,
            generator=torch.Generator(),  # or it would draw from the global one
            worker_init_fn=_outlive_a_stop,
        )  # fmt: skip
        try:
            for images, fault in loader:
                if fault:
                    raise UserError(fault)
                yield images.permute(0, 3, 1, 2)
        except RuntimeError as error:  # what a DataLoader raises of workers that are gone, and of its thread that pins memory
            lines = str(error).splitlines() or [type(error).__name__]
            if "DataLoader" in str(error):
                raise UserError(
                    f"the {self.workers} workers that decode images stopped ({lines[0]}); is there memory enough for them, and "
                    "does the folder of the images answer?"
                ) from None
            cause = next((line for line in reversed(lines) if "Error: " in line), lines[0])  # below the thread's traceback
            raise UserError(
                f"images could not be put into pinned memory for the GPU ({cause}); is the GPU well (nvidia-smi), and is there "
                "memory enough? Start again to resume"
            ) from None


def _outlive_a_stop(_: int) -> None:
    """A worker that is told to stop, as all processes of a cluster's job are, lives on for as long as the training saves.

    Its end would be an error there. Without Ctrl-C for the same reason, which reaches all processes of a terminal.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(GRACE))


class _Images(Dataset):
    """What a worker holds: files, and the draws of the epoch."""

    def __init__(self, files: "_Texts", size: int, min_area: float, draws: Tensor | None) -> None:
        self.files, self.size, self.min_area = files, size, min_area
        self.draws = None if draws is None else draws[:, :5].numpy()

    def __getitem__(self, rows: list[int]) -> tuple[Tensor, str]:
        """The images uint8 (rows, size, size, 3), and what is wrong with one of them, empty if nothing is."""
        images = np.empty((len(rows), self.size, self.size, 3), np.uint8)
        for image, row in zip(images, rows, strict=True):
            path = self.files[row]
            try:
                if self.draws is None:
                    image[:] = decode(path, self.size)
                else:
                    image[:] = decode_crop(path, self.size, self.draws[row].tolist(), self.min_area)
            except Exception as error:  # Pillow raises many kinds
                return torch.empty(0), f"{path} can no longer be read ({error}); bring it back and start again"
        return torch.from_numpy(images), ""


class _Texts:
    """Millions of texts in two arrays, which forked workers share; a list's strings would be copied page by page as they count
    references to them."""

    def __init__(self, texts: Sequence[str]) -> None:
        coded = [text.encode("utf-8", "surrogateescape") for text in texts]
        self.bytes = np.frombuffer(b"".join(coded), np.uint8)
        self.ends = np.cumsum([0, *map(len, coded)])

    def __getitem__(self, row: int) -> str:
        return self.bytes[self.ends[row] : self.ends[row + 1]].tobytes().decode("utf-8", "surrogateescape")
