"""What lies on this disk: the forms in which data sets are given out, told apart by a look at the files, as the log says.

    COCO                 annotations/captions_train2014.json and the like; of instances_val2014.json labelled images
    Karpathy's splits    dataset_coco.json and the like, of Flickr8k and Flickr30k too; lists as BLIP's coco_karpathy_train.json
    Visual Genome        region_descriptions.json, with VG_100K/ and VG_100K_2/ beside it
    Flickr8k, Flickr30k  captions.txt, Flickr8k.token.txt, results.csv
    parquet              a file or a folder of files with images inside, of Hugging Face's datasets or img2dataset
    class folders        a folder for each class
    tables and shards    see roclip/data/pairs.py; of labelled images a table (path, label)

Images lie beside the lists, in a folder of any name. Where an image has several captions, the first of every image come first,
then the second ones: the first n pairs are of n images.

Splits that name one source have its images shared out among them. Where a source of labelled images has captions and no labels,
a label is the class that more than half of an image's captions name while none names another.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from roclip.core.errors import UserError
from roclip.core.files import read_columns
from roclip.core.not_text import POINTER, kind_of
from roclip.core.provenance import fingerprint, is_ours
from roclip.data import annotations, class_folders, flickr, json_stream, karpathy, pairs, parquet_files, parquet_images
from roclip.data.image_paths import RealPaths, identity
from roclip.data.labels import checked, from_captions
from roclip.data.samples import LeftOut
from roclip.data.split_names import says_some
from roclip.data.url_list import TEXT

log = logging.getLogger(__name__)

Rows = Iterator[tuple[str, str]]  # path, and caption or label


@dataclass(frozen=True)
class Split:
    """What a split is taken over from, and with.

    store: a folder for images that lie in no file of their own; classes: what labels must be, as `classes_file` lists them;
    among: the splits that share the images of the source;
    left_out: receives the files of shards that are not read, each with its reason;
    read: receives the row of a table that was read last.
    """

    name: str
    source: Path
    store: Path
    templates: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    classes_file: Path | None = None
    among: tuple[str, ...] = ()
    left_out: LeftOut = field(default_factory=list)
    read: list[int] = field(default_factory=list)

    @property
    def text(self) -> str:
        """caption or label."""
        return TEXT[self.name]

    def row(self, count: int) -> int:
        """Where the row stands that came last, counted from 1; count: how many came. Of a table not all may come."""
        return self.read[-1] if self.read else count


@dataclass(frozen=True)
class Form:
    """A form of data: its name, whether a source has it, its pairs or labelled images, and about how many pairs it holds.

    has_own: whether a source has files or rows of its own for a split, which it then need not share with other splits.
    """

    name: str
    fits: Callable[[Path], bool]
    read: Callable[[Split], Rows]
    count: Callable[[Path], int] = pairs.count_pairs
    has_own: Callable[[Path, str], bool] = lambda source, split: False


def _json(begin: str) -> Callable[[Path], bool]:
    return lambda source: source.suffix.lower() == ".json" and json_stream.first_character(source) == begin


def _marks_objects(source: Path) -> bool:
    return _json("{")(source) and json_stream.count_keys(source, "category_id") > 0


def _text(begins: Callable[[str], object]) -> Callable[[Path], bool]:
    return lambda source: source.is_file() and bool(begins(pairs.first_line(source, "replace").lstrip()))


def _is_captions(source: Path) -> bool:
    begins = _text(lambda line: line.replace('"', "").strip() == flickr.CAPTIONS_HEADER)
    return source.suffix.lower() == ".txt" and begins(source)


def _of_source(read: Callable[[Path], Rows]) -> Callable[[Split], Rows]:
    return lambda split: read(split.source)


def _keys(key: str) -> Callable[[Path], int]:
    return lambda source: json_stream.count_keys(source, key)


def _unpacked(split: Split) -> Rows:
    if len(split.among) > 1 and not parquet_files.has_own(split.source, split.name):
        raise UserError(f"{split.source}: {' and '.join(split.among)} both name it; give each split files of its own")
    return parquet_images.unpack(split.source, split.name, split.text, split.store, split.left_out)


def _captions_of_classes(split: Split) -> Rows:
    return class_folders.class_captions(split.source, split.templates, split.classes, split.left_out)


def _labels_of_classes(split: Split) -> Rows:
    return class_folders.class_labels(split.source, split.classes, split.left_out)


def _pairs_of_table(split: Split) -> Rows:
    columns = pairs.read_pairs(split.source, left_out=split.left_out, restore=is_ours(split.source), split=split.name)
    return _of_split(split, columns)


def _labels_of_table(split: Split) -> Rows:
    source = split.source
    if source.is_dir():
        raise UserError(
            f"{source}: no class folders in it; labelled images are in such folders, a table (path, label) or parquet"
        )
    delimiter, _ = pairs.read_header(source)
    columns = read_columns(source, ("path", "label"), delimiter=delimiter, restore=is_ours(source))
    return _of_split(split, columns)


def _of_split(split: Split, columns: pairs.Columns) -> Rows:
    """The rows of a table that are of a split, where a column says it, or all. Raises UserError for an image of two splits."""
    source, of, real = split.source, {}, RealPaths()
    splits = [] if source.is_dir() else pairs.splits_of_rows(source)
    for row, (path, name) in enumerate(zip(columns["path"], splits, strict=False), 1):
        before, first = of.setdefault(real(path), (name, row)) if name else (name, row)
        if before != name:
            both = f"of the split '{name}', and in row {first} of '{before}'"
            raise UserError(f"{source}, row {row}: {path} is {both}; an image is of one split, so take one row out")
    return _read(split, columns, splits if says_some(source, splits, split.name) else [split.name] * len(columns["path"]))


def _read(split: Split, columns: pairs.Columns, splits: Sequence[str]) -> Rows:
    for row, (path, text, name) in enumerate(zip(columns["path"], columns[split.text], splits, strict=True), 1):
        if name == split.name:
            split.read[:] = [row]
            yield path, text


def _anything(source: Path) -> bool:
    return True


CAPTIONED = (
    Form(
        "Karpathy's splits",
        lambda source: _json("{")(source) and karpathy.has_splits(source),
        lambda split: karpathy.captions_of_split(split.source, split.name),
        karpathy.count_pairs,
        karpathy.has_own,
    ),
    Form(
        "a list of images and captions",
        lambda source: _json("[")(source) and karpathy.is_list(source),
        lambda split: karpathy.listed_captions(split.source, split.name),
        karpathy.count_listed,
        karpathy.has_own_listed,
    ),
    Form("COCO's captions", _json("{"), _of_source(annotations.coco_captions), _keys("caption")),
    Form("Visual Genome's regions", _json("["), _of_source(annotations.genome_captions), _keys("phrase")),
    Form("Flickr8k's captions.txt", _is_captions, _of_source(flickr.comma_captions)),
    Form("Flickr's tokens", _text(flickr.TOKENS.fullmatch), _of_source(flickr.token_captions)),
    Form(
        "Flickr30k's results.csv",
        _text(lambda line: flickr.BARS_HEADER.fullmatch(line.strip())),
        _of_source(flickr.bar_captions),
    ),
)
PARQUET = Form("parquet files with images", parquet_images.fits, _unpacked, parquet_images.count_pairs, parquet_files.has_own)
FORMS = {  # by what is read; the first that fits
    "caption": (
        *CAPTIONED,
        PARQUET,
        Form("class folders, with prompt templates", class_folders.fits, _captions_of_classes, class_folders.count_images),
        Form("a table or shards", _anything, _pairs_of_table, has_own=pairs.has_own),
    ),
    "label": (
        Form("COCO's objects", _marks_objects, _of_source(annotations.coco_labels)),
        *CAPTIONED,
        PARQUET,
        Form("class folders", class_folders.fits, _labels_of_classes),
        Form("a table", _anything, _labels_of_table, has_own=pairs.has_own),
    ),
}
SHARES = {"train": 16, "validation": 1, "test": 2, "probe": 1}  # in which proportion splits share the images of one source


def form_of(source: Path, text: str) -> Form:
    """The form that a source has. Raises UserError for one that is not there, or cannot be opened."""
    if not os.path.exists(source):  # noqa: PTH110 (Path.exists raises for a name that is too long)
        raise UserError(f"{source}: no such file or directory")
    if kind := kind_of(source, (POINTER,)) if source.is_file() else None:
        raise UserError(f"{source}: {kind}")
    return next(form for form in FORMS[text] if form.fits(source))


def is_packed(source: Path, text: str) -> bool:
    """Whether the images lie in no file of their own, so that the source has to be taken over first."""
    return form_of(source, text) is PARQUET


def sharing(tables: Mapping[str, str | Path], split: str) -> tuple[str, ...]:
    """The splits that name the same source as this one, itself included, however they spell it; tables: source by split."""
    source = os.path.realpath(tables[split])
    return tuple(name for name in TEXT if name in tables and os.path.realpath(tables[name]) == source)


def share(rows: Rows, name: str, among: Sequence[str], folder: Path = Path()) -> Rows:
    """The rows of the images that a split gets of a source which several name: each image is of one split alone.

    Its place below `folder`, where the source lies, decides, and not the order: pairs and labels of one source may be read in
    different ones. Of an image in a tar its bytes do, for an image with several captions may be in it once for each.
    """
    real, home = RealPaths(), os.path.realpath(folder)
    turns = [split for split in among for _ in range(SHARES[split])]
    drawn: dict[str, str] = {}
    for path, text in rows:
        image = real(path)
        if image not in drawn:
            drawn[image] = turns[int(fingerprint("share", identity(image, home)), 16) % len(turns)]
        if drawn[image] == name:
            yield path, text


def read_split(split: Split) -> Rows:
    """Path and caption, or path and label. Raises UserError for a source that is not of the form which it seems to have."""
    form = form_of(split.source, split.text)
    log.info("%s: taken for %s", split.source, form.name)
    rows = form.read(split)
    if split.text == "label" and split.classes_file and form not in CAPTIONED:
        rows = checked(rows, split.source, split.classes_file, split.row)
    if _is_shared(form, split.source, split.among):
        log.info("%s: its images are shared out among %s", split.source, ", ".join(split.among))
        source = split.source
        rows = share(rows, split.name, split.among, source if source.is_dir() else source.parent)
    if form in CAPTIONED and split.text == "label":
        log.info("%s: labels are the classes that more than half of an image's captions name", split.source)
        rows = from_captions(rows, split.classes)
    return rows


def _is_shared(form: Form, source: Path, among: Sequence[str]) -> bool:
    """Whether the images of a source that several splits name are shared out: where it has own ones of one of them at most.

    A source of one split alone is read for any (`of_split`): each of its images for all that name it, were it not shared.
    """
    return len(among) > 1 and form is not PARQUET and sum(form.has_own(source, name) for name in among) < 2


def count_pairs(source: Path, among: Sequence[str] = ("train",)) -> int:
    """About how many training pairs a source holds, which the splits `among` share, in a second or so for a million of them.

    Raises UserError as `form_of`.
    """
    form = form_of(source, "caption")
    shares = sum(SHARES[split] for split in among) if _is_shared(form, source, among) else SHARES["train"]
    return form.count(source) * SHARES["train"] // shares
