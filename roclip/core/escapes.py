"""Untrusted text, such as the path of a model or the note of a published number, as it is shown in LaTeX and in Markdown."""

import html
import re

from roclip.core.errors import one_line

LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "[": "{[}", "]": "{]}", "*": "{*}", "-": "{-}",  # the first two and the star end a line of a table otherwise
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", **{c: f"\\{c}" for c in "%_&#$"},
}  # fmt: skip
MARKS = re.compile(r"[|`\\*~$\[\]!@]|(?<![&#])#|:(?=//)|(?<=www)\.|(?<!\w)_|_(?!\w)")  # a `_` inside a word means nothing


def latex(text: str) -> str:
    """Text that LaTeX sets as it is, and in which it finds no command."""
    return "".join(LATEX.get(c, c) for c in one_line(text))


def markdown(text: str) -> str:
    """Text that Markdown shows as it is: no HTML, no end of a table's cell, no link, no other letters."""
    escaped = html.escape(one_line(text), quote=False)
    return MARKS.sub(lambda found: f"&#{ord(found[0])};", escaped)
