"""How well copies of photographs are found: python -m benchmarks.copies TRAIN TEST, two folders of images, such as CIFAR-100's.

Makes copies of 2,000 images of TRAIN, drawn by seed 0, and says which share is found, and found of the right image; then how
many of the first 2,500 of TEST, and of those at half the side, are taken for copies, which is to be judged by eye.
"""

import random
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image, ImageOps

from roclip.data.near_duplicates import Hashed, copies, hashed

COPIED, JUDGED = 2000, 2500
BICUBIC, BILINEAR = Image.Resampling.BICUBIC, Image.Resampling.BILINEAR
Change = Callable[[Image.Image], Image.Image]


def scaled(by: float, how: Image.Resampling = BICUBIC) -> Change:
    return lambda image: image.resize((round(image.width * by), round(image.height * by)), how)


CHANGES: dict[str, tuple[Change, str, int]] = {  # what is done, the format and its quality
    "JPEG of quality 75": (lambda image: image, "JPEG", 75),
    "JPEG of quality 40": (lambda image: image, "JPEG", 40),
    "WebP of quality 50": (lambda image: image, "WEBP", 50),
    "double the side": (scaled(2), "JPEG", 75),
    "three quarters of the side": (scaled(0.75), "JPEG", 75),
    "half the side": (scaled(0.5), "JPEG", 75),
    "half the side, bilinear": (scaled(0.5, BILINEAR), "JPEG", 75),
    "flipped": (ImageOps.mirror, "JPEG", 75),
    "flipped, half the side": (lambda image: ImageOps.mirror(scaled(0.5)(image)), "JPEG", 75),
}


def images_in(folder: str) -> list[str]:
    """The images of a folder, and of those below it."""
    return sorted(str(path) for path in Path(folder).rglob("*") if path.suffix in (".jpg", ".png"))


def changed(paths: list[str], kind: str) -> Hashed:
    """The hashes of copies that one change makes."""
    change, form, quality = CHANGES[kind]
    with TemporaryDirectory() as folder:
        files = [f"{folder}/{number}.x" for number in range(len(paths))]
        for path, file in zip(paths, files, strict=True):
            change(Image.open(path).convert("RGB")).save(file, form, quality=quality)
        return hashed(files, [folder], 2)


def main(train_folder: str, test_folder: str) -> None:
    """Prints a line for each kind of copy, and two of other images."""
    train, test = images_in(train_folder), images_in(test_folder)[:JUDGED]
    there = hashed(train, [train_folder], 2)
    drawn = random.Random(0).sample(range(len(train)), min(COPIED, len(train)))
    for kind in CHANGES:
        found = copies(changed([train[place] for place in drawn], kind), there)
        right = sum(found.get(row) == place for row, place in enumerate(drawn))
        print(f"{kind}: {len(found) / len(drawn):.1%} of {len(drawn)} found, {right / len(drawn):.1%} of the right image")
    for name, hashes in (("as they are", hashed(test, [test_folder], 2)), ("half the side", changed(test, "half the side"))):
        taken = copies(hashes, there)
        print(f"other images, {name}: {len(taken)} of {len(test)} taken for copies of one of {len(train)}:")
        print(*(f"  {test[row]} {train[place]}" for row, place in taken.items()), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
