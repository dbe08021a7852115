"""Flickr8k's and Flickr30k's captions in the forms in which they are passed on."""

import re
from collections.abc import Iterator
from pathlib import Path

from roclip.core.errors import UserError
from roclip.core.files import CELL, open_file, read_columns
from roclip.core.not_text import not_text
from roclip.data.annotations import one_line_of
from roclip.data.beside import placed

# by form: a row, and what such a file begins with
TOKENS = re.compile(r"(?P<image>[^\t#]+)#\d+\t(?P<caption>.*)")  # NAME.jpg#0<TAB>caption
BARS = re.compile(r"(?P<image>[^|]+?)\s*\|\s*\d+\s*\|?(?P<caption>.*)")  # a known row, of 2199200615.jpg, lacks the last bar
BARS_HEADER = re.compile(r"image_name\s*\|\s*comment_number\s*\|\s*comment")
CAPTIONS_HEADER = "image,caption"  # of captions.txt; a .csv with it is CleanCLIP's


def _captions(source: Path, row: re.Pattern, header: re.Pattern | None) -> Iterator[tuple[str, str]]:
    """Image and caption of each line. Raises UserError for a line of another form."""
    begun = False  # whether a line was read that is not blank
    try:
        with open_file(source, "r", encoding="utf-8-sig") as file:
            for number, line in enumerate(iter(lambda: file.readline(CELL + 1), ""), 1):
                text = line.rstrip("\n")
                if not text.strip():
                    continue
                is_first, begun = not begun, True
                if is_first and header and header.fullmatch(text.strip()):
                    continue
                found = row.fullmatch(text)
                if not found or len(line) > CELL:
                    raise UserError(f"{source}, line {number}: expected an image and a caption as in the first rows")
                yield found["image"], one_line_of(found["caption"])
    except UnicodeDecodeError:
        raise not_text(source) from None


def token_captions(source: Path) -> Iterator[tuple[str, str]]:
    """Of Flickr8k.token.txt and Flickr30k's results_20130124.token."""
    return placed(source, _captions(source, TOKENS, None))


def bar_captions(source: Path) -> Iterator[tuple[str, str]]:
    """Of Flickr30k's results.csv."""
    return placed(source, _captions(source, BARS, BARS_HEADER))


def comma_captions(source: Path) -> Iterator[tuple[str, str]]:
    """Of Flickr8k's captions.txt."""
    cells = read_columns(source, ("image", "caption"), delimiter=",", restore=False)
    return placed(source, zip(cells["image"], map(one_line_of, cells["caption"]), strict=True))
