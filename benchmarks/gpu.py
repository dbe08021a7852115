"""Pairs/s on one GPU: RN50 at 224 pixels, batches of 512, bfloat16 autocast, channels last, with and without torch.compile.

Resident: batches of random uint8 images that lie on the device. Fed: whole epochs in which worker processes decode JPEGs with a
shorter side of 256 pixels. Beside them open_clip's own training of the same files, model and batch, with as many workers; its
first epoch, and ours, is a warm-up. CLIP epochs of CLIP, CLIP and matching epochs of RoCLIP; the first of them also with
`train.deterministic`. Share of the limit: FLOPs of the towers, of what the device does in products of large bfloat16 matrices.

Prints a table and writes benchmarks/gpu.csv. It also runs on a CPU, smaller, as its test shows: --device cpu, --model
config/models/small.json, --pairs 256, --batch 64, --pool 64, --files 64, --workers 1.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks import limits
from benchmarks.loader import write_photographs
from benchmarks.peer import OpenClip
from benchmarks.words import captions
from roclip.core.files import write_table
from roclip.defences import augmentation
from roclip.model import towers
from roclip.model.pixels import to_pixels
from roclip.training.trainer import Training, TrainOptions

COLUMNS = ("device", "loop", "compiled", "images", "method", "epoch", "pairs_per_second", "share_of_limit")


def rate(work: Callable[[], object], pairs: int, device: torch.device) -> float:
    """Pairs/s of `work`, which trains on so many pairs, after a warm-up."""

    def clock() -> float:
        limits.wait(device)
        return time.perf_counter()

    return pairs / min(limits.in_turn({"work": work}, 1, clock)["work"])


def write_pairs(folder: Path, files: int, pairs: int) -> None:
    """Tables of `pairs` pairs that share so many JPEGs, an empty exam, and ten labelled images."""
    paths = write_photographs(folder, files)
    rows = [{"path": paths[n % files], "caption": caption} for n, caption in enumerate(captions(pairs, 0))]
    write_table(folder / "pairs.csv", ("path", "caption"), rows)
    write_table(folder / "targets.csv", ("path", "label"), [])
    write_table(folder / "validation.csv", ("path", "label"), [{"path": path, "label": "photograph"} for path in paths[:10]])
    (folder / "classes.txt").write_text("photograph\n")
    (folder / "templates.txt").write_text("a {}\n")


def resident(training: Training, matching: bool, steps: int) -> Callable[[], None]:
    """So many steps on one batch of random images and captions that lie on the device."""
    options, device = training.options, training.runtime.device
    rows = torch.arange(options.batch_size, device=device)
    tokens = training.tokens(1, rows.cpu()).to(device)
    size = training.config["vision_cfg"]["image_size"]
    images = torch.randint(0, 256, (options.batch_size, 3, size, size), dtype=torch.uint8, device=device)
    draws = augmentation.epoch_draws(options.batch_size, 0, 1).to(device) if options.augment_images else None
    if matching:
        training.fill_pool(1)

    def run() -> None:
        training.begin_epoch()
        for _ in range(steps):
            pixels = to_pixels(images)
            if draws is not None:
                pixels = augmentation.augment(pixels, draws, options.crop_area)
            training.take_step(pixels, tokens, rows, matching)
        training.begin_epoch()

    return run


def measurements(options: TrainOptions, methods: dict[str, dict], steps: int) -> Iterator[tuple[str, str, str, float]]:
    """images, method, epoch and pairs/s of this project."""
    for method, settings in methods.items():
        training = Training(replace(options, **settings))
        device, whole = training.runtime.device, training.steps_per_epoch * options.batch_size
        for number, epoch in ((1, "clip"), (2, "matching"))[: 2 if training.options.match_every else 1]:
            some = resident(training, epoch == "matching", steps)
            yield "resident", method, epoch, rate(some, steps * options.batch_size, device)
            yield "fed", method, epoch, rate(lambda t=training, n=number: t.epoch(n), whole, device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--model", default="RN50")
    parser.add_argument("--pairs", type=int, default=24_576, help="pairs of an epoch that is fed")
    parser.add_argument("--files", type=int, default=4_000, help="JPEGs that the pairs share")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--pool", type=int, default=21_845, help="captions in the pool; at most the pairs")
    parser.add_argument(
        "--steps", type=int, default=20, help="steps of which a resident measurement is made, at most an epoch's"
    )
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--compile", choices=("without", "both"), default="both")
    parser.add_argument("--side", type=int, default=8192, help="side of the matrices whose product is the limit")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/gpu.csv"))
    arguments = parser.parse_args()
    steps = min(arguments.steps, arguments.pairs // arguments.batch)
    results = []
    towers.repeat_to_the_bit()  # cuBLAS reads its part of it once, when CUDA starts
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_pairs(folder, arguments.files, arguments.pairs)
        options = TrainOptions(
            pairs=folder / "pairs.csv", targets=folder / "targets.csv", validation=folder / "validation.csv",
            classes=folder / "classes.txt", templates=folder / "templates.txt", out=folder, seed=0, roots=(str(folder),),
            model=arguments.model, epochs=2, batch_size=arguments.batch, learning_rate=1e-6, beta1=0.9, beta2=0.999, eps=1e-8,
            weight_decay=0.2, warmup_steps=0, crop_area=0.08, validation_images=10, max_bad_fraction=0, precision="bf16",
            match_every=0, match_from=1, pool_size=arguments.pool, pool_fill="each_matching_epoch", caption_gradient="none",
            augment_images=False, augment_captions="never", checkpoint_minutes=60, device=arguments.device, compile=False,
            deterministic=False, images="files", workers=arguments.workers,
        )  # fmt: skip
        methods = {"clip": {}, "roclip": {"match_every": 2, "augment_images": True, "augment_captions": "each_epoch"}}
        training = Training(options)
        device = training.runtime.device
        shown = torch.cuda.get_device_name(device) if device.type == "cuda" else limits.processor()
        work = limits.flops(resident(training, False, 1)) / options.batch_size
        del training
        limit = limits.product_rate(device, torch.bfloat16, arguments.side)
        print(
            f"{shown}: {limit / 1e12:.2f} TFLOP/s in products of bfloat16 matrices, {limits.copy_rate(device) / 1e9:.0f} GB/s"
        )
        print(f"in copies; {work / 1e9:.2f} GFLOP a pair in a CLIP epoch", flush=True)

        def note(loop: str, compiled: bool, images: str, method: str, epoch: str, pairs_per_second: float) -> None:
            share = f"{pairs_per_second * work / limit:.2f}" if epoch == "clip" else ""
            cells = (shown, loop, int(compiled), images, method, epoch, f"{pairs_per_second:.0f}", share)
            results.append(dict(zip(COLUMNS, cells, strict=True)))
            line = (
                "{loop:27} compiled {compiled} {images:8} {method:6} {epoch:8} {pairs_per_second:>6} pairs/s {share_of_limit}"
            )
            print(line.format(**results[-1]), flush=True)

        both = (False, True)[: 2 if arguments.compile == "both" else 1]
        rates = {}
        for compiled in both:
            for *what, measured in measurements(replace(options, compile=compiled), methods, steps):
                rates[compiled, *what] = measured
                note("this project", compiled, *what, measured)
        towers.repeat_to_the_bit()
        *what, measured = next(measurements(options, methods, steps))
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = False
        note("this project, deterministic", False, *what, measured)
        print(f"train.deterministic runs at {measured / rates[False, 'resident', 'clip', 'clip']:.2f} of the rate")
        # all of open_clip's last, for its main turns on TF32 and cuDNN's search for the whole process
        for compiled in both:
            flags = ["--precision", "amp_bf16", "--workers", str(arguments.workers), *["--torchcompile"] * compiled]
            peer = OpenClip(options, flags, channels_last=True)
            theirs = rate(peer.epoch, peer.pairs, device)
            note("open_clip", compiled, "fed", "clip", "clip", theirs)
            ours, full = (rates[compiled, images, "clip", "clip"] for images in ("fed", "resident"))
            clip, matching = (rates[compiled, "resident", "roclip", epoch] for epoch in ("clip", "matching"))
            print(f"fed is {ours / full:.2f} of resident and {ours / theirs:.2f} times open_clip; a matching epoch takes "
                  f"{clip / matching:.2f} of a CLIP epoch")  # fmt: skip
    write_table(arguments.out, COLUMNS, results)


if __name__ == "__main__":
    main()
