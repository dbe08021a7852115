"""Parquet files with the images inside, as Hugging Face's datasets and img2dataset write them.

A training takes images by their paths, so the bytes are written into tar files of ours, one for each parquet file.
"""

from __future__ import annotations

import logging
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

from roclip.core.atomic import atomic
from roclip.core.deferred import Deferred
from roclip.core.errors import UserError, first_line, one_line
from roclip.core.files import CELL, parse_json
from roclip.core.words import counted
from roclip.data.annotations import one_line_of
from roclip.data.beside import in_rounds
from roclip.data.image_paths import BYTES, member_path
from roclip.data.parquet_files import broken, chunks, files_in, files_of, is_too_large, open_parquet, rows_of
from roclip.data.samples import LeftOut, shards_of
from roclip.data.split_names import by_split

pyarrow = Deferred("pyarrow")  # config checks import this module
parquet = Deferred("pyarrow.parquet")
log = logging.getLogger(__name__)

IMAGES = ("image", "jpg", "jpeg", "png", "webp", "img")
TEXTS = {"caption": ("caption", "captions", "sentences", "text", "txt", "title"), "label": ("label", "fine_label", "class")}
BATCH = 4  # rows in memory: a file of a few kilobytes may hold the same 60 MB in each of them
OF = re.compile(r"(.*)-\d+-of-(\d{1,9})")  # the name of a file that says how many there are
MOST = 1000  # captions of an image
KINDS = ((b"\xff\xd8", "jpg"), (b"\x89PNG", "png"), (b"RIFF", "webp"))  # how a file begins, and what it is called


def _look_beside(source: Path, shards: Sequence[Path], left_out: LeftOut) -> None:
    """Note what lies in a folder beside the files that are read and belongs to no other split, and warn of files that lack."""
    known = {*shards, *(path for split, paths in by_split(files_in(source)).items() if split for path in paths)}
    beside = [
        (source, number, one_line(path.name), "beside the parquet files that are read")
        for number, path in enumerate(sorted(shards[0].parent.iterdir()), 1)
        if path.name[0] != "." and path not in known and (path.is_dir() or path.suffix.lower() in (".parquet", ".tar"))
    ]
    if beside:
        log.warning("%s: left out what lies beside its parquet files, %d in all, first %s", source, len(beside), beside[0][2])
    left_out += beside
    there = Counter((found[1], int(found[2])) for path in shards if (found := OF.fullmatch(path.stem)))
    for (name, whole), count in there.items():
        if count < whole:
            log.warning("%s: %d of the %d files %s... are there; is the download whole?", source, count, whole, name)


def _image_column(schema: pyarrow.Schema) -> str | None:
    """The column with the bytes of an image, themselves or in a struct."""
    for name in (name for name in IMAGES if name in schema.names):
        kind = schema.types[schema.names.index(name)]
        if pyarrow.types.is_struct(kind) and (place := kind.get_field_index("bytes")) >= 0:
            kind = kind.field(place).type
        if _is_bytes(kind.value_type if pyarrow.types.is_dictionary(kind) else kind):
            return name
    return None


def _text_column(schema: pyarrow.Schema, text: str) -> str | None:
    """The column with captions, or labels."""
    return next((name for name in TEXTS[text] if name in schema.names), None)


def _is_bytes(kind: pyarrow.DataType) -> bool:
    types = pyarrow.types
    return any(is_one(kind) for is_one in (types.is_binary, types.is_large_binary, types.is_binary_view))


def fits(source: Path) -> bool:
    """Whether it is a parquet file with images inside, or a folder of such files."""
    if not source.is_dir():
        return source.suffix.lower() == ".parquet"  # if it has no images inside, that will be said
    found = files_in(source)
    return bool(found) and (_image_column(open_parquet(found[0]).schema_arrow) is not None or not shards_of(source))


def count_pairs(source: Path) -> int:
    """About how many training pairs: the captions of its rows, of which a row may have a list."""
    shards, count = files_of(source, "train"), 0.0
    for path, chosen in zip(shards, rows_of(source, shards, "train"), strict=True):
        file = open_parquet(path)
        column = _text_column(file.schema_arrow, "caption")
        texts: Counter[int] = Counter()  # by group; a column of structs has several parts, each with as many values
        for number, group, place in chunks(file, column or ""):
            texts[number] = max(texts[number], group.column(place).num_values)
        share = sum(chosen) / len(chosen) if chosen else 1
        count += share * (texts.total() if column else file.metadata.num_rows)
    return round(count)


def _names(schema: pyarrow.Schema, column: str) -> list[str]:
    """The names of a column's classes, as Hugging Face's datasets note them; nothing where they do not."""
    try:
        noted = parse_json((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"][column]["names"]
    except (ValueError, KeyError, TypeError):
        return []
    return noted if isinstance(noted, list) and all(isinstance(name, str) for name in noted) else []


def _texts(value: Any, names: Sequence[str], text: str, listed: bool = False) -> list[str]:
    """The captions of a row, of which there may be a list, or its label, which may be the number of a class.

    listed: whether it stands in a list. Raises TypeError for what is none: a caption may be no number but that of a class with
    a name.
    """
    if isinstance(value, list):
        if listed:
            raise TypeError("a list of lists, as of words, is no text; write each caption as one text")
        return [found for each in value for found in _texts(each, names, text, True)]
    if isinstance(value, dict):  # a struct of a sentence and what is known of it
        return _texts(value.get("raw") or value.get("sentence"), names, text, listed)
    if type(value) is int:
        if text == "caption" and not 0 <= value < len(names):
            raise TypeError(f"{value} is no text, and no number of a class that the file names; write the captions themselves")
        return [names[value] if 0 <= value < len(names) else str(value)]
    if isinstance(value, bytes):
        value = value.decode()
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{type(value).__name__}, neither a text nor the number of a class")
    return [value] if value is not None else []


class _Writer:
    """A tar file that receives images, and knows where in it each of them lies."""

    def __init__(self, archive: tarfile.TarFile, path: Path) -> None:
        self.archive, self.path = archive, path

    def add(self, number: int, content: bytes) -> str:
        """The path of the image, as roclip/data/images.py reads it."""
        suffix = next((suffix for begin, suffix in KINDS if content.startswith(begin)), "bin")
        member = tarfile.TarInfo(f"{number:08d}.{suffix}")
        member.size = len(content)
        self.archive.addfile(member, BytesIO(content))
        member.offset_data = self.archive.offset - -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        return member_path(self.path, member)


def _content(cell: pyarrow.Scalar) -> tuple[bytes, str]:
    """The bytes of an image, and what is wrong with it."""
    if cell.is_valid and pyarrow.types.is_struct(cell.type):
        cell = cell["bytes"]
    if isinstance(cell, pyarrow.DictionaryScalar):
        cell = cell.value
    content = cell.as_buffer() if cell.is_valid else pyarrow.py_buffer(b"")
    return (b"", f"with an image of more than {BYTES / 1e6:.0f} MB") if content.size > BYTES else (content.to_pybytes(), "")


def _bounded(said: pyarrow.Scalar) -> bool:
    """Whether a cell has no more captions, and no longer ones, than are taken: of few bytes may be made billions of letters."""
    if isinstance(said, pyarrow.DictionaryScalar):
        said = said.value
    if not said.is_valid:
        return True
    if pyarrow.types.is_struct(said.type):
        return all(map(_bounded, said.values()))
    if isinstance(said, (pyarrow.ListScalar, pyarrow.ListViewScalar)):  # of any length of its offsets
        return len(said) <= MOST and all(map(_bounded, said.values))
    return not hasattr(said, "as_buffer") or said.as_buffer().size < CELL


def _rows(path: Path, text: str, left_out: LeftOut, chosen: Sequence[bool] | None = None) -> Iterator[tuple[bytes, list[str]]]:
    """The image of each row that is chosen, and its captions or label; without an image or a text it is left out."""
    file = open_parquet(path)
    schema = file.schema_arrow
    if not file.metadata.num_rows:
        return
    image, column = _image_column(schema), _text_column(schema, text)
    if not image or not column:
        raise UserError(f"{path}: no column of {'images' if column else f'a {text}'}; it has {', '.join(schema.names)}")
    for double in (name for name in (image, column) if schema.names.count(name) > 1):
        raise UserError(f"{path}: duplicate column '{double}'; rename one")
    names, unread = _names(schema, column), Counter()
    if is_too_large(file, column):
        raise UserError(
            f"{path}: its column '{column}' is larger than {counted(file.metadata.num_rows, 'row')} of {text}s can be"
        )
    batches = file.iter_batches(BATCH, columns=[image, column], use_threads=False)  # threads cost more than they save
    cells = chain.from_iterable(zip(batch[image], batch[column], strict=True) for batch in batches)
    for number, (picture, said) in enumerate(cells, 1):
        if chosen and not chosen[number - 1]:
            continue
        content, fault = _content(picture)
        if not _bounded(said):
            raise UserError(
                f"{path}, row {number}: its {text} has {CELL} bytes or more, or is a list of over {MOST}; take it out"
            )
        try:
            texts = _texts(said.as_py(), names, text)
            if text == "caption":
                texts = list(map(one_line_of, texts))
        except (ValueError, TypeError, OverflowError, LookupError) as error:  # no UTF-8, a date that no calendar has
            raise UserError(f"{path}, row {number}: its {text} cannot be read: {first_line(error)}") from None
        if text == "label" and len(texts) > 1:
            raise UserError(f"{path}, row {number}: {len(texts)} labels; an image of an evaluation set has one")
        if content and texts:
            yield content, texts
        else:
            reason = fault or f"without {'a ' + text if content else 'an image'}"
            unread[reason] += 1
            left_out.append((path, number, "", reason))
    for reason, count in unread.items():
        log.warning("%s: left out %s %s", path, counted(count, "row"), reason)


def unpack(source: Path, split: str, text: str, store: Path, left_out: LeftOut) -> Iterator[tuple[str, str]]:
    """Image and caption in rounds, or image and label, once the images lie in tar files of the folder `store`.

    left_out: receives the rows that have no image or no text.
    Raises UserError for a file that is cut short or has no such columns.
    """
    texts: dict[str, list[str]] = {}
    shards = files_of(source, split)
    if source.is_dir():
        _look_beside(source, shards, left_out)
    for number, (path, chosen) in enumerate(zip(shards, rows_of(source, shards, split), strict=True)):
        tar = store / f"{number:05d}.tar"
        with atomic(tar) as temporary, tarfile.open(temporary, "w") as archive:
            writer = _Writer(archive, tar)
            try:
                texts |= {
                    writer.add(row, content): found for row, (content, found) in enumerate(_rows(path, text, left_out, chosen))
                }
            except (OSError, pyarrow.ArrowException) as error:
                raise broken(path, error) from None
    return in_rounds(texts)
