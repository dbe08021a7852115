"""Stage: targeted data poisoning (Carlini and Terzis, ICLR 2022, section 3; RoCLIP's main attack).

Each target is an image from outside the training data with an adversarial class that its caption does not name. It enters the
training data several times, with captions of the corpus that name its adversarial class. The exam is the targets themselves.
"""

from dataclasses import dataclass

from attacks.poisoned import AttackOptions, draw_captions, read_clean, write_attack
from roclip.core.errors import UserError
from roclip.core.files import read_lines
from roclip.core.options import Stage, option
from roclip.core.randomness import numpy_generator
from roclip.data.class_mentions import naming
from roclip.data.pairs import read_pairs


@dataclass(frozen=True)
class TargetedOptions(AttackOptions):
    targets: int = option("number of target images, each with an adversarial class of its own")
    captions_per_target: int = option("poisoned pairs of each target")
    adversary_classes: tuple[str, ...] | None = option("the targets' classes, in this order; without it any are drawn", None)


def run(options: TargetedOptions) -> None:
    """Raises UserError when there are too few classes, validation images or captions that name a class."""
    clean, validation = read_clean(options), read_pairs(options.validation)
    classes = read_lines(options.classes)
    if unknown := sorted(set(options.adversary_classes or ()) - set(classes)):
        raise UserError(f"attack.adversary_classes: '{unknown[0]}' is not in {options.classes}")
    if options.adversary_classes:
        classes = list(options.adversary_classes)
    images = len(validation["path"])
    if options.targets > min(len(classes), images):
        raise UserError(
            f"attack.targets: {options.targets} targets need as many classes and validation images, "
            f"but there are {len(classes)} and {images}"
        )
    poisons, exam, chosen = [], [], []
    used: set[int] = set()
    # targets and captions have generators of their own, so more captions or other data leave the targets as they are
    names = options.adversary_classes or numpy_generator("classes", options.seed).permutation(classes)
    for number, name in enumerate(names[: options.targets]):
        candidates = sorted(set(range(images)) - used - set(naming(validation["caption"], name).tolist()))
        if not candidates:
            raise UserError(f"attack.targets: {options.validation} has no image left whose caption does not name '{name}'")
        target = int(numpy_generator("target", options.seed, number).choice(candidates))
        used.add(target)
        path = validation["path"][target]
        rng = numpy_generator("captions", options.seed, number)
        rows = draw_captions(clean["caption"], name, options.captions_per_target, "attack.captions_per_target", rng)
        poisons += [{"path": path, "caption": clean["caption"][row], "adversary_class": str(name)} for row in rows]
        exam.append({"path": path, "label": str(name)})
        chosen.append({"class": str(name), "target": path, "validation_row": target, "caption_rows": rows.tolist()})
    rate = options.captions_per_target / len(clean["path"])
    write_attack(options, clean, poisons, exam, kind="targeted", rate_per_target=rate, targets=chosen)


STAGE = Stage(TargetedOptions, run)
