"""Folders of class folders, as torchvision's ImageFolder has them: the name of a folder is the class of the images in it."""

import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from roclip.core.errors import UserError
from roclip.core.words import counted
from roclip.data.beside import folders_in

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


def fits(source: Path) -> bool:
    """Whether there are folders in it, of which none is a shard, and no tar files."""
    names = _class_folders(source) if source.is_dir() else []
    return bool(names) and not any(_is_shard(source / name) for name in names) and not any(source.glob("*.tar"))


def _files(folder: str, others: list[str]) -> Iterator[str]:
    """The images below a folder, by their names; what else is there is added to `others`, but for hidden files."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(parent, name)  # noqa: PTH118 (a million Paths take long)
            if name.lower().endswith(IMAGES):
                yield path
            elif name[0] != ".":
                others.append(path)


def class_labels(source: Path) -> Iterator[tuple[str, str]]:
    """Image and class, with blanks for the underscores of the folder's name; files that are not read are said in the log.

    Raises UserError for folders without images.
    """
    found, others = False, []
    for name in _class_folders(source):
        for path in _files(str(source / name), others):
            found = True
            yield path, name.replace("_", " ")
    if not found:
        raise UserError(f"{source}: no images in its folders; expected a folder for each class with {', '.join(IMAGES)} in it")
    if others:
        said = counted(len(others), "file")
        log.warning("%s: left out %s that end with none of %s, first %s", source, said, ", ".join(IMAGES), others[0])


def class_captions(source: Path, templates: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Image and a caption that names its class: each image of a class has the next prompt template."""
    for number, (path, label) in enumerate(class_labels(source)):
        yield path, templates[number % len(templates)].replace("{}", label)


def count_images(source: Path) -> int:
    return sum(1 for name in _class_folders(source) for _ in _files(str(source / name), []))
