"""Folders of class folders, as torchvision's ImageFolder has them: the name of a folder is the class of the images in it."""

import logging
import os
import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from roclip.core.errors import UserError, one_line
from roclip.core.words import counted
from roclip.data.beside import folders_in
from roclip.data.samples import LeftOut, is_of_samples

log = logging.getLogger(__name__)

IMAGES = (".jpg", ".jpeg", ".png", ".webp")
SHARD = re.compile(r"\d{5,}")  # how img2dataset calls a folder


def _class_folders(source: Path) -> list[str]:
    return [name for name in folders_in(source) if name[0] != "."]


def _is_shard(folder: Path) -> bool:
    """Whether img2dataset wrote it: a number is its name, and texts lie beside the images. A class may be called so, too."""
    if not SHARD.fullmatch(folder.name):
        return False
    return any(name.lower().endswith((".txt", ".json")) for name in os.listdir(folder))  # noqa: PTH208 (names alone)


def _refuse_whole_disk(source: Path) -> None:
    """Raises UserError for a folder that holds this project or the user's home: all of a disk would be walked through."""
    place = os.path.realpath(source)
    for path, what in ((".", "this project"), (os.path.expanduser("~"), "your home")):  # noqa: PTH111 (Path's may raise)
        if os.path.commonpath([place, os.path.realpath(path)]) == place:
            raise UserError(
                f"data.tables: {source} is no folder of a data set, for {what} lies there; name the one in which the class "
                "folders lie"
            )


def fits(source: Path) -> bool:
    """Whether there are folders in it, of which none is a shard, and no tar files with captions.

    Raises UserError for a folder of such that holds more than a data set.
    """
    names = _class_folders(source) if source.is_dir() else []
    if not names or any(_is_shard(source / name) for name in names):
        return False
    if any(map(is_of_samples, sorted(source.glob("[!.]*.tar")))):
        return False
    _refuse_whole_disk(source)
    return True


def _files(folder: str, left_out: LeftOut) -> Iterator[str]:
    """The images below a folder, by their names, without hidden files and folders; what else is there is left out."""

    def leave_out(number: int, path: str, reason: str) -> None:
        left_out.append((Path(folder), number, one_line(path), reason))

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: {error.strerror.lower()}; its images would be lost")

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        for number, name in enumerate(folders, 1):
            if os.path.islink(path := os.path.join(parent, name)):  # noqa: PTH114, PTH118 (a million Paths take long)
                leave_out(number, path, "a link to a folder")
        for number, name in enumerate(sorted(name for name in names if name[0] != "."), 1):
            path = os.path.join(parent, name)  # noqa: PTH118
            if name.lower().endswith(IMAGES):
                yield path
            else:
                leave_out(number, path, f"it ends with none of {', '.join(IMAGES)}")


def _loose(source: Path) -> LeftOut:
    """The images and tars beside the class folders, which have no class."""
    names = enumerate(sorted(name for name in os.listdir(source) if name[0] != "."), 1)  # noqa: PTH208
    kinds = ((IMAGES, "an image in no class folder"), (".tar", "a tar in no class folder"))
    return [
        (source, number, one_line(name), reason)
        for number, name in names
        for suffixes, reason in kinds
        if name.lower().endswith(suffixes)
    ]


def class_labels(source: Path, classes: Sequence[str] = (), left_out: LeftOut | None = None) -> Iterator[tuple[str, str]]:
    """Image and class, with blanks for the underscores of the folder's name, unless a class is written as the folder is.

    left_out: receives what is not read, each with its reason. Raises UserError for folders without images and where
    the classes lie one deeper.
    """
    if classes:
        _refuse_splits(source, classes)
    yield from _labelled(source, classes, left_out)


def _labelled(source: Path, classes: Sequence[str], left_out: LeftOut | None) -> Iterator[tuple[str, str]]:
    """As `class_labels`, of folders that were looked at."""
    unread, empty, known, found = _loose(source), [], set(classes), False
    for name in _class_folders(source):
        empty.append(name)
        for path in _files(str(source / name), unread):
            if empty[-1:] == [name]:
                empty.pop()
            found = True
            yield path, name if name in known else name.replace("_", " ")
    if not found:
        raise UserError(f"{source}: no images in its folders; expected a folder for each class with {', '.join(IMAGES)} in it")
    if empty:
        log.warning("%s: no images in %s, first %s", source, counted(len(empty), "folder"), empty[0])
    if unread:
        said = counted(len(unread), "file or link") if len(unread) == 1 else f"{len(unread)} files and links"
        log.warning("%s: left out %s, first %s: %s", source, said, unread[0][2], unread[0][3])
    if left_out is not None:
        left_out += unread


def _refuse_splits(source: Path, classes: Sequence[str]) -> None:
    """Raises UserError where the classes lie one deeper: in folders that are called after none, or after splits.

    `train` may be both a split and a class, as CIFAR-100 and COCO have one: then folders in it are called after classes.
    """
    names = _class_folders(source)
    known = [name for name in names if _is_class(name, classes)]
    for name in known or names:
        below = next(_files(str(source / name), []), None)
        if not below:
            _refuse_packed(source, name)
        elif Path(below).parent != source / name:
            inside = [deeper for deeper in _class_folders(source / name) if _is_class(deeper, classes)]
            if inside or not known:
                first = "" if known else "is no class of data.classes, and "
                called = f", such as {inside[0]}" if inside else ""
                raise UserError(
                    f"{source}: its folder {name} {first}holds images in folders of its own{called}; name the folder in which "
                    f"the class folders lie, such as {source / name}"
                )


def _is_class(folder: str, classes: Sequence[str]) -> bool:
    return folder in classes or folder.replace("_", " ") in classes


def _refuse_packed(source: Path, name: str) -> None:
    """Raises UserError for a folder without images in which parquet files or shards lie."""
    packed = next((path for path in sorted((source / name).iterdir()) if path.suffix.lower() in (".parquet", ".tar")), None)
    if packed:
        raise UserError(f"{source}: its folder {name} is no class folder, it holds {packed.name}; name {source / name}")


def class_captions(
    source: Path, templates: Sequence[str], classes: Sequence[str] = (), left_out: LeftOut | None = None
) -> Iterator[tuple[str, str]]:
    """Image and a caption that names its class: each image of a class has the next prompt template.

    The classes take turns: the first pairs, which `clean_pairs` takes, are of all classes, and so are the last, which are held
    out, where classes are of one size. Folders that are no class are said in the log.

    Raises UserError as `class_labels`, where the classes lie one deeper, where none is called after a class, as the folder of
    images beside a list of captions, and without templates.
    """
    if not templates:
        raise UserError(f"{source}: captions of class folders are made of prompt templates; name a file of them (--templates)")
    _refuse_splits(source, classes)
    names = _class_folders(source)
    strange = [name for name in names if not _is_class(name, classes)]
    if classes and len(strange) == len(names):
        raise UserError(
            f"{source}: none of its folders, such as {strange[0]}, is called after a class of data.classes; if captions lie "
            "there in a list (captions.txt, a JSON file), name the list"
        )
    if classes and strange:
        said = counted(len(strange), "folder")
        log.warning("%s: %s called after no class of data.classes, such as %s", source, said, strange[0])
    by_class: dict[str, list[str]] = {}
    for path, label in _labelled(source, classes, left_out):
        by_class.setdefault(label, []).append(path)
    for turn, paths in enumerate(zip_longest(*by_class.values())):
        for place, (label, path) in enumerate(zip(by_class, paths, strict=True)):
            if path:
                yield path, templates[(turn + place) % len(templates)].replace("{}", label)


def count_images(source: Path) -> int:
    return sum(1 for name in _class_folders(source) for _ in _files(str(source / name), []))
