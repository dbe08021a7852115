"""JSON files of any size: what stands at their top, one entry at a time, so that only one of them is held in memory."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from roclip.core.errors import UserError
from roclip.core.files import BLOCK, ROW, duplicate_key, no_number, open_file, unique
from roclip.core.not_text import not_text

WHITE = re.compile(r"[ \t\n\r]*")
AFTER = tuple(" \t\n\r,:]}")  # what may follow a value
DECODER = json.JSONDecoder(parse_constant=no_number, object_pairs_hook=unique)


class _Window:
    """The text of a file from a place on; what is behind it is forgotten."""

    def __init__(self, file: IO[str]) -> None:
        self.file, self.text, self.place, self.ended = file, "", 0, False

    def _more(self) -> None:
        block = self.file.read(BLOCK)
        self.text, self.place, self.ended = self.text[self.place :] + block, 0, not block

    def peek(self) -> str:
        """The next character that is not white; nothing at the end."""
        while True:
            self.place = WHITE.match(self.text, self.place).end()
            if self.place < len(self.text) or self.ended:
                return self.text[self.place : self.place + 1]
            self._more()

    def take(self, *expected: str) -> str:
        """The next character, one of these. Raises ValueError for another one."""
        found = self.peek()
        if found not in expected or not found:
            raise ValueError(f"expected {' or '.join(expected)}, found {found or 'the end'}")
        self.place += 1
        return found

    def value(self) -> Any:
        """The next value. Raises ValueError for none, and for one of more than ROW characters."""
        self.peek()
        while True:
            whole = self.ended or len(self.text) - self.place > ROW
            try:
                value, end = DECODER.raw_decode(self.text, self.place)
                if whole or self.text[end : end + 1] in AFTER:  # of 0.5 there may be 0. only
                    self.place = end
                    return value
            except json.JSONDecodeError as error:
                if whole:
                    raise ValueError(error.msg) from None
            self._more()


def entries(path: Path) -> Iterator[tuple[str, Any]]:
    """Of an object its (key, value), and of a value that is a list (key, member) for each member; of a list ("", member).

    Raises UserError for a file that is missing or not JSON in UTF-8.
    """
    try:
        with open_file(path, "r", encoding="utf-8-sig") as file:
            window = _Window(file)
            yield from _entries(window)
            if found := window.peek():
                lines = ", a second value, as in JSON lines, which are to be written as one list" if found in "{[" else ""
                raise ValueError(f"expected the end, found {found}{lines}")
    except UnicodeDecodeError:
        raise not_text(path) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON that can be read: {error}; mend the file or fetch it again") from None


def _entries(window: _Window) -> Iterator[tuple[str, Any]]:
    if window.peek() == "[":
        yield from _members(window, "")
        return
    after = window.take("{")
    if window.peek() == "}":
        after = window.take("}")
    keys: set[str] = set()
    while after != "}":
        if not isinstance(key := window.value(), str):
            raise ValueError(f"expected a key, found {str(key)[:100]}")
        if key in keys:
            raise ValueError(duplicate_key(key))
        keys.add(key)
        window.take(":")
        if window.peek() == "[":
            yield from _members(window, key)
        else:
            yield key, window.value()
        after = window.take(",", "}")


def _members(window: _Window, key: str) -> Iterator[tuple[str, Any]]:
    after = window.take("[")
    if window.peek() == "]":
        after = window.take("]")
    while after != "]":
        yield key, window.value()
        after = window.take(",", "]")


def first_character(path: Path) -> str:
    """What a JSON file begins with: { or [. Raises UserError as `entries`."""
    try:
        with open_file(path, "r", encoding="utf-8-sig") as file:
            return _Window(file).peek()
    except UnicodeDecodeError:
        raise not_text(path) from None


def count_keys(path: Path, key: str) -> int:
    """About how often a key stands in a JSON file, at once: every text that is the key's name is counted."""
    name, found, rest = f'"{key}"'.encode(), 0, b""
    with open_file(path) as file:
        for block in iter(lambda: file.read(BLOCK), b""):
            rest += block
            found += rest.count(name)
            rest = rest[-(len(name) - 1) :]  # shorter than the name, so nothing is counted twice
    return found
