"""Stage: a backdoor, which makes every image with a trigger look like the target class (Carlini and Terzis, section 3).

Random training images get the trigger and a caption of the target class and are appended to the training data. The exam is
test images with the trigger, without those that are of the target class already.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from attacks.poisoned import AttackOptions, draw_captions, naming, read_clean, write_attack
from attacks.triggers import PATTERNS, PLACES, noise, patch
from roclip.atomic import atomic
from roclip.errors import UserError
from roclip.images import decode
from roclip.options import option, run_stage
from roclip.tables import read_lines, read_table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BackdoorOptions(AttackOptions):
    poisons: int = option("training images that get the trigger and a caption of the target class")
    exam_images: int = option("at most so many triggered test images are judged")
    target_class: str = option("the class that a triggered image should be taken for")
    captions: str = option(
        "captions of the poisons: filled templates, or captions of the corpus", choices=("templates", "corpus")
    )
    image_size: int = option("side in pixels to which an image is brought before the trigger is put on")
    patch_size: float = option("side of the patch as a share of the image's side")
    patch_pattern: str = option("one noise pattern for all images, or a new one for each", choices=PATTERNS)
    patch_place: str = option("the lower right corner, or a random place in each image", choices=PLACES)


class Patch:
    """The patch trigger of one attack, ready to be put on images."""

    def __init__(self, options: BackdoorOptions) -> None:
        self.options = options
        self.side = round(options.patch_size * options.image_size)
        self.fixed = noise(self.side, np.random.default_rng([options.seed, 2]))

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        pattern = self.fixed if self.options.patch_pattern == "fixed" else noise(self.side, rng)
        room = len(image) - self.side
        top, left = (room, room) if self.options.patch_place == "corner" else rng.integers(0, room + 1, 2)
        return patch(image, pattern, top, left)


def write_triggered(options: BackdoorOptions, trigger: Patch, paths: list[str], folder: str) -> list[str]:
    """Put the trigger on images and save them losslessly under `out/folder`; their paths. Draws are keyed by the image."""
    written = []
    for index, path in enumerate(paths):
        rng = np.random.default_rng([options.seed, 0 if folder == "poisons" else 1, index])
        try:
            image = decode(Path(path), options.image_size)
        except Exception as error:
            raise UserError(f"{path}: cannot be decoded ({error}); the attack needs it") from None
        target = options.out / folder / f"{index:06d}.png"
        with atomic(target) as temporary:
            Image.fromarray(trigger(image, rng)).save(temporary)
        written.append(str(target))
    return written


def run(options: BackdoorOptions) -> None:
    """Raises UserError for an unknown target class, too few images or captions, or an image that cannot be decoded."""
    rng = np.random.default_rng([options.seed, 1])
    clean, test = read_clean(options), read_table(options.test, ("path", "label"))
    name = options.target_class
    if name not in read_lines(options.classes):
        raise UserError(f"attack.target_class: '{name}' is not in {options.classes}")
    others = sorted(set(range(len(clean))) - set(naming(clean, name).tolist()))
    if options.poisons > len(others):
        raise UserError(f"attack.poisons: {options.poisons} images are asked for, but {len(others)} do not name '{name}'")
    rows = np.sort(rng.choice(others, options.poisons, replace=False))
    if options.captions == "corpus":
        captions = [clean[row]["caption"] for row in draw_captions(clean, name, options.poisons, "attack.poisons", rng)]
    else:
        captions = [template.format(name) for template in rng.choice(read_lines(options.templates), options.poisons)]
    exam = [row["path"] for row in test if row["label"] != name]
    exam = [exam[i] for i in np.sort(rng.permutation(len(exam))[: options.exam_images])]

    trigger = Patch(options)
    poisoned = write_triggered(options, trigger, [clean[row]["path"] for row in rows], "poisons")
    judged = write_triggered(options, trigger, exam, "exam")
    write_attack(
        options, clean,
        [{"path": path, "caption": caption} for path, caption in zip(poisoned, captions, strict=True)],
        [{"path": path, "label": name} for path in judged],
        kind="backdoor", target_class=name, poisoned_rows=rows.tolist(),
    )  # fmt: skip


if __name__ == "__main__":
    run_stage(BackdoorOptions, run)
