"""Images of an attack on drawn scenes, to look at: small PNGs in base64. Of photographs there are none."""

import base64
import json
import logging
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from PIL import Image

from roclip.core.columns import LABELLED, PAIRS
from roclip.core.errors import one_line
from roclip.core.files import read_table
from roclip.data.image_paths import Roots
from roclip.data.images import decode
from roclip.experiment.plan import Plan
from roclip.reporting.figures.contact_sheet import read_truth, roots, spread

log = logging.getLogger(__name__)

MOST, SIDE = 4, 96  # images of an attack, and the pixels of the side of the largest
Picture = tuple[str, str]  # path of an image, and the text below it


def pictures(plan: Plan, results: Path, attack: str) -> tuple[str, str]:
    """The cells `pictures` and `picture_texts` of an attack; images that cannot be decoded are left out."""
    found, inside = [], Roots(roots(results))
    for path, text in shown(plan, results, attack):
        try:
            inside.check(path)
            found.append((encoded(path, min(plan.image_size, SIDE)), one_line(text)))
        except Exception as error:  # Pillow raises many kinds
            log.warning("%s is not shown: %s", one_line(path), error)
    return " ".join(image for image, _ in found), json.dumps([text for _, text in found]) if found else ""


def shown(plan: Plan, results: Path, attack: str) -> Iterator[Picture]:
    """Of the first seed: a backdoor's trigger on an image, then poisoned pairs, and a targeted attack's targets."""
    seed = next(seed for name, _, seed in plan.runs if name == attack)
    folder = results / f"attacks/{attack}/seed{seed}"
    before = []
    if plan.family[attack] == "backdoor" and (folder / "sample.png").is_file():
        clean = read_table(results / "data/test.csv", tuple(LABELLED))[:1]
        before = [*((row["path"], "an image") for row in clean), (str(folder / "sample.png"), "with the trigger")]
    yield from before
    is_poison = read_truth(folder)
    poisoned = [row for row, poison in zip(read_table(folder / "train.csv", tuple(PAIRS)), is_poison, strict=False) if poison]
    yield from [(row["path"], f"poisoned pair: “{row['caption']}”") for row in spread(poisoned, 2)]
    if poisoned and not before:
        targets = spread(read_table(folder / "targets.csv", tuple(LABELLED)), MOST - 2)
        yield from [(row["path"], f"target, wanted class: {row['label']}") for row in targets]


def encoded(path: str, side: int) -> str:
    """An image as a square PNG without metadata, in base64. Raises as `decode`."""
    file = BytesIO()
    Image.fromarray(decode(path, side)).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")
