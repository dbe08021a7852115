"""Figure: what the attacks did to images and captions, to look at."""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from roclip.core.columns import LABELLED, MATCHES, PAIRS, TRUTH
from roclip.core.deferred import Deferred
from roclip.core.errors import UserError, one_line
from roclip.core.files import read_table
from roclip.reporting.figures.base import Figure, is_base, plain_runs
from roclip.reporting.run_files import read_config

if TYPE_CHECKING:
    from roclip.data.image_paths import Roots
    from roclip.experiment.plan import Plan

images = Deferred("roclip.data.images")
np = Deferred("numpy")
plt = Deferred("matplotlib.pyplot")
log = logging.getLogger(__name__)

COLUMNS = 6
SIDE, ACROSS, DOWN = 1.45, 0.3, 0.95  # inches: an image, and the room beside and below it
TEXT = 7.5  # points
Cell = tuple[str, str]  # path of an image, and the text below it
Strip = tuple[str, list[Cell]]  # a row of the sheet, with its title
Item = TypeVar("Item")


class ContactSheet(Figure):
    """What the attacks of the first seed did: clean pairs, one image with every trigger, and poisoned pairs of each attack.

    Below these are images of the attack's evaluation set with the class that the adversary wants, and the captions that
    defences paired poisoned images with.
    """

    @classmethod
    def names(cls, plan: Plan) -> list[str]:
        return ["contact_sheet"] if plain_runs(plan) else []

    @classmethod
    def inputs(cls, name: str, plan: Plan) -> list[str]:
        files = ["data/test.csv"] if any(plan.family[name_of(attack)] == "backdoor" for attack in attacks(plan)) else []
        for attack in attacks(plan):
            tables = ("train", "truth") if plan.family[name_of(attack)] == "clean" else ("train", "truth", "targets")
            files += [f"attacks/{attack}/{table}.csv" for table in tables]
        return files + [f"models/{model}/tables" for model in trainings(plan)]

    @classmethod
    def draw(cls, name: str, plan: Plan, results: Path) -> plt.Figure:
        """Images that cannot be decoded, which no training saw either, are named as such in their places."""
        return contact_sheet(list(strips(plan, results)), images.Roots(roots(results)), plan.image_size)


def attacks(plan: Plan) -> list[str]:
    """ATTACK/seedN of the attacks that are no variants, of the first seed."""
    runs = plain_runs(plan)
    return list(dict.fromkeys(f"{attack}/seed{seed}" for attack, _, seed in runs if seed == runs[0][2]))


def name_of(attack: str) -> str:
    """The attack of ATTACK/seedN."""
    return attack.split("/")[0]


def trainings(plan: Plan) -> list[str]:
    """ATTACK/STEP/seedN of the trainings on these attacks that are no variants; a repair sees no pair of an attack."""
    found = []
    for model in plan.steps():
        attack, step, seed = model.split("/")
        if f"{attack}/{seed}" in attacks(plan) and is_base(step) and plan.models[step].stage == "train":
            found.append(model)
    return found


def roots(results: Path) -> tuple[str, ...]:
    """The folders in which images may lie, of the config that the experiment was run with."""
    return tuple(read_config(results)["data"]["roots"])


def strips(plan: Plan, results: Path) -> Iterator[Strip]:
    """The rows of the sheet, each with up to COLUMNS images."""
    for number, attack in enumerate(attacks(plan)):
        folder, name = results / "attacks" / attack, name_of(attack)
        pairs, is_poison = read_table(folder / "train.csv", tuple(PAIRS)), read_truth(folder)
        if len(pairs) != len(is_poison):
            raise UserError(f"{folder / 'truth.csv'}: {len(is_poison)} rows for {len(pairs)} pairs; make this attack again")
        if number == 0:
            clean = [pair for pair, poisoned in zip(pairs, is_poison, strict=True) if not poisoned]
            yield "clean pairs", [(pair["path"], pair["caption"]) for pair in spread(clean)]
            yield from triggers(plan, results)
        poisons = [row for row, poisoned in enumerate(is_poison) if poisoned]
        if not poisons:
            continue
        yield f"{name}: poisoned pairs", [(pairs[row]["path"], pairs[row]["caption"]) for row in spread(poisons)]
        if name not in plan.of_captions:
            title = f"{name}: images of its evaluation set and the class that the adversary wants"
            yield title, [(row["path"], row["label"]) for row in spread(read_table(folder / "targets.csv", tuple(LABELLED)))]
        for model in trainings(plan):
            if model.startswith(f"{name}/"):
                yield from matched(results / "models" / model, name, pairs, poisons)


def read_truth(folder: Path) -> list[bool]:
    """Which pairs of an attack are poisoned."""
    return [row["is_poison"] == "1" for row in read_table(folder / "truth.csv", tuple(TRUTH))]


def triggers(plan: Plan, results: Path) -> Iterator[Strip]:
    """The first test image, clean and as the `sample.png` of each backdoor, in as many rows as it takes; none without one."""
    backdoors = [attack for attack in attacks(plan) if plan.family[name_of(attack)] == "backdoor"]
    samples = {name_of(attack): results / "attacks" / attack / "sample.png" for attack in backdoors}
    cells = [(str(path), name) for name, path in samples.items() if path.exists()]
    if cells:
        plain = read_table(results / "data/test.csv", tuple(LABELLED))[:1]
        cells = [*((row["path"], "no trigger") for row in plain), *cells]
    for start in range(0, len(cells), COLUMNS):
        yield "" if start else "the same image with every trigger", cells[start : start + COLUMNS]


def matched(model: Path, attack: str, pairs: list[dict[str, str]], poisons: list[int]) -> Iterator[Strip]:
    """Poisoned images with the captions that a defence paired them with last; none, if it has no such table."""
    path = model / "tables/matches.csv"
    if not path.exists():
        return
    found = {int(match["row"]): int(match["caption_row"]) for match in read_table(path, tuple(MATCHES))}
    cells = [(pairs[row]["path"], pairs[found[row]]["caption"]) for row in spread([row for row in poisons if row in found])]
    if cells:
        yield f"{attack}: poisoned images and the captions that {model.parent.name} matched them with", cells


def spread(rows: Sequence[Item], count: int = COLUMNS) -> list[Item]:
    """Up to `count` of the rows, evenly spread."""
    return [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, count).round().astype(int))] if rows else []


def contact_sheet(sheet: list[Strip], roots: Roots, image_size: int) -> plt.Figure:
    """A row of images for each strip, below its title."""
    size = (COLUMNS * (SIDE + ACROSS) - ACROSS, len(sheet) * (SIDE + DOWN) - DOWN)
    # fixed places: a layout that is made to fit shrinks the images to dots when there are many rows
    places = {"left": 0, "right": 1, "bottom": 0, "top": 1, "wspace": ACROSS / SIDE, "hspace": DOWN / SIDE}
    figure, axes = plt.subplots(len(sheet), COLUMNS, figsize=size, squeeze=False, gridspec_kw=places)
    figure.set_layout_engine("none")  # not as an argument: `savefig` forgets that after the first file
    for line, (title, cells) in zip(axes, sheet, strict=True):
        line[0].set_title(title, loc="left", fontsize=10, fontweight="bold", pad=8)
        for axis in line:
            axis.set_axis_off()
        for axis, cell in zip(line, cells, strict=False):
            show(axis, *cell, roots, image_size)
    return figure


def show(axis: plt.Axes, path: str, text: str, roots: Roots, image_size: int) -> None:
    """An image and the text below it; an image that cannot be decoded is `left out`."""
    centred = {"transform": axis.transAxes, "ha": "center", "fontsize": TEXT}
    try:
        roots.check(path)
        axis.imshow(images.decode(path, image_size), interpolation="nearest")
    except Exception as error:  # Pillow raises many kinds
        log.warning("%s is not shown: %s", one_line(path), error)
        axis.text(0.5, 0.5, "left out", va="center", **centred)
    axis.text(0.5, -0.06, textwrap.fill(one_line(text), 24), parse_math=False, va="top", **centred)  # "$" is money in captions
