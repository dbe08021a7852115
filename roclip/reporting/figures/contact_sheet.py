"""Stage: draw a contact sheet of what the attacks did: clean pairs, one image with every trigger, poisoned pairs, exam images,
and the pool captions that poisoned images were matched with in the last matching epoch."""

import logging
import textwrap
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from roclip.core.errors import one_line
from roclip.core.files import read_table
from roclip.core.options import Stage, option
from roclip.data.images import Roots, decode
from roclip.reporting.figures.style import save

log = logging.getLogger(__name__)

COLUMNS = 6
SIDE, ACROSS, DOWN = 1.45, 0.3, 0.95  # inches: an image, and the room beside and below it


@dataclass(frozen=True)
class ContactSheetOptions:
    attacks: tuple[Path, ...] = option("folders of the attacks, .../ATTACK/seedN")
    matches: tuple[Path, ...] = option("matches.csv of models, .../ATTACK/METHOD/seedN/matches.csv")
    test: Path = option("table of labelled test images (path, label); the first is shown with every trigger")
    image_size: int = option("side in pixels to which images are brought")
    roots: tuple[str, ...] = option("folders in which images may lie; none outside them is opened")
    out: Path = option("the file to write, without its suffix", role="output")


def spread(rows: list, count: int = COLUMNS) -> list:
    """Up to `count` of the rows, evenly spread."""
    return [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, count).round().astype(int))] if rows else []


def triggers(options: ContactSheetOptions) -> list[tuple[str, list[tuple[str, str]]]]:
    """The first test image, clean and as the `sample.png` of each backdoor, in as many rows as it takes; none without one."""
    cells = [(str(path), folder.parent.name) for folder in options.attacks if (path := folder / "sample.png").exists()]
    if not cells:
        return []
    cells.insert(0, (read_table(options.test, ("path", "label"))[0]["path"], "no trigger"))
    return [
        ("" if start else "the same image with every trigger", cells[start : start + COLUMNS])
        for start in range(0, len(cells), COLUMNS)
    ]


def strips(options: ContactSheetOptions) -> list[tuple[str, list[tuple[str, str]]]]:
    """The rows of the sheet: a title, and (image path, text below it) for up to COLUMNS images."""
    sheet: list[tuple[str, list[tuple[str, str]]]] = []
    for folder in options.attacks:
        name = folder.parent.name
        rows = read_table(folder / "train.csv", ("path", "caption", "is_poison"))
        clean = [row for row in rows if row["is_poison"] == "0"]
        poisons = [number for number, row in enumerate(rows) if row["is_poison"] == "1"]
        if not sheet:
            sheet.append(("clean pairs", [(row["path"], row["caption"]) for row in spread(clean)]))
            sheet += triggers(options)
        if not poisons:
            continue
        sheet.append((f"{name}: poisoned pairs", [(rows[n]["path"], rows[n]["caption"]) for n in spread(poisons)]))
        exam = read_table(folder / "targets.csv", ("path", "label"))
        sheet.append(
            (f"{name}: exam images and the class that the adversary wants", [(r["path"], r["label"]) for r in spread(exam)])
        )
        for path in options.matches:
            attack, method, seed = path.parts[-4:-1]
            if (attack, seed) != (name, folder.name):
                continue
            found = {int(match["row"]): int(match["caption_row"]) for match in read_table(path, ("row", "caption_row"))}
            matched = [(rows[n]["path"], rows[found[n]]["caption"]) for n in spread([n for n in poisons if n in found])]
            if matched:
                sheet.append((f"{name}: poisoned images and the pool captions that {method} matched them with", matched))
    return sheet


def run(options: ContactSheetOptions) -> None:
    """Images that cannot be decoded, which no training saw either, are named as such in their places."""
    sheet, roots = strips(options), Roots(options.roots)
    size = (COLUMNS * (SIDE + ACROSS) - ACROSS, len(sheet) * (SIDE + DOWN) - DOWN)
    # fixed places: tight_layout shrinks the images to dots when there are many rows
    places = {"left": 0, "right": 1, "bottom": 0, "top": 1, "wspace": ACROSS / SIDE, "hspace": DOWN / SIDE}
    figure, axes = plt.subplots(len(sheet), COLUMNS, figsize=size, squeeze=False, gridspec_kw=places)
    for line, (title, cells) in zip(axes, sheet, strict=True):
        line[0].set_title(title, loc="left", fontsize=10, fontweight="bold", pad=8)
        for axis in line:
            axis.set_axis_off()
        for axis, (path, text) in zip(line, cells, strict=False):
            try:
                roots.check(path)
                axis.imshow(decode(path, options.image_size), interpolation="nearest")
            except Exception as error:  # Pillow raises many kinds
                log.warning("%s is not shown: %s", one_line(path), error)
                axis.text(0.5, 0.5, "left out", transform=axis.transAxes, ha="center", va="center", fontsize=7.5)
            shown = {"transform": axis.transAxes, "ha": "center", "va": "top", "fontsize": 7.5}
            axis.text(0.5, -0.06, textwrap.fill(one_line(text), 24), parse_math=False, **shown)  # "$" is money in captions
    save(figure, options.out)


STAGE = Stage(ContactSheetOptions, run)
