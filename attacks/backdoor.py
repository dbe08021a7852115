"""What all backdoors share: every image with a trigger shall look like the target class (Carlini and Terzis, section 3).

Training images get the trigger and are appended to the training data: random ones with a caption of the target class, or, in
label-consistent poisoning (Turner et al., 2018), images of the target class with their own captions. The exam is test images
with the trigger, without those that are of the target class already. `sample.png` is the first test image with the trigger.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from attacks.poisoned import AttackOptions, draw_captions, read_clean, write_attack
from roclip.core.atomic import atomic
from roclip.core.errors import UserError
from roclip.core.files import read_lines, read_table
from roclip.core.options import option
from roclip.core.randomness import numpy_generator
from roclip.data.class_mentions import naming
from roclip.data.images import Roots, decode

# an image and a generator of its own -> the image with the trigger
Trigger = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class BackdoorOptions(AttackOptions):
    poisons: int = option("training images that get the trigger")
    exam_images: int = option("at most so many triggered test images are judged")
    target_class: str = option("the class that a triggered image should be taken for")
    captions: str = option(
        "captions of the poisons: filled templates, captions of the corpus that name the target class, or, for images whose "
        "caption names it, their own",
        choices=("templates", "corpus", "own"),
    )
    image_size: int = option("side in pixels to which an image is brought before the trigger is put on")


def shared(options: BackdoorOptions) -> np.random.Generator:
    """The generator of what all triggered images of an attack have in common."""
    return numpy_generator("trigger", options.seed)


def write_triggered(options: BackdoorOptions, roots: Roots, trigger: Trigger, path: str, name: str) -> str:
    """Put the trigger on an image, with draws keyed by `name`, and save it losslessly as `out/name`; its path."""
    try:
        roots.check(path)
        image = decode(path, options.image_size)
    except Exception as error:
        raise UserError(f"{path}: cannot be decoded ({error}); the attack needs it: mend it or take it out") from None
    target = options.out / name
    with atomic(target) as temporary:
        Image.fromarray(trigger(image, numpy_generator("image", options.seed, name))).save(temporary)
    return str(target)


def build(options: BackdoorOptions, kind: str, trigger: Trigger) -> None:
    """Write a whole backdoor attack.

    Raises UserError for an unknown target class, too few images or captions, or an image that cannot be decoded.
    """
    rng, roots = numpy_generator("captions", options.seed), Roots(options.roots)
    clean, test = read_clean(options), read_table(options.test, ("path", "label"))
    name = options.target_class
    if name not in read_lines(options.classes):
        raise UserError(f"attack.target_class: '{name}' is not in {options.classes}")
    if not test:
        raise UserError(f"{options.test}: no images; the attack needs them")
    if options.captions == "own":
        rows = draw_captions(clean["caption"], name, options.poisons, "attack.poisons", rng)
        captions = [clean["caption"][row] for row in rows]
    else:
        others = np.setdiff1d(np.arange(len(clean["path"])), naming(clean["caption"], name))
        if options.poisons > len(others):
            raise UserError(f"attack.poisons: {options.poisons} images are asked for, but {len(others)} do not name '{name}'")
        rows = np.sort(numpy_generator("poisons", options.seed).permutation(others)[: options.poisons])
        if options.captions == "corpus":
            drawn = draw_captions(clean["caption"], name, options.poisons, "attack.poisons", rng)
            captions = [clean["caption"][row] for row in drawn]
        else:
            captions = [template.replace("{}", name) for template in rng.choice(read_lines(options.templates), options.poisons)]
    exam = [row["path"] for row in test if row["label"] != name]
    judged = np.sort(numpy_generator("exam", options.seed).permutation(len(exam))[: options.exam_images])

    def write_all(folder: str, paths: list[str]) -> list[str]:
        shutil.rmtree(options.out / folder, ignore_errors=True)  # there may be more of them, of another config
        return [write_triggered(options, roots, trigger, path, f"{folder}/{i:06d}.png") for i, path in enumerate(paths)]

    poisoned = write_all("poisons", [clean["path"][row] for row in rows])
    judged = write_all("exam", [exam[i] for i in judged])
    write_triggered(options, roots, trigger, test[0]["path"], "sample.png")
    write_attack(
        options, clean,
        [{"path": path, "caption": text, "adversary_class": name} for path, text in zip(poisoned, captions, strict=True)],
        [{"path": path, "label": name} for path in judged],
        kind=kind, target_class=name, poisoned_rows=rows.tolist(),
    )  # fmt: skip
