"""Captions with the splits of Karpathy and Fei-Fei (CVPR 2015), in JSON: his files of COCO and Flickr, and lists as BLIP's."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from roclip.core.errors import UserError
from roclip.data.annotations import cell, one_line_of
from roclip.data.beside import placed
from roclip.data.json_stream import entries
from roclip.data.split_names import TO_WRITE, said_in, split_of


def _images(source: Path) -> Iterator[Any]:
    """What stands under 'images'."""
    return (entry for key, entry in entries(source) if key == "images")


def has_splits(source: Path) -> bool:
    """Whether it is one of Karpathy's files, dataset_coco.json and the like, by its first image."""
    first = next(_images(source), None)
    return isinstance(first, dict) and {"sentences", "filename"} <= first.keys()


def is_list(source: Path) -> bool:
    """Whether it is a list of images with their captions, as BLIP's coco_karpathy_train.json, by its first entry."""
    _, first = next(entries(source), ("", None))
    return isinstance(first, dict) and {"image", "caption"} <= first.keys()


def has_own(source: Path, split: str) -> bool:
    """Whether one of Karpathy's files has images of a split; those of `restval` are trained on."""
    return any(_split(source, image) == split for image in _images(source))


def _split(source: Path, image: Any, key: str = "split") -> str:
    """The split of an image, "" for none. Raises UserError for a word that is none: its image would be lost."""
    word = cell(source, image, key, str)
    split = split_of(word)
    if word and not split:
        raise UserError(f"{source}: '{word[:100]}' in {str(image)[:100]!r} is no split; {TO_WRITE}")
    return split


def _split_listed(source: Path, entry: Any) -> str:
    """The split of an entry of a list, which need not say one. Raises UserError as `_split`."""
    key = said_in(source, entry) if isinstance(entry, dict) else None
    return "" if key is None or entry[key] is None else _split(source, entry, key)


def has_own_listed(source: Path, split: str) -> bool:
    """Whether a list has images of a split."""
    return any(_split_listed(source, entry) == split for _, entry in entries(source))


def _rows(source: Path, image: Any) -> Iterator[tuple[str, str]]:
    """An image of Karpathy's with each of its captions; COCO's stand in a folder, such as val2014."""
    name = _named(source, image, "filename")
    path = os.path.normpath(f"{cell(source, image, 'filepath', str)}/{name}" if "filepath" in image else name)
    for sentence in cell(source, image, "sentences", list):
        yield path, one_line_of(cell(source, sentence, "raw", str))


def captions_of_split(source: Path, split: str) -> Iterator[tuple[str, str]]:
    """Image and caption of one of Karpathy's files, in rounds; all images, where they are of no split or of one other.

    Raises UserError for a file that is none, and where images are of other splits and none is of this one.
    """
    return _of_split(source, split, ((_split(source, image), _rows(source, image)) for image in _images(source)))


def _of_split(source: Path, split: str, images: Iterable[tuple[str, Iterable[tuple[str, str]]]]) -> Iterator[tuple[str, str]]:
    """The rows of a split, in rounds; images: the split of each, and its rows."""
    rows: dict[str, list[tuple[str, str]]] = {}
    of: dict[str, str] = {}
    for name, captions in images:
        for path, text in captions:
            if of.setdefault(path, name) != name:
                raise UserError(f"{source}: {path} is an image of two splits, {of[path]} and {name}; take it out of one")
            rows.setdefault(name, []).append((path, text))
    if split not in rows and len(rows) > 1:
        others = ", ".join(sorted(filter(None, rows)))
        raise UserError(f"{source}: no image is of the split '{split}', and some are of {others}; name another source for it")
    return placed(source, rows[split] if split in rows else chain(*rows.values()))


def listed_captions(source: Path, split: str) -> Iterator[tuple[str, str]]:
    """Image and caption of a list, in rounds; an entry has one caption or several. Of which images, as `captions_of_split`."""
    return _of_split(source, split, ((_split_listed(source, entry), _listed(source, entry)) for _, entry in entries(source)))


def _listed(source: Path, entry: Any) -> Iterator[tuple[str, str]]:
    path = os.path.normpath(_named(source, entry, "image"))  # ./a.jpg is a.jpg
    texts = entry.get("caption")
    for text in texts if isinstance(texts, list) else [texts]:
        if not isinstance(text, str):
            raise UserError(f"{source}: a caption in {str(entry)[:100]!r} is no text; mend it")
        yield path, one_line_of(text)


def _named(source: Path, entry: Any, key: str) -> str:
    """The name of an image. Raises UserError for none."""
    name = cell(source, entry, key, str)
    if not name.strip():
        raise UserError(f"{source}: '{key}' is empty in {str(entry)[:100]!r}; take the entry out")
    return name


def count_listed(source: Path) -> int:
    """How many pairs a list has for training."""
    return _for_training(Counter(_split_listed(source, entry) for _, entry in entries(source) for _ in _listed(source, entry)))


def _for_training(counts: Counter[str]) -> int:
    """How many pairs are trained on, by how many there are of each split."""
    return counts["train"] or counts.total()


def count_pairs(source: Path) -> int:
    """How many pairs one of Karpathy's files has for training: it is read for that, COCO's in 2 s."""
    counts = Counter()
    for image in _images(source):
        counts[_split(source, image)] += len(cell(source, image, "sentences", list))
    return _for_training(counts)
