"""Parquet files on this disk: those of a split, or rows of a split where a column says it, and how large their columns are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from roclip.core.deferred import Deferred
from roclip.core.errors import UserError, first_line
from roclip.core.files import ROW, open_file
from roclip.core.not_text import POINTER, kind_of
from roclip.data.split_names import OR_RENAME, TO_WRITE, by_split, of_split, said_in, says_some, splits_said

pyarrow = Deferred("pyarrow")  # config checks import this module
parquet = Deferred("pyarrow.parquet")


def open_parquet(path: Path) -> parquet.ParquetFile:
    try:
        # read ahead, its threads would use the file while Python ends, which aborts the process
        return parquet.ParquetFile(open_file(path), pre_buffer=False)
    except (OSError, pyarrow.ArrowException) as error:
        raise broken(path, error) from None


def broken(path: Path, error: Exception) -> UserError:
    if kind := kind_of(path, (POINTER,)) if path.is_file() else None:
        return UserError(f"{path}: {kind}")
    return UserError(f"{path}: not a whole parquet file: {first_line(error)}")


def files_in(folder: Path) -> list[Path]:
    """Those of a folder or, where it has none, of the folder `data` in it, where downloads of Hugging Face's have them."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".parquet" and path.name[0] != ".")
    inside = folder / "data"
    return found or (files_in(inside) if folder.name != "data" and inside.is_dir() else [])


def has_own(source: Path, split: str) -> bool:
    """Whether files of a folder are called after the split, or a column says of rows that they are of it."""
    if source.is_dir() and split in by_split(files_in(source)):
        return True
    return any(split in (splits_of_rows(path) or ()) for path in files_of(source, ""))


def files_of(source: Path, split: str) -> list[Path]:
    """The file itself, or those of a folder: those of a split. Raises UserError as `of_split`."""
    if not source.is_dir():
        return [source]
    return of_split(source, files_in(source), split) if split else files_in(source)


def splits_of_rows(path: Path) -> list[str] | None:
    """The split of each row, where a column says it. Raises UserError for a column of anything but names of splits."""
    words: list[str] = []
    try:
        file = open_parquet(path)
        said = said_in(path, file.schema_arrow.names)
        if said is None or pyarrow.types.is_null(kind := file.schema_arrow.field(said).type):
            return None
        if not _is_text(kind) or is_too_large(file, said):
            what = f"of more than {ROW} bytes a row" if _is_text(kind) else str(kind)[:100]
            raise UserError(f"{path}: its column '{said}' is {what}, and not of names of splits; {TO_WRITE}, {OR_RENAME}")
        texts = parquet.ParquetFile(open_file(path), pre_buffer=False, read_dictionary=[said])  # of few texts, for all rows
        for chunk in texts.read(columns=[said], use_threads=False)[said].chunks:
            names = [name or "" for name in chunk.dictionary.to_pylist()]
            words += ["" if place is None else names[place] for place in chunk.indices.to_pylist()]
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise broken(path, error) from None
    return splits_said(path, words)


def _is_text(kind: pyarrow.DataType) -> bool:
    kind = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
    types = pyarrow.types
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def rows_of(source: Path, shards: Sequence[Path], split: str) -> list[list[bool] | None]:
    """Of each file, which of its rows are of a split: None, all, where no column says it, or all are of one other split.

    Raises UserError where rows are of other splits and none is of this one.
    """
    said = [splits_of_rows(path) for path in shards]
    if says_some(source, chain.from_iterable(each or () for each in said), split):
        return [each and [name == split for name in each] for each in said]
    return [None] * len(said)


def is_too_large(file: parquet.ParquetFile, column: str) -> bool:
    """Whether a column of texts says of itself, before it is read, that it is larger than its rows can be."""
    sizes = (group.column(place).total_uncompressed_size for _, group, place in chunks(file, column))
    return sum(sizes) > file.metadata.num_rows * ROW


def chunks(file: parquet.ParquetFile, column: str) -> Iterator[tuple[int, Any, int]]:
    """Each group of rows, by its number, and each place in it that belongs to a column."""
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        yield from (
            (number, group, place)
            for place in range(group.num_columns)
            if group.column(place).path_in_schema.partition(".")[0] == column
        )
