"""The sections `data` and `downstream` of the config: what an experiment is trained and judged on."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any
from unicodedata import category

import numpy as np

from roclip.core.errors import UserError
from roclip.core.files import read_lines
from roclip.core.options import PATH, option, whole
from roclip.data.class_mentions import BETWEEN, folded
from roclip.data.downstream_sets import FOLDERS, present_sets
from roclip.data.image_bounds import BadImage
from roclip.data.image_paths import Roots
from roclip.data.url_list import SPLITS, paths, words

SMALLEST, SIDE = 8, 4096  # pixels of the sides of an image that anything is trained on
SCENES = 100_000_000  # of a split, at most
NAMED = ("object", "other", "ground", "size", "side")  # what a sentence pattern of drawn scenes may hold in braces
QUALITY = {"png": 1, "jpg": 95, "webp": 95}  # by the format in which images are kept; for png, how hard to compress
DISTRIBUTORS = ("multiprocessing", "pyspark", "ray")
_PATH = {"pattern": whole(PATH)}  # of a text; what is no text, it lets pass
_BY_SPLIT = {
    "additionalProperties": False,
    "properties": {
        split: {"type": "string", **_PATH, "description": f"source of the split {split}, a path"} for split in SPLITS
    },
}


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    url_list: str | Mapping[str, str] | None = option(
        "what is downloaded. null: nothing, scenes are drawn. TSV: a list with a header (split, url, caption, "
        "label). { train: TSV, ... }, as CC3M is published: lists without a header, a text and a URL a line, where the text is "
        "the caption for train and validation and the label for test and probe",
        None,
        schema={"type": ["string", "object", "null"], "minProperties": 1, **_PATH, **_BY_SPLIT},
    )
    tables: Mapping[str, str] = option(
        "splits that are on this disk already, in place of the list's: { train: SOURCE, ... }: COCO's annotations, Visual "
        "Genome's, Flickr's captions, parquet files with images inside, class folders, img2dataset's shards, tables (path, "
        "caption) or, for test and probe, (path, label), and others; see docs/data.md",
        {},
        schema={"type": "object", **_BY_SPLIT},
    )
    classes: Path = option(
        "file with one class name a line; for drawn scenes, Unicode short names of emoji",
        Path("config/scenes/classes.txt"), pattern=PATH,
    )  # fmt: skip
    templates: Path = option(
        "file with one prompt template a line, {} standing for the class name",
        Path("config/scenes/templates.txt"),
        pattern=PATH,
    )
    captions: Path = option(
        "file with one sentence pattern a line, for drawn scenes", Path("config/scenes/captions.txt"), pattern=PATH
    )
    image_size: int = option(
        "side of the scenes, and shorter side to which downloads are shrunk, in pixels", 32, minimum=SMALLEST, maximum=SIDE
    )
    image_format: str = option("format in which images are kept", "png", choices=tuple(QUALITY))
    output_format: str = option(
        "files: a file for each image; webdataset: tar files of 2500 images, with their captions",
        "files",
        choices=("files", "webdataset"),
    )
    allow: tuple[str, ...] = option(
        "what is allowed beyond public web addresses. file: file: URLs inside the folder of their list; loopback: servers on "
        "this machine",
        ("file",),
        choices=("file", "loopback"),
    )
    distributor: str = option(
        "what spreads the download. multiprocessing: processes of this machine; pyspark or ray, once installed",
        "multiprocessing",
        choices=DISTRIBUTORS,
    )
    train_scenes: int = option("drawn scenes in the split train", 40000, minimum=1, maximum=SCENES)
    validation_scenes: int = option("drawn scenes in the split validation", 1000, minimum=1, maximum=SCENES)
    test_scenes: int = option("drawn scenes in the split test", 2500, minimum=1, maximum=SCENES)
    probe_scenes: int = option("drawn scenes in the split probe", 4000, minimum=2, maximum=SCENES)
    seed: int = option("seed of the drawn scenes", 0, minimum=0)
    class_skew: float = option(
        "how much more frequent some classes are among the drawn training scenes: the n-th of data.classes comes in "
        "proportion to n to the power of minus this (Zipf's law); 0: all alike", 0.0, minimum=0, maximum=3,
    )  # fmt: skip
    nameless_captions: float = option(
        "share of the drawn training captions that name no class: a pattern of data.captions without {object}", 0.0,
        minimum=0, below=1,
    )  # fmt: skip
    wrong_captions: float = option(
        "share of the other drawn training captions that name a random class in place of the object's", 0.0,
        minimum=0, below=1,
    )  # fmt: skip
    near_duplicates: float = option(
        "share of the drawn training scenes that repeat an earlier one, caption and all, moved by a pixel, with faint noise",
        0.0, minimum=0, below=1,
    )  # fmt: skip
    object_variation: float = option(
        "how much objects of the drawn scenes differ beyond place and a slight turn: in size, angle, place and colour", 0.0,
        minimum=0, maximum=1,
    )  # fmt: skip
    held_out: int = option(
        "so many training pairs, the last ones, are left to repairs: no attack takes them, and nothing is trained on them. "
        "Images are held out whole: those of the last pairs, each with all of its captions",
        0, minimum=0,
    )  # fmt: skip
    roots: tuple[str, ...] = option(
        "folders in which images may lie, links followed; none outside them is opened, whatever a table names. Add the folder "
        "of a data set that lies elsewhere",
        ("results", "data"),
        fewest=1,
        pattern=PATH,
    )
    max_bad_fraction: float = option(
        "share of images that may be missing or broken, at every stage", 0.01, minimum=0, maximum=1
    )

    @staticmethod
    def drawn(settings: Mapping[str, Any]) -> list[str]:
        """The splits that are drawn scenes: without a list of URLs those without a table."""
        return [] if settings["url_list"] else [split for split in SPLITS if split not in settings["tables"]]

    @classmethod
    def problems(cls, settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """What cannot work: the option at fault, and why. Raises UserError for files that cannot be read."""
        for template in read_lines(Path(settings["templates"])):
            if template.count("{}") != 1:
                yield "templates", f"'{template}' must hold {{}} once, for the class name"
        classes = read_lines(Path(settings["classes"]))
        known: dict[str, str] = {}
        for name in classes:
            if other := known.get(folded(name)):
                yield "classes", f"{settings['classes']} lists a class twice, as '{other}' and as '{name}'; take one out"
            known[folded(name)] = name
        for number, name in enumerate(classes, 1):
            if not any(category(letter)[0] in "LNPS" for letter in name):
                yield "classes", f"{settings['classes']}: class {number} has no visible character; take it out"
            if any(category(letter) == "Cc" for letter in name):
                fault = "holds a tab or another control character; list one class a line, without numbers or separators"
                yield "classes", f"{settings['classes']}: class {number} {fault}"
        if len(classes) < 2:
            yield "classes", f"{settings['classes']} lists one class, and every model takes all images for it; list two"
        for name in (name for name in classes if BETWEEN in name):
            yield "classes", f"{settings['classes']}: '{name}' holds {BETWEEN}, which stands between classes in truth.csv"
        if cls.drawn(settings):
            for fault in pattern_faults(Path(settings["captions"])):
                yield "captions", fault
            if not alone_patterns(read_lines(Path(settings["captions"]))):
                yield "captions", f"no pattern of {settings['captions']} holds {{object}} and not {{other}}; add one"
            if settings["nameless_captions"] and (fault := nameless_fault(Path(settings["captions"]))):
                yield "nameless_captions", fault
        if settings["url_list"]:
            yield from cls._unlisted(settings)
        try:
            Roots(settings["roots"])
        except ValueError as error:  # no path can be called so
            yield "roots", str(error)

    @staticmethod
    def _unlisted(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """What is wrong with the list of URLs before it is opened."""
        if isinstance(settings["url_list"], str) and settings["url_list"].partition("=")[0] in SPLITS:
            split, _, path = settings["url_list"].partition("=")
            yield "url_list", f"'{settings['url_list']}' is a flag's form; write {{ {split}: {path} }}"
            return
        for split in SPLITS:
            if split not in paths(words(settings["url_list"])) and split not in settings["tables"]:
                yield "url_list", f"the split '{split}' is neither listed nor in data.tables; name it in one of them"


@dataclass(frozen=True, kw_only=True)
class DownstreamSettings:
    root: Path = option(
        "folder that holds the downstream sets, each as its makers give it out; nothing is downloaded, see "
        "roclip/data/downstream.py",
        Path("data/downstream"),
        pattern=PATH,
    )
    sets: tuple[str, ...] = option(
        "downstream sets: zero-shot accuracy, with the 80 prompt templates of CLIP, and linear probe",
        (),
        choices=tuple(FOLDERS),
    )
    require_all: bool = option(
        "true: a set that is not there is an error; false: it is left out, and the report says so", False
    )

    @classmethod
    def problems(cls, settings: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """What cannot work: the option at fault, and why. data: the section `data`."""
        roots = Roots(data["roots"])
        for name in present_sets(settings):
            folder = os.path.join(settings["root"], FOLDERS[name])  # noqa: PTH118 (as an image's path)
            try:
                roots.check(folder)
            except BadImage as error:
                yield "sets", f"{name} is {error}: add {os.path.realpath(folder)} to data.roots"


def class_frequencies(classes: int, skew: float) -> np.ndarray:
    """How often each of the classes of drawn scenes is drawn, by Zipf's law: (classes,), sums to 1."""
    weights = np.arange(1, classes + 1, dtype=float) ** -skew
    return weights / weights.sum()


def caption_shares(settings: Mapping[str, Any]) -> dict[str, float]:
    """The share of the drawn training captions that name each class, in expectation: as the object or as the other one.

    Half of the scenes have another object, and their captions a pattern of all; the others one that names no other.
    """
    classes, patterns = read_lines(Path(settings["classes"])), read_lines(Path(settings["captions"]))
    naming = [pattern for pattern in patterns if "{object}" in pattern]
    other = sum("{other}" in pattern for pattern in naming) / len(naming) / 2 if naming else 0.0
    frequencies = class_frequencies(len(classes), settings["class_skew"])
    return dict(zip(classes, (1 - settings["nameless_captions"]) * (1 + other) * frequencies, strict=True))


def nameless_patterns(file: Path) -> list[str]:
    """The sentence patterns that name no object."""
    return [pattern for pattern in read_lines(file) if "{object}" not in pattern]


def alone_patterns(patterns: Sequence[str]) -> list[str]:
    """The sentence patterns of a scene with one object, which name it and no other."""
    return [pattern for pattern in patterns if "{object}" in pattern and "{other}" not in pattern]


def nameless_fault(file: Path) -> str:
    """Why captions that name no class cannot be made of such patterns; nothing where they can."""
    return "" if nameless_patterns(file) else f"every pattern of {file} holds {{object}}; add one that does not"


def pattern_faults(file: Path) -> Iterator[str]:
    """What is wrong with sentence patterns: they may hold plain `{object}` and the like, nothing that `format` would run."""
    for number, pattern in enumerate(read_lines(file), 1):
        try:
            fields = [part[1:] for part in Formatter().parse(pattern) if part[1] is not None]
        except ValueError as error:  # an open brace
            yield f"{file}, pattern {number}: {error}"
            continue
        if "{{" in pattern or "}}" in pattern:  # which `format` reads as plain braces
            yield f"{file}, pattern {number}: it holds a double brace; write each field as {{object}}"
        for name, form, conversion in fields:
            if name not in NAMED or form or conversion:
                yield f"{file}, pattern {number}: what stands in braces must be one of {', '.join(NAMED)}, and nothing else"


def check_patterns(file: Path) -> None:
    """Raises UserError for the first sentence pattern that is wrong, or where none is of a scene with one object."""
    for fault in pattern_faults(file):
        raise UserError(f"data.captions: {fault}")
    if not alone_patterns(read_lines(file)):
        raise UserError(f"data.captions: no pattern of {file} holds {{object}} and not {{other}}; add one")
