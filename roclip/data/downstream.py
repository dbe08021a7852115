"""Stage: write the tables of a downstream set, read from the form in which its makers published it.

Writes `probe.csv`, on which the linear probe is trained, and `test.csv` (path, label), `classes.txt`, a name a line in the
order of the set's own class numbers, and `templates.txt`, the 80 prompt templates of CLIP, the same for every set. Nothing is
downloaded. Images stay where they are; those of CIFAR, which come as arrays, are written to `images/` as PNG.

| set | probe | test | classes |
|---|---|---|---|
| cifar10, cifar100 | train | test | 10; the 100 fine ones |
| food101 | train | test | 101 |
| dtd | train and val of partition 1 | test of partition 1 | 47 |
| aircraft | trainval | test | the 100 variants |
| flowers102 | train and val | test | 102 |
| caltech101 | 30 images of each class, drawn once and for all | the others | 101: without BACKGROUND_Google |
| pets | trainval | test | 37 |
| cars | train | test | 196 |
| imagenet1k | train, of more than 50,000 images so many drawn once and for all | validation | 1000 |

Where a set has a validation split, it is added to the training images, and of Caltech101, which has no split, 30 images of
each class are drawn: both as in CLIP's linear probes (Radford et al., 2021, appendix A). ImageNet1K is a folder with
`train/labels.csv` and `validation/labels.csv` (image, label): paths relative to the CSV, and class numbers 0 to 999.
"""

import logging
import os
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES
from PIL import Image
from torchvision import datasets

from roclip.core.atomic import atomic, completed
from roclip.core.columns import LABELLED
from roclip.core.errors import UserError
from roclip.core.files import open_file, read_table, write_table
from roclip.core.options import Stage, option, same_option
from roclip.core.provenance import below
from roclip.core.randomness import numpy_generator
from roclip.data.annotations import one_line_of
from roclip.data.downstream_sets import CLASSES, FOLDERS
from roclip.data.mat_bounds import check_mat
from roclip.data.settings import DataSettings, DownstreamSettings

log = logging.getLogger(__name__)

CALTECH_PROBE = 30  # images of a class that the probe is trained on
IMAGENET_PROBE = 50_000
LIST = 3_000_000  # bytes of the longest list, Food101's, and half as many more
# open_clip calls 657 and 744 both missile, and 836 and 837 both sunglasses; equal prompts could not tell them apart
IMAGENET_RENAMED = {744: "projectile", 836: "sunglass"}
CALTECH_RENAMED = {
    "Faces": "off-center face", "Faces_easy": "centered face", "Leopards": "leopard", "Motorbikes": "motorbike",
    "airplanes": "airplane",
}  # fmt: skip

Labelled = list[tuple[str, int]]  # path, class number


@dataclass(frozen=True, kw_only=True)
class DownstreamOptions:
    root: Path = same_option(DownstreamSettings, "root", role="setting")
    set: str = option("name of the set", choices=tuple(FOLDERS))
    out: Path = option("folder to write", role="output")
    max_bad_fraction: float = same_option(DataSettings, "max_bad_fraction")


@dataclass(frozen=True)
class Split:
    """A set: its class names by number, and the images for the probe and for the test."""

    classes: list[str]
    probe: Labelled
    test: Labelled


def spaced(names: Iterable[str]) -> list[str]:
    """Names with spaces in place of underscores."""
    return [name.replace("_", " ") for name in names]


def cifar(dataset_class: type[datasets.CIFAR10], root: Path, out: Path) -> Split:
    """Either CIFAR; torchvision compares its files with known checksums before it unpickles them."""
    splits = {}
    for name in ("probe", "test"):
        dataset = dataset_class(root, train=name == "probe")
        folder = out / "images" / name
        folder.mkdir(parents=True, exist_ok=True)
        splits[name] = []
        for row, (image, label) in enumerate(zip(dataset.data, dataset.targets, strict=True)):
            path = folder / f"{row:05d}.png"
            Image.fromarray(image).save(path, compress_level=1)
            splits[name].append((str(path), label))
        completed.append(folder)
    return Split(spaced(dataset.classes), **splits)


def listed(dataset: datasets.VisionDataset) -> Labelled:
    """The images of a set whose `loader` gives back paths."""
    found = [dataset[row] for row in range(len(dataset))]
    for path, label in found:
        if label != int(label):
            raise ValueError(f"the class number of {path} is {label}")
    return [(str(path), int(label)) for path, label in found]


def food101(root: Path, out: Path) -> Split:
    probe, test = (datasets.Food101(root, split, loader=str) for split in ("train", "test"))
    return Split(same_classes(probe, test), listed(probe), listed(test))


def dtd(root: Path, out: Path) -> Split:
    train, val, test = (datasets.DTD(root, split, partition=1, loader=str) for split in ("train", "val", "test"))
    return Split(same_classes(train, val, test), listed(train) + listed(val), listed(test))


def aircraft(root: Path, out: Path) -> Split:
    probe, test = (datasets.FGVCAircraft(root, split, "variant", loader=str) for split in ("trainval", "test"))
    return Split(same_classes(probe, test), listed(probe), listed(test))


def flowers102(root: Path, out: Path) -> Split:
    train, val, test = (datasets.Flowers102(root, split, loader=str) for split in ("train", "val", "test"))
    classes = [name.rstrip("?") for name in train.classes]  # "pink-yellow dahlia?"
    return Split(classes, listed(train) + listed(val), listed(test))


def caltech101(root: Path, out: Path) -> Split:
    dataset = datasets.Caltech101(root)
    folder = Path(dataset.root, "101_ObjectCategories")
    probe, test = [], []
    for number, name in enumerate(dataset.categories):
        images = sorted((folder / name).glob("image_*.jpg"))
        if len(images) <= CALTECH_PROBE:
            raise UserError(
                f"{folder / name}: {len(images)} images (image_*.jpg); the probe takes {CALTECH_PROBE}, the test the rest"
            )
        order = numpy_generator("caltech101", name).permutation(len(images))
        chosen = set(order[:CALTECH_PROBE].tolist())
        for row, path in enumerate(images):
            (probe if row in chosen else test).append((str(path), number))
    names = [CALTECH_RENAMED.get(name, name.lower()) for name in dataset.categories]
    return Split(spaced(names), probe, test)


def pets(root: Path, out: Path) -> Split:
    probe, test = (datasets.OxfordIIITPet(root, split) for split in ("trainval", "test"))
    # it has no loader of paths to ask for
    images = [[(str(path), label) for path, label in zip(d._images, d._labels, strict=True)] for d in (probe, test)]
    # torchvision numbers the names that it finds, so that one odd row moves those of all other images
    named = {(Path(path).stem.rpartition("_")[0], label) for path, label in (*images[0], *images[1])}
    for name, count in Counter(name for name, _ in named).items():
        if count > 1:
            raise ValueError(f"{name} has {count} class numbers")
    for label, count in Counter(label for _, label in named).items():
        if count > 1:
            raise ValueError(f"class number {label + 1} is of {count} names")
    return Split(same_classes(probe, test), *images)


def cars(root: Path, out: Path) -> Split:
    probe, test = (datasets.StanfordCars(root, split, loader=str) for split in ("train", "test"))
    return Split(same_classes(probe, test), listed(probe), listed(test))


def imagenet1k(root: Path, out: Path) -> Split:
    classes = [IMAGENET_RENAMED.get(number, name) for number, name in enumerate(IMAGENET_CLASSNAMES)]
    splits = []
    for split in ("train", "validation"):
        table = root / FOLDERS["imagenet1k"] / split / "labels.csv"
        rows = read_table(table, ("image", "label"), restore=False)  # the user's
        for line, row in enumerate(rows, 1):
            if not (row["label"].isdecimal() and int(row["label"]) < len(classes)):
                raise UserError(
                    f"{table}, row {line}: the label '{row['label']}' is no class number from 0 to {len(classes) - 1}"
                )
        splits.append([(str(table.parent / row["image"]), int(row["label"])) for row in rows])
    probe, test = splits
    if len(probe) > IMAGENET_PROBE:
        chosen = numpy_generator("imagenet1k").permutation(len(probe))[:IMAGENET_PROBE]
        probe = [probe[row] for row in np.sort(chosen)]
    return Split(classes, probe, test)


READERS: dict[str, Callable[[Path, Path], Split]] = {
    "cifar10": lambda root, out: cifar(datasets.CIFAR10, root, out),
    "cifar100": lambda root, out: cifar(datasets.CIFAR100, root, out),
    "food101": food101, "dtd": dtd, "aircraft": aircraft, "flowers102": flowers102, "caltech101": caltech101, "pets": pets,
    "cars": cars, "imagenet1k": imagenet1k,
}  # fmt: skip

# what the folder of each must hold, for error messages
LAYOUTS = {
    "cifar10": "data_batch_1 to data_batch_5, test_batch and batches.meta, as in cifar-10-python.tar.gz, unchanged",
    "cifar100": "train, test and meta, as in cifar-100-python.tar.gz, unchanged",
    "food101": "images/ and meta/train.json, meta/test.json, as in food-101.tar.gz",
    "dtd": "dtd/images/ and dtd/labels/, as in dtd-r1.0.1.tar.gz",
    "aircraft": "data/images/ and data/images_variant_*.txt, as in fgvc-aircraft-2013b.tar.gz",
    "flowers102": "jpg/, from 102flowers.tgz, and beside it imagelabels.mat and setid.mat, unchanged",
    "caltech101": "101_ObjectCategories/, from 101_ObjectCategories.tar.gz, with a folder for each class and BACKGROUND_Google",
    "pets": "images/ and annotations/, from images.tar.gz and annotations.tar.gz",
    "cars": "cars_train/, cars_test/, devkit/ with cars_train_annos.mat and cars_meta.mat, and cars_test_annos_withlabels.mat",
    "imagenet1k": "train/labels.csv and validation/labels.csv (image, label)",
}


def same_classes(*parts: datasets.VisionDataset) -> list[str]:
    """The class names that all parts of a set agree on. Raises ValueError when they do not."""
    if any(part.classes != parts[0].classes for part in parts):
        raise ValueError("its splits name different classes")
    return spaced(parts[0].classes)


def read(options: DownstreamOptions) -> Split:
    """The set. Raises UserError that says what the folder must hold when it is not laid out as its makers published it."""
    folder = options.root / FOLDERS[options.set]
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; it must hold {LAYOUTS[options.set]}")
    _check_files(folder)
    try:
        split = READERS[options.set](options.root, options.out)
    except UserError:
        raise
    except Exception as error:  # torchvision and scipy raise many kinds; each of them is a folder that is not as expected
        reason = " ".join(str(error).replace(" You can use download=True to download it", "").split())
        raise UserError(f"{folder}: not {options.set} as expected ({reason}); it must hold {LAYOUTS[options.set]}") from None
    for name, images in (("probe", split.probe), ("test", split.test)):
        if not images:
            raise UserError(f"{folder}: no image for the {name}; it must hold {LAYOUTS[options.set]}")
        wrong = next(((path, number) for path, number in images if not 0 <= number < len(split.classes)), None)
        if wrong:
            raise UserError(  # the sets whose numbers torchvision takes from a file count from 1
                f"{folder}: {wrong[0]} is of class {wrong[1] + 1}, and there are {len(split.classes)}; it must hold "
                f"{LAYOUTS[options.set]}"
            )
        missing = [path for path, _ in images if not os.path.isfile(path)]  # noqa: PTH113 (Path's raises for a long name)
        if len(missing) > options.max_bad_fraction * len(images):
            raise UserError(
                f"{folder}: {len(missing)} of {len(images)} images for the {name} are not there, first {missing[0]}; "
                f"it must hold {LAYOUTS[options.set]}"
            )
    _check_labels(folder, split)
    return split


def _check_files(folder: Path) -> None:
    """Raises UserError for pipes and devices, whose reading never ends, byte-order marks in lists, and long files."""
    for path in below(folder):
        if not os.path.isfile(path) and os.path.exists(path) and not os.path.isdir(path):  # noqa: PTH110, PTH112, PTH113 (as below)
            raise UserError(f"{path}: is a pipe or device, no file; take it out")
        if path.suffix == ".mat":
            check_mat(path)
        if path.suffix in (".json", ".txt") and os.path.exists(path) and path.stat().st_size > LIST:  # noqa: PTH110
            raise UserError(f"{path}: a list of more than {LIST / 1e6:.0f} MB, longer than any set has; unpack the set again")
        if path.suffix == ".txt":
            with open_file(path) as file:
                if file.read(3) == BOM_UTF8:
                    raise UserError(f"{path}: begins with a byte-order mark, which would be part of a name; save it without")


def _check_labels(folder: Path, split: Split) -> None:
    """Raises UserError for an image of two classes, one that probe and test share, and a class name that is no plain line."""
    seen: dict[str, tuple[str, int]] = {}
    for name, images in (("probe", split.probe), ("test", split.test)):
        for path, number in images:
            before, other = seen.setdefault(os.path.normpath(path), (name, number))
            if before != name:
                raise UserError(f"{folder}: {path} is among the images for the probe and for the test; take it out of one list")
            if other != number:
                named = " and ".join(f"'{split.classes[each]}'" for each in (other, number))
                raise UserError(f"{folder}: {path} is labelled {named}; an image has one class")
    for number, name in enumerate(split.classes):
        if one_line_of(name) != name or not name.isprintable() or not name:
            raise UserError(f"{folder}: the name of class {number + 1}, {name[:100]!r}, is empty or no plain line; rename it")


def run(options: DownstreamOptions) -> None:
    split = read(options)
    double = [name for name, count in Counter(split.classes).items() if count > 1]
    if double:
        raise UserError(f"{options.root / FOLDERS[options.set]}: duplicate class name '{double[0]}'")
    for name, images in (("probe", split.probe), ("test", split.test)):
        rows = ({"path": path, "label": split.classes[number]} for path, number in images)
        write_table(options.out / f"{name}.csv", tuple(LABELLED), rows)
    lists = {"classes": split.classes, "templates": [template("{}") for template in OPENAI_IMAGENET_TEMPLATES]}
    for name, lines in lists.items():
        with atomic(options.out / f"{name}.txt") as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    counts = len(split.probe), len(split.test), len(split.classes)
    log.info("%s: %d probe images, %d test images, %d classes", options.set, *counts)
    if len(split.classes) != CLASSES[options.set]:
        log.warning("%s: the published set has %d classes; accuracies are not comparable", options.set, CLASSES[options.set])


STAGE = Stage(DownstreamOptions, run)
