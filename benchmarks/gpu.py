"""Pairs/s on one GPU through the real loop: RN50 at 224 pixels, batches of 512, bfloat16 autocast, channels last.

Images are made up (uint8 noise of 2048 images, again and again): in the host's memory, on the device, or as JPEGs of 256 x 341
pixels that workers decode. Mode `loop` is the project's own; `micro N` with N pairs encoded at a time.
Beside them open_clip's own train_one_epoch. Share of the limit: FLOPs of a CLIP step, of what the device does in products of
large bfloat16 matrices. Rows are appended to --out as they come.

To see that it runs on a CPU: --device cpu --model config/models/small.json --pairs 640 --batch 32 --pool 64 --steps 2
--workers 1 --side 64 --files 20.
"""

import argparse
import csv
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch

from benchmarks import limits
from benchmarks.made_up import WARM_UP, MadeUp, timed, write_pairs
from benchmarks.peer import OpenClip
from roclip.model import towers
from roclip.training import train
from roclip.training.distributed import Ranks

COLUMNS = (
    "device", "loop", "mode", "compiled", "images", "method", "epoch", "pairs_per_second", "second_half", "share_of_limit",
    "peak_gb", "first_steps_s", "note",
)  # fmt: skip
PARTS = ("limits", "compiled", "eager", "fed", "micro_batches", "profile", "deterministic", "open_clip")


class Bench:
    """The measurements of one process."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments, self.started = arguments, time.monotonic()
        folder = arguments.folder
        write_pairs(folder, arguments.files, arguments.pairs)
        self.options = {
            "pairs": folder / "pairs.csv", "targets": folder / "targets.csv", "validation": folder / "validation.csv",
            "classes": folder / "classes.txt", "templates": folder / "templates.txt", "out": folder, "seed": 0,
            "roots": (str(folder),), "model": arguments.model, "epochs": 2, "batch_size": arguments.batch,
            "learning_rate": 1e-6,
            "weight_decay": 0.2, "warmup_steps": 0, "crop_area": 0.08, "validation_images": 10, "device": arguments.device,
            "workers": arguments.workers,
        }  # fmt: skip
        self.device = towers.Runtime.choose("bf16", 1, arguments.device).device
        on_gpu = self.device.type == "cuda"
        self.name = torch.cuda.get_device_name(self.device) if on_gpu else limits.processor()
        self.limit = self.work = 0.0
        self.trainings: dict = {}
        new = not arguments.out.exists()
        self.file = open(arguments.out, "a", newline="", buffering=1)  # noqa: SIM115
        self.table = csv.DictWriter(self.file, COLUMNS, restval="", lineterminator="\n")
        if new:
            self.table.writeheader()

    def left(self) -> float:
        return self.arguments.seconds - (time.monotonic() - self.started)

    def note(self, **cells) -> None:
        if rate := cells.get("pairs_per_second"):
            if self.limit and cells.get("epoch") == "clip":
                cells["share_of_limit"] = f"{rate * self.work / self.limit:.3f}"
            cells["pairs_per_second"] = f"{rate:.0f}"
        if self.device.type == "cuda":
            cells.setdefault("peak_gb", f"{torch.cuda.max_memory_allocated() / 1e9:.1f}")
            torch.cuda.reset_peak_memory_stats()
        self.table.writerow({"device": self.name, **cells})
        print(f"gpu: {self.left():4.0f} s left ", " ".join(f"{value}" for value in cells.values()), flush=True)

    def made(self, method: str, **changes):
        """Options of the stage train."""
        own = {"pool_size": self.arguments.pool} if method == "roclip" else {}
        return train.STAGE.options_of(method)(kind=method, **(self.options | own | changes))

    def training(self, method: str, compiled: bool = False, micro_batch: int | None = None) -> MadeUp:
        """Made once."""
        if (key := (method, compiled, micro_batch)) not in self.trainings:
            options = self.made(method, compile=compiled, micro_batch=micro_batch)
            self.trainings[key] = MadeUp(options, train.TRAININGS[method], train.read(options), Ranks(device=self.device))
        return self.trainings[key]

    def measure(
        self, method: str, images: str, matching: bool = False, loop: str = "", *, compiled: bool = False,
        micro_batch: int | None = None,
    ) -> None:  # fmt: skip
        if self.left() < 5:
            return
        training, batch = self.training(method, compiled, micro_batch), self.arguments.batch
        training.feed(images)
        epoch, steps = 2 if matching else 1, self.arguments.steps
        first, seconds, half = timed(training, epoch, steps)
        self.note(
            loop=loop or "this project", mode=f"micro {micro_batch}" if micro_batch else "loop", compiled=int(compiled),
            images=images, method=method, epoch="matching" if matching else "clip", pairs_per_second=steps * batch / seconds,
            second_half=f"{(steps - steps // 2) * batch / half:.0f}", first_steps_s=f"{first:.1f}",
        )  # fmt: skip

    def limits(self) -> None:
        """What the device does at best, and the FLOPs of a pair."""
        self.limit = limits.product_rate(self.device, torch.bfloat16, self.arguments.side)
        copy = limits.copy_rate(self.device) / 1e9
        training = self.training("clip")
        training.feed("host")
        run = training.steps(1)
        next(run)
        self.work = limits.flops(lambda: next(run)) / self.arguments.batch
        run.close()
        training.begin_epoch()
        text = f"{self.limit / 1e12:.1f} TFLOP/s in products of bf16 matrices; {copy:.0f} GB/s in copies; "
        text += f"{self.work / 1e9:.2f} GFLOP a pair"
        self.note(loop="limits", note=text)

    def eager(self) -> None:
        for images in ("host", "device"):
            self.measure("clip", images)
        for matching in (False, True):
            self.measure("roclip", "device", matching)
        self.measure("clip", "host", loop="this project, again")

    def micro_batches(self) -> None:
        for parts in (2, 4):
            self.measure("clip", "device", micro_batch=self.arguments.batch // parts)
        self.measure("roclip", "device", matching=True, micro_batch=self.arguments.batch // 4)

    def profile(self) -> None:
        """The kernels of three steps, the GPU's idle share, and the search in the pool."""
        for method, epoch in (("clip", 1), ("roclip", 2)):
            training = self.training(method)
            training.feed("device")
            run = training.steps(epoch)
            for _ in range(3):
                next(run)
            limits.wait(self.device)
            started = time.perf_counter()
            with torch.profiler.profile() as profiler:
                for _ in range(3):
                    next(run)
                limits.wait(self.device)
            seconds = time.perf_counter() - started
            run.close()
            training.begin_epoch()
            events = profiler.key_averages()
            busy = sum(event.self_device_time_total for event in events) / 1e6
            self.note(loop="profile", method=method, epoch="matching" if epoch == 2 else "clip",
                      note=f"kernels {busy:.3f} s of {seconds:.3f} s in 3 steps (profiled, so slower)")  # fmt: skip
            slowest = sorted(events, key=lambda event: event.self_device_time_total, reverse=True)[:25]
            for event in slowest:
                print(
                    f"  {event.self_device_time_total / 3e3:8.2f} ms a step {event.count // 3:5} x {event.key[:90]}", flush=True
                )
        features = torch.nn.functional.normalize(
            torch.randn(self.arguments.batch, training.defence.pool.features.shape[1]), dim=1
        )
        features = features.to(self.device)
        search = limits.best_seconds(lambda: training.defence.pool.nearest(features), self.device)
        self.note(
            loop="pool search",
            note=f"{1e3 * search:.3f} ms for {len(features)} images in {len(training.defence.pool.ids)} captions",
        )

    def fed(self) -> None:
        """The loader alone, then training from JPEGs."""
        files, batch, steps = self.training("clip").files, self.arguments.batch, self.arguments.steps
        for drawn in (False, True):
            rows = torch.arange(batch * (WARM_UP + steps)).split(batch)
            draws = torch.rand(self.arguments.pairs, 12) if drawn else None
            started, seen = None, 0
            for number, images in enumerate(files.sent(rows, draws)):
                if number == WARM_UP:  # workers have started
                    started = time.perf_counter()
                elif started:
                    seen += images.shape[1]
            self.note(loop="loader alone", images="files", method="roclip" if drawn else "clip",
                      pairs_per_second=seen / (time.perf_counter() - started))  # fmt: skip
        self.measure("clip", "files")
        self.measure("roclip", "files")
        self.measure("roclip", "files", matching=True)

    def compiled(self) -> None:
        """Resident first, then fed from JPEGs, then RoCLIP."""
        for images in ("device", "files"):
            self.measure("clip", images, compiled=True)
        for matching in (False, True):
            self.measure("roclip", "device", matching, compiled=True)

    def deterministic(self) -> None:
        """To be called in a process of its own: cuBLAS reads its part of it once, when CUDA starts."""
        towers.repeat_to_the_bit()
        for method, matching in (("clip", False), ("roclip", False), ("roclip", True)):
            self.measure(method, "device", matching, "this project, deterministic")

    def open_clip(self) -> None:
        """Its main turns on TF32 and cuDNN's search for the whole process; ours is measured under them after it."""
        torch.cuda.empty_cache()  # what our first step left: two trainings need most of 80 GB
        flags = ["--precision", "amp_bf16", "--workers", str(self.arguments.workers)]
        peer = OpenClip(self.made("clip"), flags, channels_last=True)
        size, batch = self.training("clip").config["vision_cfg"]["image_size"], self.arguments.batch
        images = torch.randn(batch, 3, size, size, device=self.device).contiguous(memory_format=torch.channels_last)
        tokens = self.training("clip").batches.tokens(1, torch.arange(batch)).to(self.device)

        def resident(steps: int) -> Callable[[], None]:
            loader = [(images, tokens)] * steps
            loader = type("Loader", (list,), {"num_batches": steps, "num_samples": steps * batch, "batch_size": batch})(loader)
            data = {"train": SimpleNamespace(dataloader=loader, set_epoch=lambda epoch: None)}
            arguments = [peer.arguments[0], data, *peer.arguments[2:]]
            return lambda: type(peer).epoch(SimpleNamespace(arguments=arguments, options=peer.options))

        def rate(work: Callable[[], None], pairs: int) -> float:
            limits.wait(self.device)
            started = time.perf_counter()
            work()
            limits.wait(self.device)
            return pairs / (time.perf_counter() - started)

        steps = self.arguments.steps
        resident(WARM_UP)()
        self.note(loop="open_clip", compiled=0, images="device", method="clip", epoch="clip",
                  pairs_per_second=rate(resident(steps), steps * batch))  # fmt: skip
        torch.cuda.empty_cache()
        self.measure("clip", "device", loop="this project, with open_clip's flags")
        if self.left() > 25:
            self.note(loop="open_clip", compiled=0, images="files", method="clip", epoch="clip",
                      pairs_per_second=rate(peer.epoch, peer.pairs), note="an epoch, start of workers included")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=("files", *PARTS), default=PARTS)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--model", default="RN50")
    parser.add_argument("--pairs", type=int, default=22_528, help="rows of the table")
    parser.add_argument("--files", type=int, default=2_000, help="JPEGs that they share")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--pool", type=int, default=21_845, help="captions in the pool; at most the pairs")
    parser.add_argument("--steps", type=int, default=10, help="steps of a measurement")
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--side", type=int, default=8192, help="side of the matrices whose product is the limit")
    parser.add_argument("--seconds", type=float, default=900, help="no measurement begins when fewer than 5 of them are left")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/gpu_bench"), help="for the JPEGs and tables")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/gpu.csv"))
    arguments = parser.parse_args()
    if arguments.parts == ["files"]:
        write_pairs(arguments.folder, arguments.files, arguments.pairs)
        return
    if "deterministic" in arguments.parts:
        towers.repeat_to_the_bit()
    bench = Bench(arguments)
    for part in arguments.parts:
        if bench.left() < 5:
            break
        try:
            getattr(bench, part)()
        except Exception as error:  # one part takes no other with it
            traceback.print_exc()
            torch.cuda.empty_cache()
            bench.note(loop=part, note=f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}")


if __name__ == "__main__":
    main()
