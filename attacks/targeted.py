"""Targeted data poisoning: a few images from outside the training data shall be taken for other classes.

Each target is an image from outside the training data with an adversary's class that its caption does not name. It enters the
training data several times, with captions of the corpus that name that class. The evaluation set is the targets themselves.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attacks.base import Attack, Poisoning, draw_captions
from roclip.core.errors import UserError
from roclip.core.facts import Facts
from roclip.core.files import read_lines
from roclip.core.options import option
from roclip.core.randomness import numpy_generator
from roclip.data.class_mentions import classes_named, naming
from roclip.data.pairs import Columns, read_pairs


class Targeted(Attack):
    """Targeted data poisoning (Carlini and Terzis, ICLR 2022, section 3; RoCLIP's main attack)."""

    family = "targeted"

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

    def poison(self, clean: Columns) -> Poisoning:
        """Raises UserError when there are too few classes, validation images or captions that name a class."""
        validation, pairs, targets, chosen, shown = read_pairs(self.options.validation), [], [], [], []
        classes = read_lines(self.options.classes)
        used: set[int] = set()
        # targets and captions have generators of their own, so more captions or other data leave the targets as they are
        for number, name in enumerate(self._classes(len(validation["path"]))):
            row = self._target(number, name, validation, used)
            used.add(row)
            captions = self._captions(number, name, clean)
            path = validation["path"][row]
            pairs += [(path, clean["caption"][caption], name) for caption in captions]
            shown += classes_named([validation["caption"][row]], classes) * len(captions)
            targets.append((path, name))
            chosen.append({"class": name, "target": path, "validation_row": row, "caption_rows": captions.tolist()})
        rate = self.options.captions_per_target / len(clean["path"])
        return Poisoning(pairs, targets, {"rate_per_target": rate, "targets": chosen}, shown)

    def _classes(self, images: int) -> list[str]:
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
        return list(names[: options.targets])

    def _target(self, number: int, name: str, validation: Columns, used: set[int]) -> int:
        """The row of an image that is no target yet and whose caption does not name the class."""
        candidates = sorted(set(range(len(validation["path"]))) - used - set(naming(validation["caption"], name).tolist()))
        if not candidates:
            source = self.options.validation
            raise UserError(f"attack.targets: {source} has no image left whose caption does not name '{name}'")
        return int(numpy_generator("target", self.options.seed, number).choice(candidates))

    def _captions(self, number: int, name: str, clean: Columns) -> np.ndarray:
        """The rows whose captions a target gets."""
        rng, count = numpy_generator("captions", self.options.seed, number), self.options.captions_per_target
        return draw_captions(clean["caption"], name, count, "attack.captions_per_target", rng)
