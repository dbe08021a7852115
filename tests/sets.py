"""Miniatures of the downstream sets, each in the form in which its makers give it out, with two classes or a few more.

Every image is of one colour, and that colour says what it is: `(class, split, number)`, so that a test can look at the image
that a table names and tell where it came from. Splits: 0 train, 1 val, 2 test.
"""

import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

TRAIN, VAL, TEST = range(3)
SIDE = 24


def colour(label: int, split: int, number: int) -> tuple[int, int, int]:
    """A colour that JPEG keeps apart from all others: (class, split, number)."""
    return 20 + 30 * label, 20 + 100 * split, 20 + 6 * number


def read_colour(path: str) -> tuple[int, int, int]:
    """The (class, split, number) of an image file, from a pixel in its middle."""
    with Image.open(path) as image:
        red, green, blue = (int(v) for v in image.convert("RGB").getpixel((image.width // 2, image.height // 2)))
    return round((red - 20) / 30), round((green - 20) / 100), round((blue - 20) / 6)


def draw(path: Path, label: int, split: int, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (SIDE, SIDE + 4), colour(label, split, number)).save(path, quality=100, subsampling=0)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def pickled(path: Path, content: dict) -> list[str]:
    """Write a file as CIFAR's are; its name and checksum, as torchvision lists them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2))
    return [path.name, hashlib.md5(path.read_bytes()).hexdigest()]


def arrays(labels: list[int], split: int, start: int = 0) -> np.ndarray:
    """Images as rows of a CIFAR file: 1024 red values, 1024 green, 1024 blue."""
    colours = np.array([colour(label, split, start + n) for n, label in enumerate(labels)], np.uint8)
    return np.repeat(colours, 1024, axis=1)


def cifar10(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder, train = root / "cifar-10-batches-py", []
    for n in range(5):
        labels = [n % 2, 1]
        content = {
            "batch_label": f"{n + 1} of 5",
            "labels": labels,
            "data": arrays(labels, TRAIN, 2 * n),
            "filenames": ["a", "b"],
        }
        train.append(pickled(folder / f"data_batch_{n + 1}", content))
    test = pickled(folder / "test_batch", {"labels": [1, 0, 1], "data": arrays([1, 0, 1], TEST), "filenames": ["a"] * 3})
    name, md5 = pickled(folder / "batches.meta", {"label_names": ["airplane", "automobile"], "num_vis": 3072})
    patch.setattr(datasets.CIFAR10, "train_list", train)
    patch.setattr(datasets.CIFAR10, "test_list", [test])
    patch.setattr(datasets.CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": md5})


def cifar100(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder = root / "cifar-100-python"
    for attribute, name, labels, split in (
        ("train_list", "train", [2, 0, 1, 1], TRAIN),
        ("test_list", "test", [1, 2], TEST),
    ):
        coarse = [5] * len(labels)
        content = {"fine_labels": labels, "coarse_labels": coarse, "data": arrays(labels, split), "filenames": ["a"]}
        patch.setattr(datasets.CIFAR100, attribute, [pickled(folder / name, content)])
    meta = {"fine_label_names": ["apple", "aquarium_fish", "baby"], "coarse_label_names": ["fish", "fruit"]}
    name, md5 = pickled(folder / "meta", meta)
    patch.setattr(datasets.CIFAR100, "meta", {"filename": name, "key": "fine_label_names", "md5": md5})


def food101(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder = root / "food-101"
    for split, name, per_class in ((TRAIN, "train", 3), (TEST, "test", 2)):
        listed: dict[str, list[str]] = {"baby_back_ribs": [], "apple_pie": []}  # not in the order of their numbers
        for label, food in enumerate(("apple_pie", "baby_back_ribs")):
            for n in range(per_class):
                listed[food].append(f"{food}/{1000 * split + n}")
                draw(folder / f"images/{food}/{1000 * split + n}.jpg", label, split, n)
        write(folder / f"meta/{name}.json", json.dumps(listed))
    write(folder / "meta/classes.txt", "apple_pie\nbaby_back_ribs\n")


def dtd(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder = root / "dtd/dtd"
    for split, name in ((TRAIN, "train"), (VAL, "val"), (TEST, "test")):
        lines = []
        for n, label in enumerate((0, 1, 1)):
            texture = ("banded", "zigzagged")[label]
            lines.append(f"{texture}/{texture}_{split}{n}.jpg")
            draw(folder / "images" / lines[-1], label, split, n)
        write(folder / f"labels/{name}1.txt", "\n".join(lines) + "\n")
        write(folder / f"labels/{name}2.txt", "banded/banded_20.jpg\nzigzagged/zigzagged_21.jpg\n")  # another partition


def aircraft(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder = root / "fgvc-aircraft-2013b/data"
    variants, families = ["707-320", "F-16A/B"], ["Boeing 707", "F-16"]
    write(folder / "variants.txt", "\n".join(variants) + "\n")
    write(folder / "families.txt", "\n".join(families) + "\n")
    write(folder / "manufacturers.txt", "Boeing\nLockheed Martin\n")
    lines: dict[str, dict[str, list[str]]] = {"variant": {}, "family": {}}
    for split, name in ((TRAIN, "train"), (VAL, "val"), (TEST, "test")):
        for n, label in enumerate((1, 0, 1)):
            image = f"{split}{n:06d}"
            draw(folder / f"images/{image}.jpg", label, split, n)
            for level, names in (("variant", variants), ("family", families)):
                for part in (name, "trainval") if split != TEST else (name,):
                    lines[level].setdefault(part, []).append(f"{image} {names[label]}")
    for level, parts in lines.items():
        for name, content in parts.items():
            write(folder / f"images_{level}_{name}.txt", "\n".join(content) + "\n")


def flowers102(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder = root / "flowers-102"
    splits = {"trnid": [4, 1], "valid": [2, 6], "tstid": [3, 5, 7]}
    labels = [1, 3, 1, 3, 2, 1, 3]  # of images 1 to 7; classes from 1
    for split, images in enumerate(splits.values()):
        for n, image in enumerate(images):
            draw(folder / f"jpg/image_{image:05d}.jpg", labels[image - 1] - 1, split, n)
    savemat(folder / "setid.mat", {name: np.array([images]) for name, images in splits.items()})
    savemat(folder / "imagelabels.mat", {"labels": np.array([labels])})
    files = dict(datasets.Flowers102._file_dict)
    for key, name in (("setid", "setid.mat"), ("label", "imagelabels.mat")):
        files[key] = (name, hashlib.md5((folder / name).read_bytes()).hexdigest())
    patch.setattr(datasets.Flowers102, "_file_dict", files)


def caltech101(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder = root / "caltech101/101_ObjectCategories"
    for label, (name, count) in enumerate((("BACKGROUND_Google", 3), ("Faces", 34), ("inline_skate", 31), ("Faces_easy", 31))):
        for n in range(count):
            draw(folder / name / f"image_{n + 1:04d}.jpg", label, TRAIN, n)


def pets(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder = root / "oxford-iiit-pet"
    breeds = ["Abyssinian", "american_bulldog"]
    for split, name in ((TRAIN, "trainval"), (TEST, "test")):
        lines = []
        for n, label in enumerate((1, 0, 1)):
            image = f"{breeds[label]}_{10 * split + n}"
            lines.append(f"{image} {label + 1} {label + 1} 1")
            draw(folder / f"images/{image}.jpg", label, split, n)
        write(folder / f"annotations/{name}.txt", "\n".join(lines) + "\n")


def cars(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder = root / "stanford_cars"
    (folder / "devkit").mkdir(parents=True)
    kinds = [("x1", "O"), ("y1", "O"), ("x2", "O"), ("y2", "O"), ("class", "O"), ("fname", "O")]
    for split, name, path in (
        (TRAIN, "cars_train", "devkit/cars_train_annos.mat"),
        (TEST, "cars_test", "cars_test_annos_withlabels.mat"),
    ):
        rows = np.empty((1, 3), dtype=kinds)
        for n, label in enumerate((1, 0, 1)):
            rows[0, n] = (1, 1, 9, 9, label + 1, f"{n + 1:05d}.jpg")
            draw(folder / f"{name}/{n + 1:05d}.jpg", label, split, n)
        savemat(folder / path, {"annotations": rows})
    names = np.empty((1, 2), dtype=object)
    names[0] = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012"]
    savemat(folder / "devkit/cars_meta.mat", {"class_names": names})


def imagenet1k(root: Path, patch: pytest.MonkeyPatch) -> None:
    for split, name, labels in ((TRAIN, "train", (0, 1, 0, 7)), (TEST, "validation", (1, 7, 0))):
        lines = ["image,label"]
        for n, label in enumerate(labels):
            lines.append(f"images/{n}.jpeg,{label}")
            draw(root / f"imagenet1k/{name}/images/{n}.jpeg", label, split, n)
        write(root / f"imagenet1k/{name}/labels.csv", "\n".join(lines) + "\n")


MINIATURES = {
    maker.__name__: maker
    for maker in (cifar10, cifar100, food101, dtd, aircraft, flowers102, caltech101, pets, cars, imagenet1k)
}
