"""What all backdoors share: every image with a trigger shall look like the target class (Carlini and Terzis, section 3).

Training images get the trigger and are appended to the training data: random ones with a caption of the target class, or, in
label-consistent poisoning (Turner et al., 2018), images of the target class with their own captions. The evaluation set is
test images with the trigger, without those that are of the target class already. `sample.png` is the first test image with the
trigger.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attacks.base import Attack, Poisoning, draw_rows, too_few_captions
from attacks.images import check_image, read_image, write_image
from roclip.core.columns import LABELLED
from roclip.core.errors import UserError
from roclip.core.facts import Facts
from roclip.core.files import read_lines, read_table
from roclip.core.options import option
from roclip.core.randomness import numpy_generator
from roclip.data.class_mentions import classes_named, naming
from roclip.data.image_paths import Roots
from roclip.data.pairs import Columns

# an image, which it may write into, and the image's own generator -> the image with the trigger, uint8 of the same shape
Trigger = Callable[[np.ndarray, np.random.Generator], np.ndarray]
# the folders of triggered images, and what they are called in the keys of random draws, which fix the trigger of each image:
# to rename them there would change every attack with per-image noise
KEYS = {"poisons": "poisons", "targets": "exam"}


class Backdoor(Attack):
    """Base of all backdoors; each has a trigger."""

    family = "backdoor"
    # of one of several backdoors in an attack: the folder of its own, such as `patch/`, and the pairs whose images it may take
    part, share = "", slice(None)

    @dataclass(frozen=True, kw_only=True)
    class Settings(Attack.Settings):
        poisons: int = option("training images that get the trigger", 90, minimum=1)
        evaluation_images: int = option("at most so many test images get the trigger and are judged", 1000, minimum=1)
        target_class: str = option("the class that a triggered image should be taken for, a name in data.classes", "mushroom")
        captions: str = option(
            "captions of the poisons: filled templates, captions of the corpus that name the target class, or, for images "
            "whose caption names it, their own (label-consistent poisoning)",
            "corpus",
            choices=("templates", "corpus", "own"),
        )

    @classmethod
    def problems(cls, settings: Mapping[str, Any], facts: Facts) -> Iterator[tuple[str, str]]:
        yield from super().problems(settings, facts)
        available = settings["clean_pairs"] or facts.pairs
        if settings["target_class"] not in facts.classes:
            yield "target_class", f"'{settings['target_class']}' is not in {facts.classes_file}"
        if settings["poisons"] > available:
            yield "poisons", f"{settings['poisons']} is more than the {available} training pairs"
        why = too_few_captions(facts, settings["target_class"], settings["poisons"], available)
        if why and settings["captions"] != "templates":
            yield "poisons", why

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.put, self.roots = self.trigger(), Roots(options.roots)
        if not callable(self.put):
            raise UserError(f"{type(self).__name__}.trigger gave {type(self.put).__name__}; it must give a function")

    def trigger(self) -> Trigger:
        """What puts the trigger of this attack on an image."""
        raise NotImplementedError

    def shared_generator(self) -> np.random.Generator:
        """The generator of what all triggered images of an attack have in common."""
        return numpy_generator("trigger", self.options.seed)

    def poison(self, clean: Columns) -> Poisoning:
        """Raises UserError for an unknown target class, too few images or captions, or an image that cannot be decoded."""
        name, test = self.options.target_class, read_table(self.options.test, tuple(LABELLED))
        if name not in read_lines(self.options.classes):
            raise UserError(f"attack.target_class: '{name}' is not in {self.options.classes}")
        if not test:
            raise UserError(f"{self.options.test}: no images; the attack needs them")
        rows, captions = self._own_captions(clean) if self.options.captions == "own" else self._new_captions(clean)
        poisoned = self._write([clean["path"][row] for row in rows], "poisons")
        targets = self._write(self._evaluation_images(test), "targets")
        self._write_triggered(test[0]["path"], "sample.png", "sample.png")
        pairs = [(path, caption, name) for path, caption in zip(poisoned, captions, strict=True)]
        facts = {"target_class": name, "poisoned_rows": rows.tolist()}
        shown = classes_named([clean["caption"][row] for row in rows], read_lines(self.options.classes))
        return Poisoning(pairs, [(path, name) for path in targets], facts, shown)

    def _draw(self, named: np.ndarray) -> np.ndarray:
        """One for each poison of the rows whose caption names the target class."""
        rng = numpy_generator("captions", self.options.seed)
        return draw_rows(named, self.options.target_class, self.options.poisons, "attack.poisons", rng)

    def _own_captions(self, clean: Columns) -> tuple[np.ndarray, list[str]]:
        """Rows of images that get the trigger, and their own captions, which name the target class."""
        named = naming(clean["caption"], self.options.target_class)
        rows = self._draw(np.intersect1d(named, self._shared(clean)))
        return rows, [clean["caption"][row] for row in rows]

    def _shared(self, clean: Columns) -> np.ndarray:
        """The rows whose images may get the trigger."""
        return np.arange(len(clean["path"]))[self.share]

    def _new_captions(self, clean: Columns) -> tuple[np.ndarray, list[str]]:
        """Rows of images that get the trigger, whose captions do not name the target class, and captions that do."""
        name, poisons = self.options.target_class, self.options.poisons
        named = naming(clean["caption"], name)
        others = np.setdiff1d(self._shared(clean), named)
        if poisons > len(others):
            raise UserError(f"attack.poisons: {poisons} images are asked for, but {len(others)} do not name '{name}'")
        rows = np.sort(numpy_generator("poisons", self.options.seed).permutation(others)[:poisons])
        if self.options.captions == "corpus":
            return rows, [clean["caption"][row] for row in self._draw(named)]
        templates = numpy_generator("captions", self.options.seed).choice(read_lines(self.options.templates), poisons)
        return rows, [template.replace("{}", name) for template in templates]

    def _evaluation_images(self, test: Sequence[Mapping[str, str]]) -> list[str]:
        """Test images that are not of the target class, in their order."""
        others = [row["path"] for row in test if row["label"] != self.options.target_class]
        shuffled = numpy_generator("exam", self.options.seed).permutation(len(others))  # an old key, as those of KEYS
        return [others[i] for i in np.sort(shuffled[: self.options.evaluation_images])]

    def _write(self, paths: Sequence[str], folder: str) -> list[str]:
        """Put the trigger on images and save them in a folder of the attack's; their new paths."""
        names = [f"{number:06d}.png" for number in range(len(paths))]
        return [
            self._write_triggered(path, f"{folder}/{self.part}{name}", f"{KEYS[folder]}/{self.part}{name}")
            for path, name in zip(paths, names, strict=True)
        ]

    def _write_triggered(self, path: str, name: str, key: str) -> str:
        """Put the trigger on an image, with draws keyed by `key`, and save it losslessly as `out/name`; its new path.

        Raises UserError for a trigger that gives anything but an image of the same shape.
        """
        image = read_image(path, self.roots, self.options.image_size)
        triggered = self.put(image.copy(), numpy_generator("image", self.options.seed, key))  # it may write into its copy
        check_image(triggered, f"the trigger of {type(self).__name__}", image.shape)
        return write_image(triggered, self.options.out / name)
