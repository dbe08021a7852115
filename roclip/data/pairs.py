"""Reading pairs of image and caption: tables of several projects, and the shards that img2dataset writes.

Which kind it is shows in the header or the folder, and is said in the log:

    RoCLIP's tables      path, caption
    CleanCLIP's          image, caption; images relative to the table's folder
    open_clip's          filepath, title; by default separated by tabs, whatever the file's suffix
    webdataset shards    a folder with 00000.tar, ...: 000000000.jpg and .txt inside
    shards of files      a folder with 00000/, ...: 000000000.jpg and .txt inside

The image of a webdataset shard has the path `00000.tar/000000000.jpg@OFFSET+SIZE` (`roclip.data.images.member_path`).
"""

import csv
import logging
import os
import tarfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from roclip.core.errors import UserError
from roclip.core.files import CELL, HEADER, bad_line, count_lines, open_file, read_columns, read_json
from roclip.data.images import member_path

log = logging.getLogger(__name__)

Columns = dict[str, list[str]]  # the cells of a table by column, all of one length

DIALECTS = (("RoCLIP", "path", "caption"), ("CleanCLIP", "image", "caption"), ("open_clip", "filepath", "title"))
IMAGE_SUFFIXES = (".jpg", ".png", ".webp")
END_OF_TAR = 1024  # bytes of zeros


def read_pairs(source: Path, optional: tuple[str, ...] = ()) -> Columns:
    """The pairs of a table or a folder of shards, in its order: `path`, `caption`, and those `optional` columns that it has.

    Raises UserError for a missing or broken table, a header that is none of the above, and a folder without whole shards.
    """
    if os.path.isdir(source):  # noqa: PTH112 (Path.is_dir raises for a name that is too long)
        return _read_shards(source)
    delimiter, header = _header(source)
    spoken = [(project, image, caption) for project, image, caption in DIALECTS if {image, caption} <= set(header)]
    if not spoken:
        needed = ", ".join(f"{image} and {caption} ({project})" for project, image, caption in DIALECTS)
        raise UserError(f"{source}: no columns of images and captions; its header must name one of: {needed}")
    project, image, caption = spoken[0]
    cells = read_columns(source, (image, caption), optional, delimiter, restore=project == "RoCLIP")
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
    if os.path.isdir(source):  # noqa: PTH112 (Path.is_dir raises for a name that is too long)
        return sum(map(_successes, source.glob("*_stats.json")))
    return max(0, count_lines(source) - 1)


def _successes(stats: Path) -> int:
    """The images of a shard, as img2dataset noted. Raises UserError where that is no number."""
    noted = read_json(stats)
    successes = noted.get("successes", 0) if isinstance(noted, dict) else None
    if type(successes) is not int or successes < 0:
        raise UserError(f"{stats}: expected img2dataset's number of successes; remove the file, or fetch the shard again")
    return successes


def _header(table: Path) -> tuple[str, list[str]]:
    """The delimiter of a table, by its first line, and the names of its columns."""
    with open_file(table, "r", encoding="utf-8-sig") as file:
        try:
            line = file.readline(HEADER).rstrip("\n")
        except UnicodeDecodeError:
            raise UserError(f"{table}, line {bad_line(table)}: not UTF-8; save it as UTF-8") from None
    if "\0" in line:  # UTF-16 without its mark, among others
        raise UserError(f"{table}, line 1: not UTF-8, or no text; save it as UTF-8")
    delimiter = "\t" if "\t" in line else ","
    return delimiter, next(csv.reader([line], delimiter=delimiter), [])


def _read_shards(folder: Path) -> Columns:
    tars = sorted(folder.glob("*.tar"))
    folders = sorted(path for path in folder.iterdir() if path.is_dir())
    pairs: Columns = {"path": [], "caption": []}
    lone = 0
    for samples in map(_samples_of_tar, tars) if tars else map(_samples_of_folder, folders):
        for path, caption in samples:
            try:
                path.encode()
            except UnicodeEncodeError:
                raise UserError(f"{path}: the name is not UTF-8; rename it") from None
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
        with open_file(tar) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - END_OF_TAR))
            if file.read() != bytes(END_OF_TAR):  # cut between two members, it would read as a whole tar
                raise tarfile.ReadError("unexpected end of data")
        with tarfile.open(tar, "r:") as archive:
            members = sorted((m for m in archive if m.isfile()), key=lambda member: member.name)
            for _, group in groupby(members, key=lambda member: os.path.splitext(member.name)[0]):  # noqa: PTH122
                files = {Path(member.name).suffix: member for member in group}
                text = files.get(".txt")
                if text and text.size > CELL:
                    raise UserError(f"{tar}: {text.name} has more than {CELL} bytes; take it out")
                caption = archive.extractfile(text).read().decode() if text else None
                for suffix in IMAGE_SUFFIXES:
                    if image := files.get(suffix):
                        yield member_path(tar, image), caption
    except (tarfile.TarError, OSError, ValueError) as error:
        raise UserError(f"{tar}: not a whole shard ({error}); delete it and download it again") from None


def _samples_of_folder(folder: Path) -> Iterator[tuple[str, str | None]]:
    """Path and caption of each image of a shard, by key."""
    for path in sorted(folder.iterdir()):
        if path.suffix in IMAGE_SUFFIXES:
            yield str(path), _caption(path.with_suffix(".txt"))


def _caption(path: Path) -> str | None:
    """The text of a file, None where there is none. Raises UserError for a link, which may lead anywhere, and a broken text."""
    if path.is_symlink():
        raise UserError(f"{path}: a link, which may lead outside the shard; put the caption itself there")
    if not path.exists():
        return None
    with open_file(path) as file:
        if os.fstat(file.fileno()).st_size > CELL:
            raise UserError(f"{path}: more than {CELL} bytes; take it out")
        content = file.read()
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8; delete the shard and download it again") from None
