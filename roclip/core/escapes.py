"""Untrusted text, such as the path of a model or the note of a published number, as it is shown in LaTeX and in Markdown."""

import html

from roclip.core.errors import one_line

LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", **{c: f"\\{c}" for c in "%_&#$"},
}  # fmt: skip


def latex(text: str) -> str:
    """Text that LaTeX sets as it is, and in which it finds no command."""
    return "".join(LATEX.get(c, c) for c in one_line(text))


def markdown(text: str) -> str:
    """Text that Markdown shows as it is: no HTML, no end of a table's cell, no link."""
    return html.escape(one_line(text), quote=False).replace("|", "&#124;").replace("](", "]&#40;").replace("`", "&#96;")
