"""The lines of a table of untrusted text as csv.reader takes them: of bounded length, and what is odd about them in words."""

import csv
from collections.abc import Sequence
from typing import IO


class Lines:
    """The lines of a file for csv.reader, which would take in a row of any length."""

    def __init__(self, file: IO[str], longest: int) -> None:
        self.file = file
        self.begin(longest)

    def begin(self, longest: int) -> None:
        """A row of so many characters may follow."""
        self.longest = self.left = longest

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> str:
        line = self.file.readline(self.left + 1)
        self.left -= len(line)
        if not line:
            raise StopIteration
        if self.left < 0:
            raise csv.Error(f"more than {self.longest} characters in a row; is a quote not closed?")
        return line

    def until_text(self) -> list[str]:
        """The lines up to the first that is not blank, which is the last of them."""
        found: list[str] = []
        while (line := next(self, "")) and is_blank(line):
            found.append(line)
        return [*found, line]


def is_blank(text: str) -> bool:
    """Whether a line holds nothing but blanks, or Ctrl-Z, with which DOS ended a file."""
    return not text.replace("\x1a", "").strip()


def fault_of(error: csv.Error) -> str:
    """What csv.reader does not like, with what to do about it."""
    if "expected after" not in str(error):
        return str(error)
    return (
        "a cell begins with a quotation mark and goes on after the next one; put the whole cell in quotation marks and double "
        'those within it, such as """Hello"" she said", or write the table with pandas'
    )


def swallows(row: Sequence[str], delimiter: str) -> bool:
    """Whether a cell of several lines holds other rows: lines with as many delimiters as this one, or more."""
    lines = (cell.splitlines()[1:] for cell in row)
    return any(line.count(delimiter) >= len(row) - 1 > 0 for rest in lines for line in rest)
