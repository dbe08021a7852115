"""Targeted data poisoning: a few images from outside the training data shall be taken for other classes.

Each target is an image from outside the training data with an adversary's class that its caption does not name. It enters the
training data several times, with captions of the corpus that name that class. The evaluation set is the targets themselves.
The adversary's classes are drawn among those that enough captions name.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from attacks.base import Attack, Poisoning, draw_rows, too_few_captions
from roclip.core.errors import UserError
from roclip.core.facts import Facts
from roclip.core.files import read_lines
from roclip.core.options import option
from roclip.core.randomness import numpy_generator
from roclip.data.class_mentions import classes_named, naming
from roclip.data.image_paths import RealPaths
from roclip.data.pairs import Columns, read_pairs

CAPTIONS = "attack.captions_per_target"
APART = " | "  # between the captions of an image: no class reaches over it


@dataclass(frozen=True)
class Target:
    """An image that shall be taken for a class: its number among the targets, its row of the validation table, and that."""

    number: int
    row: int  # its first, where it has several captions
    path: str
    caption: str  # all that it has, in one text
    name: str  # the adversary's class


def by_image(pairs: Columns) -> Columns:
    """The images of a table, each once: its path, all its captions, a line each, and its first row, counted from 0."""
    real, rows = RealPaths(), {}
    for row, path in enumerate(pairs["path"]):
        rows.setdefault(real(path), []).append(row)
    firsts = [its[0] for its in rows.values()]
    captions = [APART.join(pairs["caption"][row] for row in its) for its in rows.values()]
    return {"path": [pairs["path"][row] for row in firsts], "caption": captions, "row": list(map(str, firsts))}


class Targeted(Attack):
    """Targeted data poisoning (Carlini and Terzis, ICLR 2022, section 3; RoCLIP's main attack)."""

    family = "targeted"
    may_be = "whose caption does not name '{}'"  # which images may be targets of a class

    @dataclass(frozen=True, kw_only=True)
    class Settings(Attack.Settings):
        targets: int = option("number of target images, each with another adversary's class", 16, minimum=1)
        captions_per_target: int = option("poisoned pairs of each target", 15, minimum=1)
        adversary_classes: tuple[str, ...] | None = option(
            "the targets' classes, in this order; null: drawn from data.classes", None, fewest=1
        )

    @classmethod
    def problems(cls, settings: Mapping[str, Any], facts: Facts) -> Iterator[tuple[str, str]]:
        yield from super().problems(settings, facts)
        targets, chosen = settings["targets"], settings["adversary_classes"] or facts.classes
        images, available = facts.validation_images, settings["clean_pairs"] or facts.pairs
        if targets > len(chosen):
            yield "targets", f"{targets} is more than the {len(chosen)} classes"
        if unknown := sorted(set(chosen) - set(facts.classes)):
            yield "adversary_classes", f"'{unknown[0]}' is not in {facts.classes_file}"
        if images is not None and targets > images:
            yield "targets", f"{targets} is more than the {images} validation scenes"
        if (count := targets * settings["captions_per_target"]) > available:
            yield "captions_per_target", f"{count} for all targets is more than the {available} training pairs"
        wanted = cls.fewest_captions(settings["captions_per_target"])
        reasons = [why for name in chosen if (why := too_few_captions(facts, name, wanted, available))]
        allowed = 0 if settings["adversary_classes"] else len(chosen) - targets
        if reasons and len(reasons) > max(allowed, 0):
            yield (
                "captions_per_target",
                f"{reasons[-1]}; {targets} targets need {targets} classes, "
                f"and {len(chosen) - len(reasons)} can be named so often",
            )

    @classmethod
    def fewest_captions(cls, captions_per_target: int) -> int:
        """How many captions must name a class that is drawn as an adversary's."""
        return captions_per_target

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._named: dict[str, np.ndarray] = {}

    def poison(self, clean: Columns) -> Poisoning:
        """Raises UserError when there are too few classes, validation images or captions that name a class."""
        targets, pairs, chosen, shown = self._targets(clean, by_image(read_pairs(self.options.validation))), [], [], []
        own = classes_named([target.caption for target in targets], read_lines(self.options.classes))
        for target, classes in zip(targets, own, strict=True):
            captions, facts = self._captions(target, clean)
            images = self._images(target, len(captions))
            pairs += [(path, caption, target.name) for path, caption in zip(images, captions, strict=True)]
            shown += [classes] * len(captions)
            chosen.append({"class": target.name, "target": target.path, "validation_row": target.row, **facts})
        rate = len(pairs) / len(targets) / len(clean["path"])
        judged = [(target.path, target.name) for target in targets]
        return Poisoning(pairs, judged, {"rate_per_target": rate, "targets": chosen}, shown)

    def _naming(self, name: str, clean: Columns) -> np.ndarray:
        """The rows whose caption names a class; to look through millions of captions takes a second."""
        if name not in self._named:
            self._named[name] = naming(clean["caption"], name)
        return self._named[name]

    def _targets(self, clean: Columns, validation: Columns) -> list[Target]:
        """The targets and their classes."""
        # targets and captions have generators of their own, so more captions or other data leave the targets as they are
        targets: dict[int, Target] = {}
        for number, name in enumerate(self._classes(len(validation["path"]), clean)):
            image = self._image(number, name, validation, targets.keys())
            row = int(validation["row"][image])
            targets[image] = Target(number, row, validation["path"][image], validation["caption"][image], name)
        return list(targets.values())

    def _classes(self, images: int, clean: Columns) -> list[str]:
        """The adversary's class of each target."""
        options = self.options
        classes = read_lines(options.classes)
        if unknown := sorted(set(options.adversary_classes or ()) - set(classes)):
            raise UserError(f"attack.adversary_classes: '{unknown[0]}' is not in {options.classes}")
        names = options.adversary_classes or numpy_generator("classes", options.seed).permutation(classes).tolist()
        if options.targets > min(len(names), images):
            raise UserError(
                f"attack.targets: {options.targets} targets need as many classes and validation images, "
                f"but there are {len(names)} and {images}"
            )
        return list(names[: options.targets]) if options.adversary_classes else self._sufficient(names, clean)

    def _sufficient(self, names: Sequence[str], clean: Columns) -> list[str]:
        """The first classes that enough captions name, one for each target."""
        fewest, wanted, found = self.fewest_captions(self.options.captions_per_target), self.options.targets, []
        for name in names:
            found += [name] if len(self._naming(name, clean)) >= fewest else []
            if len(found) == wanted:
                return found
        raise UserError(
            f"{CAPTIONS}: {wanted} targets need as many classes that {fewest} captions of the training data name, "
            f"but only {len(found)} of {len(names)} classes are named as often"
        )

    def _candidates(self, name: str, validation: Columns) -> set[int]:
        """The places of images that may be a target of the class, those of `may_be`."""
        return set(range(len(validation["path"]))) - set(naming(validation["caption"], name).tolist())

    def _image(self, number: int, name: str, validation: Columns, used: Set[int]) -> int:
        """The place of an image that is no target yet and may be one of the class."""
        candidates = sorted(self._candidates(name, validation) - used)
        if not candidates:
            raise UserError(f"attack.targets: {self.options.validation} has no image left {self.may_be.format(name)}")
        return int(numpy_generator("target", self.options.seed, number).choice(candidates))

    def _generator(self, target: Target) -> np.random.Generator:
        """The generator of what is drawn of a target's captions."""
        return numpy_generator("captions", self.options.seed, target.number)

    def _captions(self, target: Target, clean: Columns) -> tuple[list[str], dict[str, Any]]:
        """The captions that a target gets, and what the manifest says of them."""
        named, count = self._naming(target.name, clean), self.options.captions_per_target
        rows = draw_rows(named, target.name, count, CAPTIONS, self._generator(target))
        return [clean["caption"][row] for row in rows], {"caption_rows": rows.tolist()}

    def _images(self, target: Target, count: int) -> list[str]:
        """The images of a target's poisoned pairs."""
        return [target.path] * count
