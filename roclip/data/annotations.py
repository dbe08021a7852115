"""Annotations in JSON: COCO's captions and objects, and Visual Genome's descriptions of regions."""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from roclip.core.errors import UserError
from roclip.data.beside import folder_of, in_rounds
from roclip.data.json_stream import entries

GENOME = ("VG_100K", "VG_100K_2")  # the folders of Visual Genome's images


def cell(source: Path, entry: Any, key: str, kind: type) -> Any:
    """A value of an annotation. Raises UserError for one that is missing or of another type."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if type(value) is not kind:
        raise UserError(f"{source}: expected {kind.__name__} as '{key}' in {str(entry)[:100]!r}; is it the right file?")
    return value


def one_line_of(caption: str) -> str:
    """A caption without line breaks and blanks at its ends, which some annotators left."""
    return " ".join(caption.split())


def _coco(source: Path, *keys: str) -> dict[str, list[Any]]:
    """The lists of these names. Raises UserError where one is missing or empty."""
    found: dict[str, list[Any]] = {key: [] for key in keys}
    for key, entry in entries(source):
        if key in found:
            found[key].append(entry)
    for key in (key for key in keys if not found[key]):
        raise UserError(f"{source}: nothing under '{key}'; expected COCO's annotations: {', '.join(keys)}")
    return found


def _twice(source: Path, number: int) -> UserError:
    return UserError(f"{source}: two entries have the id {number}; take one out, or fetch the file again")


def _by_id(source: Path, listed: list[Any], key: str) -> dict[int, str]:
    """A text of each entry by its id. Raises UserError for an id that two have: one of them would be lost."""
    found: dict[int, str] = {}
    for entry in listed:
        number = cell(source, entry, "id", int)
        if number in found:
            raise _twice(source, number)
        found[number] = cell(source, entry, key, str)
    return found


def _images(source: Path, listed: list[Any]) -> dict[int, str]:
    """The path of each image by its number."""
    names = _by_id(source, listed, "file_name")
    folder = folder_of(source, list(names.values()))
    # ./a.jpg is a.jpg; Paths of many of them take long
    return {number: os.path.normpath(os.path.join(folder, name)) for number, name in names.items()}  # noqa: PTH118


def _image_of(source: Path, paths: dict[int, str], entry: Any) -> str:
    number = cell(source, entry, "image_id", int)
    if number not in paths:
        raise UserError(f"{source}: an annotation is of image {number}, which is not under 'images'; is the file whole?")
    return paths[number]


def coco_captions(source: Path) -> Iterator[tuple[str, str]]:
    """Image and caption of captions_train2014.json and the like, in rounds. Raises UserError for a file that is none."""
    found = _coco(source, "images", "annotations")
    paths = _images(source, found["images"])
    captions: dict[str, list[str]] = {path: [] for path in paths.values()}
    for entry in found["annotations"]:
        captions[_image_of(source, paths, entry)].append(one_line_of(cell(source, entry, "caption", str)))
    return in_rounds(captions)


def coco_labels(source: Path) -> Iterator[tuple[str, str]]:
    """Image and category of instances_val2014.json and the like, of images in which one category alone is marked."""
    found = _coco(source, "images", "annotations", "categories")
    paths = _images(source, found["images"])
    names = _by_id(source, found["categories"], "name")
    shown = defaultdict(set)
    for entry in found["annotations"]:
        category = cell(source, entry, "category_id", int)
        shown[_image_of(source, paths, entry)].add(names.get(category, f"category {category}"))
    return ((path, *shown[path]) for path in dict.fromkeys(paths.values()) if len(shown[path]) == 1)  # each file once


def genome_captions(source: Path) -> Iterator[tuple[str, str]]:
    """Image and phrase of each region of region_descriptions.json, in rounds. Raises UserError for a file that is none."""
    captions: dict[str, list[str]] = {}
    for _, image in entries(source):
        if not isinstance(image, dict) or "regions" not in image:
            named = f"{source}: {str(image)[:100]!r} is neither an image with its captions (image, caption), as in BLIP's lists"
            raise UserError(f"{named}, nor one of Visual Genome's (id, regions)")
        number, regions = cell(source, image, "id", int), cell(source, image, "regions", list)
        if f"{number}.jpg" in captions:
            raise _twice(source, number)
        captions[f"{number}.jpg"] = [one_line_of(cell(source, region, "phrase", str)) for region in regions]
    folders = [source.parent / name for name in GENOME if (source.parent / name).is_dir()]
    there: dict[str, str] = {}
    for folder in folders:
        for name in os.listdir(folder):  # noqa: PTH208 (names alone)
            if name in there and name in captions:
                raise UserError(f"{source}: {there[name]} and {folder / name} are two images of one number; take one out")
            there[name] = str(folder / name)
    if captions and not there.keys() & captions.keys():
        raise UserError(f"{source}: its images, such as {next(iter(captions))}, lie in none of {', '.join(GENOME)} beside it")
    return in_rounds({there.get(name, str(source.parent / GENOME[0] / name)): texts for name, texts in captions.items()})
