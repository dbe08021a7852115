"""Images from files: the same for any number of workers, crops as Pillow and torchvision make them, and no silent damage."""

import gc
import io
import itertools
import os
import signal
import tarfile
import tempfile
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor
from torchvision.transforms.v2 import functional as oracle

from roclip.core.errors import UserError
from roclip.data.crops import crop_box
from roclip.data.images import Intake, decode, decode_crop
from roclip.defences import augmentation
from roclip.training import feed, loader
from roclip.training.loader import FromFiles, InMemory

CPU = torch.device("cpu")
SIZE, AREA = 24, 0.3


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads that wait for each other on a busy machine make these small batches a hundred times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def smooth(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture without detail finer than a sixth of its side."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> list[str]:
    """150 files: mixed sizes, shapes, modes and formats, the last in a tar."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    files = []
    for n in range(150):
        width, height = rng.integers(20, 90, 2)
        mode, suffix = (("RGB", "jpg"), ("L", "jpg"), ("RGBA", "png"), ("P", "png"), ("RGB", "webp"))[n % 5]
        files.append(folder / f"{n} é.{suffix}")
        smooth(width, height, n).convert(mode).save(files[-1])
    content = files[-1].read_bytes()
    with tarfile.open(folder / "00000.tar", "w") as tar:
        member = tarfile.TarInfo("a.webp")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    with tarfile.open(folder / "00000.tar") as tar:
        offset = tar.getmember("a.webp").offset_data
    return [*map(str, files[:-1]), f"{folder}/00000.tar/a.webp@{offset}+{len(content)}"]


def order(count: int, batch: int) -> tuple[torch.Tensor, ...]:
    return torch.randperm(count, generator=torch.Generator().manual_seed(3)).split(batch)


def pixels(images: InMemory | FromFiles, batches: Sequence[Tensor], draws: Tensor | None) -> list[Tensor]:
    """What the steps of an epoch are given."""
    sent = zip(batches, images.sent(batches, draws), strict=True)
    return [images.pixels(brought, None if draws is None else draws[rows]) for rows, brought in sent]


@pytest.mark.parametrize("augmented", [True, False])
def test_any_number_of_workers_and_any_batches_give_the_same(paths, augmented):
    draws = augmentation.epoch_draws(len(paths), 0, 1) if augmented else None
    alone = torch.cat(pixels(FromFiles(paths, SIZE, AREA, 0, CPU), order(150, 150), draws))
    rows = torch.cat(order(150, 150))
    for workers, batch in ((1, 150), (2, 70), (2, 7)):
        files = FromFiles(paths, SIZE, AREA, workers, CPU)
        batches = pixels(files, order(150, batch), draws)
        assert [len(part) for part in batches] == [len(part) for part in order(150, batch)]
        # the arithmetic after decoding may differ in its last bits with the size of a batch
        assert torch.allclose(torch.cat(batches), alone, atol=1e-5)
        assert torch.equal(files[rows], FromFiles(paths, SIZE, AREA, 0, CPU)[rows])


def test_the_bits_are_the_same_for_any_number_of_workers(paths):
    draws = augmentation.epoch_draws(len(paths), 0, 1)
    runs = [pixels(FromFiles(paths, SIZE, AREA, workers, CPU), order(150, 70), draws) for workers in (0, 1, 2)]
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(run, runs[0], strict=True))


def test_workers_that_are_not_forked_give_the_same_bits_and_leave_no_file(paths, monkeypatch, tmp_path):
    draws = augmentation.epoch_draws(len(paths), 0, 1)
    forked = pixels(FromFiles(paths, SIZE, AREA, 2, CPU), order(150, 7), draws)
    monkeypatch.setattr(loader, "START", "spawn")  # as on macOS
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spawned = pixels(FromFiles(paths, SIZE, AREA, 2, CPU), order(150, 7), draws)
    assert all(torch.equal(a, b) for a, b in zip(forked, spawned, strict=True))
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_each_image_is_cropped_by_the_draws_of_its_row(paths):
    draws = augmentation.epoch_draws(len(paths), 0, 1)
    batches = order(150, 7)  # more than have room at a time
    images = torch.cat([images[0].clone() for images in FromFiles(paths, SIZE, AREA, 2, CPU).sent(batches, draws)])
    for row, image in zip(torch.cat(batches).tolist(), images, strict=True):
        assert (image.numpy() == decode_crop(paths[row], SIZE, draws[row, :5].tolist(), AREA)).all()


def test_the_global_random_state_is_left_alone(paths):
    before = torch.get_rng_state()
    pixels(FromFiles(paths, SIZE, AREA, 0, CPU), order(150, 70), None)
    assert torch.equal(before, torch.get_rng_state())


def test_without_augmentation_files_and_memory_give_the_same_bits(paths):
    images, _ = Intake(["/"], 0).load("t", paths, SIZE, 1)
    held, read = InMemory(torch.from_numpy(images), AREA, CPU), FromFiles(paths, SIZE, AREA, 2, CPU)
    for a, b in zip(pixels(held, order(150, 70), None), pixels(read, order(150, 70), None), strict=True):
        assert torch.equal(a, b)
    rows = torch.tensor([5, 149, 0])
    assert torch.equal(held[rows], read[rows])
    assert len(read[rows[:0]]) == 0


def test_memory_augments_as_the_whole_batch_would(paths):
    images = torch.from_numpy(Intake(["/"], 0).load("t", paths, SIZE, 1)[0])
    draws = augmentation.epoch_draws(150, 0, 1)
    for rows, found in zip(order(150, 70), pixels(InMemory(images, AREA, CPU), order(150, 70), draws), strict=True):
        assert torch.equal(found, augmentation.augment(images[rows].float() / 255, draws[rows], AREA))


def test_crops_of_a_square_are_those_of_the_device(tmp_path):
    smooth(96, 96).save(tmp_path / "a.png")
    draws = torch.rand(40, 5, generator=torch.Generator().manual_seed(0))
    ours = np.stack([decode_crop(tmp_path / "a.png", 96, row.tolist(), AREA) for row in draws])
    whole = torch.from_numpy(decode(tmp_path / "a.png", 96).copy()).permute(2, 0, 1)[None] / 255
    device = augmentation.crop_and_flip(whole.expand(40, 3, 96, 96), draws, AREA)
    inner = slice(2, -2)
    difference = torch.from_numpy(ours.copy()).permute(0, 3, 1, 2) / 255 - device
    assert difference[..., inner, inner].abs().max() < 0.02  # smooth content: resampling hardly matters, place and flip do


def test_a_crop_equals_torchvisions_of_the_same_box(tmp_path):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 120, 3), np.uint8))
    image.save(tmp_path / "a.png")
    # draws that make a box of whole pixels: two thirds of the area, square, for narrower ones do not fit, in the middle
    left, top, right, bottom = crop_box(120, 80, (0.0, 0.0, 0.5, 0.5, 1.0), 2 / 3)
    assert (left, top, right, bottom) == pytest.approx((20, 0, 100, 80))
    theirs = oracle.resized_crop(image, 0, 20, 80, 80, [32, 32], oracle.InterpolationMode.BILINEAR, antialias=True)
    ours = decode_crop(tmp_path / "a.png", 32, (0.0, 0.0, 0.5, 0.5, 1.0), 2 / 3)
    inner = slice(1, -1)  # at the rim the filter sees past the crop where torchvision's ends with it
    assert np.abs(ours.astype(int) - np.asarray(theirs))[inner, inner].max() <= 1
    flipped = decode_crop(tmp_path / "a.png", 32, (0.0, 0.0, 0.5, 0.5, 0.0), 2 / 3)
    assert (flipped == ours[:, ::-1]).all()


def test_a_large_jpeg_decoded_small_is_the_same_picture(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    detail = Image.fromarray(rng.integers(0, 256, (200, 300, 3), np.uint8)).resize((1500, 1000), Image.Resampling.BICUBIC)
    detail.save(tmp_path / "a.jpg", quality=95)
    with Image.open(tmp_path / "a.jpg") as image:
        whole = image.convert("RGB")
    whole.save(tmp_path / "a.png")
    for draws in rng.random((12, 5)):
        small, large = (decode_crop(tmp_path / name, 64, draws.tolist(), 0.3).astype(float) for name in ("a.jpg", "a.png"))
        noise = ((small - large) ** 2).mean()
        assert 10 * np.log10(255**2 / noise) > 35  # dB
    # and it is decoded small: of a crop 1000 pixels high an eighth is 125, not twice 64; a quarter is enough
    decoded = []
    draft = JpegImageFile.draft
    monkeypatch.setattr(JpegImageFile, "draft", lambda self, *given: (draft(self, *given), decoded.append(self.size)))
    decode_crop(tmp_path / "a.jpg", 64, (1.0, 0.5, 0.5, 0.5, 1.0), 0.3)
    assert decoded == [(375, 250)]


def test_readable_rows_are_those_that_load(tmp_path, paths):
    smooth(64, 64).save(tmp_path / "short.jpg")
    (tmp_path / "short.jpg").write_bytes((tmp_path / "short.jpg").read_bytes()[:-200])
    (tmp_path / "page.jpg").write_text("<html>")
    mixed = [paths[0], str(tmp_path / "short.jpg"), paths[1], str(tmp_path / "page.jpg"), "absent.jpg", paths[-1]]
    intake = Intake(["/"], 0.5)
    good = intake.readable("t", mixed, 2)
    assert good.tolist() == intake.load("t", mixed, 16, 2)[1].tolist() == [0, 2, 5]
    with pytest.raises(UserError, match=r"3 of 6 images are missing or broken, first in row 2 .*short.jpg"):
        Intake(["/"], 0.49).readable("t", mixed, 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_breaks_later_is_one_line(paths, tmp_path, workers):
    files = FromFiles([*paths[:5], str(tmp_path / "gone.png"), *paths[6:]], SIZE, AREA, workers, CPU)
    with pytest.raises(UserError, match=r"gone.png can no longer be read") as caught:
        pixels(files, order(150, 70), None)
    assert "\n" not in str(caught.value)


def test_a_killed_worker_is_one_line(paths, monkeypatch):
    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(loader, "decode_views", die)
    with pytest.raises(UserError, match="workers that decode images stopped") as caught:
        pixels(FromFiles(paths, SIZE, AREA, 1, CPU), order(150, 70), None)
    assert "\n" not in str(caught.value)


def test_a_worker_that_hangs_is_one_line(paths, monkeypatch):
    monkeypatch.setattr(loader, "decode_views", lambda *_: signal.pause())
    monkeypatch.setattr(loader, "WAIT", 2)
    with pytest.raises(UserError, match="workers that decode images stopped"):
        pixels(FromFiles(paths, SIZE, AREA, 1, CPU), order(150, 70), None)


def test_workers_write_where_a_gpu_has_copied_from(paths, monkeypatch):
    """On a pretended GPU that notes which copies were waited for."""
    waited, handed = [], []
    marks = (SimpleNamespace(synchronize=partial(waited.append, number)) for number in itertools.count())
    monkeypatch.setattr(feed, "mark", lambda device: next(marks))
    batches = order(150, 4)
    for images in FromFiles(paths, SIZE, AREA, 2, CPU).sent(batches, None):
        handed.append(images.data_ptr())
        last = max((number for number, place in enumerate(handed[:-1]) if place == handed[-1]), default=-1)
        assert waited[: last + 1] == list(range(last + 1))
    places = len(set(handed))
    assert places < len(batches) / 4
    assert waited == list(range(len(batches) - places))
