"""Reading pairs of image and caption: tables of several projects, and the shards that img2dataset writes.

Which kind it is shows in the header or the folder, and is said in the log:

    RoCLIP's tables      path, caption
    CleanCLIP's          image, caption; images relative to the table's folder
    open_clip's          filepath, title; by default separated by tabs, whatever the file's suffix
    webdataset shards    a folder with 00000.tar, ...: 000000000.jpg and .txt inside
    shards of files      a folder with 00000/, ...: 000000000.jpg and .txt inside

The image of a webdataset shard has the path `00000.tar/000000000.jpg@OFFSET+SIZE` (`roclip.images.member_path`).
"""

import csv
import logging
import os
import tarfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from roclip.errors import UserError
from roclip.images import member_path
from roclip.tables import read_columns, read_json

log = logging.getLogger(__name__)

Columns = dict[str, list[str]]  # the cells of a table by column, all of one length

DIALECTS = (("RoCLIP", "path", "caption"), ("CleanCLIP", "image", "caption"), ("open_clip", "filepath", "title"))
IMAGE_SUFFIXES = (".jpg", ".png", ".webp")
END_OF_TAR = 1024  # bytes of zeros


def read_pairs(source: Path, optional: tuple[str, ...] = ()) -> Columns:
    """The pairs of a table or a folder of shards, in its order: `path`, `caption`, and those `optional` columns that it has.

    Raises UserError for a missing or broken table, a header that is none of the above, and a folder without whole shards.
    """
    if source.is_dir():
        return _read_shards(source)
    delimiter, header = _header(source)
    spoken = [(project, image, caption) for project, image, caption in DIALECTS if {image, caption} <= set(header)]
    if not spoken:
        needed = ", ".join(f"{image} and {caption} ({project})" for project, image, caption in DIALECTS)
        raise UserError(f"{source}: no columns of images and captions; its header must name one of: {needed}")
    project, image, caption = spoken[0]
    cells = read_columns(source, (image, caption), optional, delimiter)
    paths = cells.pop(image)
    if project == "CleanCLIP":
        paths = [os.path.join(source.parent, path) for path in paths]  # noqa: PTH118 (a million Paths take long)
    log.info(
        "%s: %d pairs in %s's columns (%s, %s), separated by %s",
        source, len(paths), project, image, caption, "tabs" if delimiter == "\t" else "commas",
    )  # fmt: skip
    return {"path": paths, "caption": cells.pop(caption), **cells}


def count_pairs(source: Path) -> int:
    """About how many pairs a table or a folder of shards holds, at once: by its lines, or by what img2dataset noted.

    Raises UserError for a source that is not there.
    """
    if source.is_dir():
        return sum(read_json(path).get("successes", 0) for path in source.glob("*_stats.json"))
    try:
        with open(source, "rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b"")) - 1
    except FileNotFoundError:
        raise UserError(f"{source}: no such file") from None


def _header(table: Path) -> tuple[str, list[str]]:
    """The delimiter of a table, by its first line, and the names of its columns."""
    try:
        with open(table, encoding="utf-8-sig", errors="replace") as file:
            line = file.readline(1 << 16).rstrip("\r\n")
    except FileNotFoundError:
        raise UserError(f"{table}: no such file") from None
    delimiter = "\t" if "\t" in line else ","
    return delimiter, next(csv.reader([line], delimiter=delimiter), [])


def _read_shards(folder: Path) -> Columns:
    tars = sorted(folder.glob("*.tar"))
    folders = sorted(path for path in folder.iterdir() if path.is_dir())
    pairs: Columns = {"path": [], "caption": []}
    lone = 0
    for samples in map(_samples_of_tar, tars) if tars else map(_samples_of_folder, folders):
        for path, caption in samples:
            if caption is None:
                lone += 1
            else:
                pairs["path"].append(path)
                pairs["caption"].append(caption)
    kind = "webdataset shards" if tars else "shards of files"
    if not pairs["path"]:
        raise UserError(f"{folder}: no shards of img2dataset with captions (00000.tar or 00000/, with .jpg and .txt in it)")
    log.info("%s: %d pairs in %d %s", folder, len(pairs["path"]), len(tars or folders), kind)
    if lone:
        log.warning("%s: left out %d images without a caption", folder, lone)
    return pairs


def _samples_of_tar(tar: Path) -> Iterator[tuple[str, str | None]]:
    """Path and caption of each image of a shard, by key. Raises UserError for a tar that is cut short."""
    try:
        with open(tar, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - END_OF_TAR))
            if file.read() != bytes(END_OF_TAR):  # cut between two members, it would read as a whole tar
                raise tarfile.ReadError("unexpected end of data")
        with tarfile.open(tar, "r:") as archive:
            members = sorted((m for m in archive if m.isfile()), key=lambda member: member.name)
            for _, group in groupby(members, key=lambda member: os.path.splitext(member.name)[0]):  # noqa: PTH122
                files = {Path(member.name).suffix: member for member in group}
                text = files.get(".txt")
                caption = archive.extractfile(text).read().decode() if text else None
                for suffix in IMAGE_SUFFIXES:
                    if image := files.get(suffix):
                        yield member_path(tar, image), caption
    except (tarfile.ReadError, UnicodeDecodeError) as error:
        raise UserError(f"{tar}: not a whole shard ({error}); delete it and download it again") from None


def _samples_of_folder(folder: Path) -> Iterator[tuple[str, str | None]]:
    """Path and caption of each image of a shard, by key."""
    for path in sorted(folder.iterdir()):
        if path.suffix in IMAGE_SUFFIXES:
            text = path.with_suffix(".txt")
            try:
                yield str(path), text.read_bytes().decode() if text.exists() else None
            except UnicodeDecodeError:
                raise UserError(f"{text}: not UTF-8; delete the shard and download it again") from None
