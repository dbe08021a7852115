"""Images/s on one core: JPEGs with a shorter side of 256 pixels, decoded and cropped to 224, against torchvision, in one run.

The peer is what many a training script does: Pillow, convert("RGB"), RandomResizedCrop, RandomHorizontalFlip and a uint8 tensor
of each image. Ours is the loader in this process, and with workers, whose processor time is counted, their start's too. To see
what a faster decoder would give, simplejpeg, if it is installed, and OpenCV decode the same bytes without any crop. The
photographs are the two of scikit-learn, cut at random. Prints a table and writes benchmarks/loader.csv.
"""

import argparse
import resource
import statistics
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from roclip.core.deferred import Deferred
from roclip.core.files import write_table
from roclip.data.images import Intake
from roclip.defences import augmentation
from roclip.model.pixels import to_pixels
from roclip.training.loader import CHUNK, FromFiles

v2 = Deferred("torchvision.transforms.v2")  # only the peer is made of it

COLUMNS = ("task", "program", "images_per_second", "ratio")
SHORT, LONG, SIZE, AREA, WORKERS = 256, 341, 224, 0.08, 4


def write_photographs(folder: Path, count: int) -> list[str]:
    """JPEGs of img2dataset's default quality, 256 x 341 pixels cut from 427 x 640."""
    photographs, rng = load_sample_images().images, np.random.default_rng(0)
    paths = [str(folder / f"{n}.jpg") for n in range(count)]
    for n, path in enumerate(paths):
        photograph = photographs[n % 2]
        top, left = (rng.integers(0, side - part) for side, part in zip(photograph.shape, (SHORT, LONG), strict=False))
        Image.fromarray(photograph[top : top + SHORT, left : left + LONG]).save(path, quality=95)
    return paths


def processor_time() -> float:
    """Seconds of all threads and of the workers that have ended: what a core does in one, whatever else runs on it."""
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    results = []
    with TemporaryDirectory() as folder:
        paths = write_photographs(Path(folder), arguments.images)
        size = np.mean([Path(path).stat().st_size for path in paths]) / 1024
        print(f"{len(paths)} photographs of {SHORT} x {LONG} pixels, {size:.0f} KB each")
        rows = torch.arange(len(paths)).split(CHUNK)
        draws = augmentation.epoch_draws(len(paths), 0, 1)
        intake = Intake([folder], 0)
        files = FromFiles(paths, SIZE, AREA, 0, torch.device("cpu"))
        shared = FromFiles(paths, SIZE, AREA, WORKERS, torch.device("cpu"))
        random_crop = v2.Compose([v2.RandomResizedCrop(SIZE, (AREA, 1)), v2.RandomHorizontalFlip(), v2.PILToTensor()])
        centre_crop = v2.Compose([v2.Resize(SIZE, v2.InterpolationMode.BICUBIC), v2.CenterCrop(SIZE), v2.PILToTensor()])

        def peer(transform) -> None:
            for path in paths:
                with Image.open(path) as image:
                    transform(image.convert("RGB"))

        def on_the_device() -> None:
            for images in files.sent(rows, None):
                augmentation.crop_and_flip(to_pixels(images[0].permute(0, 3, 1, 2)), draws[: len(images), :5], AREA)

        tasks = {
            "random crop": {
                "this project": lambda: list(files.sent(rows, draws)),
                f"this project, {WORKERS} workers": lambda: list(shared.sent(rows, draws)),
                "crop on the device": on_the_device,
                "torchvision": lambda: peer(random_crop),
            },
            "centre square": {
                "this project": lambda: list(files.sent(rows, None)),
                "torchvision": lambda: peer(centre_crop),
            },
            "decoding only": {
                "OpenCV": lambda: [cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR_RGB) for path in paths],
                "Pillow": lambda: peer(np.asarray),
            },
            "check only": {
                "this project": lambda: intake.readable(Path("t"), paths, 1),
                "Pillow": lambda: peer(np.asarray),
            },
        }
        if find_spec("simplejpeg"):
            import simplejpeg

            tasks["decoding only"] |= {"simplejpeg": lambda: [simplejpeg.decode_jpeg(Path(p).read_bytes()) for p in paths]}
        for task, programs in tasks.items():
            rates = {program: [] for program in programs}
            for _ in range(arguments.repeats):
                for program, work in programs.items():
                    started = processor_time()
                    work()
                    rates[program].append(len(paths) / (processor_time() - started))
            base = rates["torchvision" if "torchvision" in rates else "Pillow"]
            for program in programs:
                ratio = statistics.median(a / b for a, b in zip(rates[program], base, strict=True))
                cells = (task, program, f"{statistics.median(rates[program]):.0f}", f"{ratio:.2f}")
                results.append(dict(zip(COLUMNS, cells, strict=True)))
                line = "{task:14} {program:23} {images_per_second:>6} images/s per core {ratio:>6} x"
                print(line.format(**results[-1]), flush=True)
    write_table(Path("benchmarks/loader.csv"), COLUMNS, results)


if __name__ == "__main__":
    main()
