"""Reading pairs of image and caption: tables of several projects, and the shards that img2dataset writes.

Which kind it is shows in the header or the folder, and is said in the log:

    RoCLIP's tables      path, caption
    CleanCLIP's          image, caption; images relative to the table's folder
    open_clip's          filepath, title; by default separated by tabs, whatever the file's suffix
    webdataset shards    a folder with 00000.tar, ...: 000000000.jpg and .txt inside (roclip.data.samples)
    shards of files      a folder with 00000/, ...: 000000000.jpg and .txt inside

The image of a webdataset shard has the path `00000.tar/000000000.jpg@OFFSET+SIZE` (`roclip.data.image_paths.member_path`).
"""

import csv
import logging
import os
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from roclip.core.errors import UserError
from roclip.core.files import HEADER, count_lines, open_file, read_columns, read_json
from roclip.core.not_text import not_text, refuse_nul
from roclip.data.image_paths import RealPaths
from roclip.data.samples import LeftOut, beside, samples_of, shards_of
from roclip.data.split_names import by_split, of_split, said_in, splits_said

log = logging.getLogger(__name__)

Columns = dict[str, list[str]]  # the cells of a table by column, all of one length

DIALECTS = (("RoCLIP", "path", "caption"), ("CleanCLIP", "image", "caption"), ("open_clip", "filepath", "title"))
BLANK = 1000  # lines before the first one that is not blank
NOTE = "_stats.json"  # of img2dataset, beside each of its shards
COUNTED = 30_000  # pairs after which the rest of the shards is estimated


def read_pairs(
    source: Path, optional: tuple[str, ...] = (), left_out: LeftOut | None = None, restore: bool = True, split: str = "train"
) -> Columns:
    """The pairs of a table or a folder of shards, in its order: `path`, `caption`, and those `optional` columns that it has.

    left_out: receives the files of shards that are not read, each with its reason; restore: whether a table (path, caption) is
    one that this project wrote, with apostrophes before formulas (roclip/core/files.py); split: of which shards are read, where
    they are called after splits.
    Raises UserError for a missing or broken table, a header that is none of the above, and a folder without whole shards.
    """
    if os.path.isdir(source):  # noqa: PTH112 (Path.is_dir raises for a name that is too long)
        return _read_shards(source, split, [] if left_out is None else left_out)
    delimiter, header = read_header(source)
    spoken = [(project, image, caption) for project, image, caption in DIALECTS if {image, caption} <= set(header)]
    if not spoken:
        needed = ", ".join(f"{image} and {caption} ({project})" for project, image, caption in DIALECTS)
        named = f"its header must name one of: {needed}; it is {delimiter.join(header)[:200]!r}"
        raise UserError(f"{source}: no columns of images and captions; {named}")
    project, image, caption = spoken[0]
    cells = read_columns(source, (image, caption), optional, delimiter, restore=restore and project == "RoCLIP")
    paths = cells.pop(image)
    if project == "CleanCLIP":
        paths = [os.path.join(source.parent, path) for path in paths]  # noqa: PTH118 (a million Paths take long)
    log.info(
        "%s: %d pairs in %s's columns (%s, %s), separated by %s",
        source, len(paths), project, image, caption, "tabs" if delimiter == "\t" else "commas",
    )  # fmt: skip
    return {"path": paths, "caption": cells.pop(caption), **cells}


def for_training(paths: Sequence[str], held_out: int) -> list[int]:
    """The rows that may be trained on: all but `held_out` of the last ones, or a few more, for images are held out whole.

    An image that several captions describe has several rows, anywhere. From the last row on its image is held out with all of
    its rows, until there are enough; so where each image has one row, they are the last `held_out`.
    """
    if not held_out:
        return list(range(len(paths)))
    images, out = list(map(RealPaths(), paths)), set()
    captions = Counter(images)
    for image in reversed(images):
        if held_out <= 0:
            break
        if image not in out:
            out.add(image)
            held_out -= captions[image]
    return [row for row, image in enumerate(images) if image not in out]


def count_pairs(source: Path) -> int:
    """About how many pairs for training a table or a folder of shards holds: by its lines or splits, by notes, or counted.

    Of shards without a note so many are read as hold COUNTED pairs, a matter of seconds; the others are taken to be like them.
    Raises UserError for a source that is not there, and a broken shard.
    """
    if os.path.isdir(source):  # noqa: PTH112 (Path.is_dir raises for a name that is too long)
        noted = {path.name.removesuffix(NOTE): _successes(path) for path in source.glob(f"*{NOTE}")}
        noted = {name: count for name, count in noted.items() if count is not None}
        shards = of_split(source, shards_of(source), "train")
        known = sum(noted[shard.stem] for shard in shards if shard.stem in noted)
        return known + _counted([shard for shard in shards if shard.stem not in noted])
    if splits := Counter(splits_of_rows(source)):
        return splits["train"] or splits.total()
    return max(0, count_lines(source) - 1)


def has_own(source: Path, split: str) -> bool:
    """Whether shards in a folder are called after the split, or a column of a table says of rows that they are of it."""
    return split in (by_split(shards_of(source)) if os.path.isdir(source) else splits_of_rows(source))  # noqa: PTH112 (as above)


def splits_of_rows(table: Path) -> list[str]:
    """The split of each row of a table, where a column says it. Raises UserError for a word in it that is no split."""
    delimiter, header = read_header(table)
    said = said_in(table, header)
    return splits_said(table, read_columns(table, (said,), delimiter=delimiter, restore=False)[said]) if said else []


def _counted(shards: list[Path]) -> int:
    pairs = 0
    for number, shard in enumerate(shards, 1):
        pairs += sum(1 for _ in samples_of(shard, []))
        if pairs >= COUNTED:
            return round(pairs * len(shards) / number)
    return pairs


def _successes(stats: Path) -> int | None:
    """The images of a shard, as img2dataset noted; None for other notes. Raises UserError where that is no number."""
    noted = read_json(stats)
    successes = noted.get("successes") if isinstance(noted, dict) else ""
    if successes is None:
        return None
    if type(successes) is not int or successes < 0:
        raise UserError(f"{stats}: expected img2dataset's number of successes; remove the file, or fetch the shard again")
    return successes


def first_line(source: Path, errors: str = "strict") -> str:
    """The first line of a file that is not blank. Blanks at its end stay, for a caption or a name may be empty."""
    with open_file(source, "r", encoding="utf-8-sig", errors=errors) as file:
        lines = islice(iter(lambda: file.readline(HEADER), ""), BLANK)
        return next((line.rstrip("\n") for line in lines if line.strip()), "")


def read_header(table: Path) -> tuple[str, list[str]]:
    """The delimiter of a table, by its first line that is not blank, and the names of its columns."""
    try:
        line = first_line(table)
    except UnicodeDecodeError:
        raise not_text(table) from None
    refuse_nul(table, line)
    delimiter = "\t" if "\t" in line else ","
    return delimiter, next(csv.reader([line], delimiter=delimiter), [])


def _read_shards(folder: Path, split: str, left_out: LeftOut) -> Columns:
    there = shards_of(folder)
    shards, unread = of_split(folder, there, split), beside(folder, there)
    pairs: Columns = {"path": [], "caption": []}
    for shard in shards:
        for path, caption in samples_of(shard, unread):
            try:
                path.encode()
            except UnicodeEncodeError:
                raise UserError(f"{path}: the name is not UTF-8; rename it") from None
            pairs["path"].append(path)
            pairs["caption"].append(caption)
    left_out += unread
    reasons = Counter(reason for _, _, _, reason in unread)
    said = "; ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    if not pairs["path"]:
        raise UserError(
            f"{folder}: no shards of img2dataset with captions (00000.tar or 00000/, with .jpg and .txt in it)"
            + (f"; left out: {said}" if said else "")
        )
    others = f", those of the split '{split}' of {len(there)}" if len(shards) < len(there) else ""
    log.info("%s: %d pairs in %d shards%s", folder, len(pairs["path"]), len(shards), others)
    if unread:
        log.warning("%s: left out %d files: %s", folder, len(unread), said)
    return pairs
