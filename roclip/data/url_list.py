"""Lists of images to download, in two forms.

One TSV with a header that names split, url, caption and label; or a TSV for each split, without a header, that holds a text
and a URL a line, in either order: the caption for train and validation, the label for test and probe. CC3M and CC12M are
published in the second form, CC12M with the URL first.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from roclip.core.csv_lines import is_blank
from roclip.core.errors import UserError
from roclip.core.files import CELL, iterate_table, open_file
from roclip.core.not_text import not_text, refuse_nul
from roclip.core.provenance import is_ours

log = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test", "probe")
COLUMNS = ("split", "url", "caption", "label")
TEXT = {"train": "caption", "validation": "caption", "test": "label", "probe": "label"}
USUAL = re.compile(r"(https?://|file:).*", re.IGNORECASE)
URL = re.compile(rf"{USUAL.pattern}|[a-z][a-z0-9+.-]*:\S*", re.IGNORECASE)  # of a caption, a colon may follow its first word
LOOKED_AT = 1000  # lines, for the order of the columns


class Entry(NamedTuple):
    """A row of a list. `row` counts from 1, without a header; `text` is the caption or label."""

    split: str
    row: int
    url: str
    text: str


def words(setting: str | Mapping[str, str]) -> list[str]:
    """The config's `url_list` as the words of a flag: a path, or split=path for each split that it names."""
    return [setting] if isinstance(setting, str) else [f"{split}={setting[split]}" for split in SPLITS if split in setting]


def by_split(words: Sequence[str], name: str) -> dict[str, Path]:
    """The paths of `split=path` words. Raises UserError that names the option `name` for other words and duplicate splits."""
    listed = {split: Path(path) for split, _, path in (word.partition("=") for word in words)}
    if not set(listed) <= set(SPLITS) or len(words) != len(listed):
        raise UserError(f"{name}: expected split=path, each split once, of {', '.join(SPLITS)}")
    return listed


def _of_all_splits(words: Sequence[str]) -> bool:
    return len(words) == 1 and words[0].partition("=")[0] not in SPLITS


def paths(words: Sequence[str]) -> dict[str, Path]:
    """The file in which each split is listed. Raises UserError for words of neither form."""
    if _of_all_splits(words):
        return dict.fromkeys(SPLITS, Path(words[0]))
    return by_split(words, "url_list")


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The number and the cells of each line that is not blank. Raises UserError for a file that cannot be read."""
    try:
        with open_file(path, "r", encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(iter(lambda: file.readline(CELL + 1), ""), 1):
                if len(line) > CELL:
                    raise UserError(f"{path}, line {number}: more than {CELL} characters; is it the right file?")
                if number == 1:
                    refuse_nul(path, line)
                if not is_blank(line):
                    yield number, line.rstrip("\r\n").split("\t")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror.lower()}") from None
    except UnicodeDecodeError:
        raise not_text(path) from None


def _url_column(path: Path) -> int:
    """The column with the URLs: 1 in CC3M's order, 0 in CC12M's, by the first line in which one cell alone is a URL.

    A caption may look like one of an odd scheme, as `Time:out` does, so those of the usual schemes are looked for first.
    """
    rows = [cells for _, cells in islice(_lines(path), LOOKED_AT) if len(cells) == 2]
    for form in (USUAL, URL):
        for cells in rows:
            found = [place for place, cell in enumerate(cells) if form.fullmatch(cell.strip())]
            if len(found) == 1:
                return found[0]
    return 1


def _read_two_columns(path: Path, split: str) -> Iterator[Entry]:
    """The rows of a list of one split; that the URLs come first is said in the log."""
    place = _url_column(path)
    if place == 0:
        log.info("%s: a URL and a %s a line, in CC12M's order", path, TEXT[split])
    for number, cells in _lines(path):
        if len(cells) != 2 or not URL.fullmatch(cells[place].strip()):
            order = f"a URL, a tab and a {TEXT[split]}" if place == 0 else f"a {TEXT[split]}, a tab and a URL"
            raise UserError(f"{path}, line {number}: expected {order}; a list of one split has no header")
        yield Entry(split, number, cells[place].strip(), cells[1 - place])


def read_entries(words: Sequence[str], splits: Sequence[str] = SPLITS) -> Iterator[Entry]:
    """The rows of these splits in the order of their list. Raises UserError for a broken list or row."""
    files = paths(words)
    if not _of_all_splits(words):
        for split in splits:
            yield from _read_two_columns(files[split], split)
        return
    path = Path(words[0])
    for number, (split, url, caption, label) in enumerate(iterate_table(path, COLUMNS, restore=is_ours(path)), 1):
        if split not in SPLITS:
            raise UserError(f"{path}, row {number}: split '{split}' is none of {', '.join(SPLITS)}")
        if split in splits:
            if not URL.fullmatch(url.strip()):
                said = f"'{url[:100]}' is no URL" if url.strip() else "its URL is empty"
                raise UserError(f"{path}, row {number}: {said}; write it whole, as https://h/a.jpg is, or take the row out")
            yield Entry(split, number, url.strip(), caption if TEXT[split] == "caption" else label)


def count_rows(words: Sequence[str], split: str) -> int:
    """How many rows a split has, in seconds for millions of them. Raises UserError for a list that cannot be read.

    Rows are not checked; `read_entries` does that.
    """
    path = paths(words)[split]
    if _of_all_splits(words):
        return sum(row[0] == split for row in iterate_table(path, COLUMNS))
    with open_file(path) as file:
        return sum(not is_blank(line.decode(errors="replace")) for line in iter(lambda: file.readline(CELL + 1), b""))
