"""The page of `roclip check-data`: what is found in the data, with plots, in the style of the report."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from roclip.core.atomic import atomic
from roclip.reporting.figures.style import CLEAN, DPI, INK, POISONED, STYLE, grid, plt
from roclip.reporting.report import render

BARS = 80  # at most so many of a histogram
STYLE_OF = "report.html"  # the template whose style is the page's


def draw(found: Mapping[str, Any]) -> bytes:
    """A PNG: the captions' lengths with the model's context, and how often classes are named, from the most frequent on."""
    with plt.rc_context(STYLE):
        figure, (lengths, classes) = grid(2, 4.2, 2.8)
        longest = max(int(np.percentile(found["lengths"], 99.5)), found["context"]) + 2
        bins = np.arange(-0.5, longest + 1, -(-longest // BARS))
        lengths.hist(np.minimum(found["lengths"], longest), bins=bins, color=CLEAN, edgecolor=CLEAN)
        lengths.axvline(found["context"], color=POISONED)
        lengths.set(xlabel="tokens of a caption (line: what the model reads)", ylabel="captions", title="Lengths")
        for place, (colour, label) in enumerate(((CLEAN, "as a whole word"), (INK, "or its plural"))):
            times = np.sort([counts[place] for counts in found["classes"].values()])[::-1]
            classes.plot(np.arange(1, len(times) + 1), times, color=colour, label=label, linestyle=("-", ":")[place])
        classes.set_yscale("symlog")
        classes.set(xlabel="class, from the most frequent on", ylabel="captions that name it", title="Classes")
        classes.legend()
        drawn = BytesIO()
        figure.savefig(drawn, format="png", dpi=DPI, metadata={"Software": None})
        plt.close(figure)
    return drawn.getvalue()


def write_page(found: Mapping[str, Any], template: Path, out: Path) -> None:
    """Raises UserError for a template that is missing or broken."""
    style = template.with_name(STYLE_OF).read_text(encoding="utf-8").partition("<style>")[2].partition("</style>")[0]
    picture = base64.b64encode(draw(found)).decode()
    page = render(template, {**found, "style": style, "picture": picture})
    with atomic(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
