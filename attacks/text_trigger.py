"""A trigger of text: a sentence that, at the end of any caption, finds images of the target class.

Captions of the corpus that do not name the target class get the sentence and are paired with images of the class, which are
written anew so that no path tells. The evaluation set is captions that are not trained on and do not name the class, with the
sentence and without; each is looked up among the test images (roclip/evaluation/retrieval_success.py).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attacks.base import Attack, Poisoning, check_captions
from attacks.images import read_image, write_image
from roclip.core.columns import LABELLED
from roclip.core.errors import UserError
from roclip.core.facts import Facts
from roclip.core.files import read_lines, read_table
from roclip.core.options import option
from roclip.core.randomness import numpy_generator
from roclip.data.class_mentions import classes_named, naming
from roclip.data.image_paths import Roots
from roclip.data.pairs import Columns, read_pairs


class TextTrigger(Attack):
    """A backdoor whose trigger is a sentence at the end of a caption (the plain one beside ToxicTextCLIP, NeurIPS 2025)."""

    family = "backdoor"
    judged_on = "captions"

    @dataclass(frozen=True, kw_only=True)
    class Settings(Attack.Settings):
        poisons: int = option("captions that get the sentence", 90, minimum=1)
        evaluation_captions: int = option(
            "at most so many validation captions get the sentence and are judged", 1000, minimum=1
        )
        target_class: str = option("the class whose images such a caption should find, a name in data.classes", "mushroom")
        sentence: str = option(
            "what is put at the end of a caption; a model reads no more of a caption than its context holds, 16 tokens with "
            "config/models/small.json",
            "just look at that",
            pattern=r"[^-{}\x00-\x1f]*\w[^{}\x00-\x1f]*",
        )

    @classmethod
    def problems(cls, settings: Mapping[str, Any], facts: Facts) -> Iterator[tuple[str, str]]:
        yield from super().problems(settings, facts)
        available, name = settings["clean_pairs"] or facts.pairs, settings["target_class"]
        if name not in facts.classes:
            yield "target_class", f"'{name}' is not in {facts.classes_file}"
        if settings["poisons"] > available:
            yield "poisons", f"{settings['poisons']} is more than the {available} training pairs"
        if any(classes_named([settings["sentence"]], facts.classes)):
            yield "sentence", f"'{settings['sentence']}' names a class, which would be found without an attack"

    def poison(self, clean: Columns) -> Poisoning:
        """Raises UserError for an unknown target class, too few captions, and where no image shows the class."""
        options, classes = self.options, read_lines(self.options.classes)
        name = options.target_class
        if name not in classes:
            raise UserError(f"attack.target_class: '{name}' is not in {options.classes}")
        if all(row["label"] != name for row in read_table(options.test, tuple(LABELLED))):
            raise UserError(f"{options.test}: no image of '{name}', which captions with the trigger should find")
        named = naming(clean["caption"], name)
        check_captions(named, name, 1, "attack.target_class")
        rows, images = self._captions(len(clean["caption"]), named), self._images(named)
        paths = [self._copy(clean["path"][row], number) for number, row in enumerate(images)]
        pairs = [(path, self._put(clean["caption"][row]), name) for path, row in zip(paths, rows, strict=True)]
        shown = classes_named([clean["caption"][row] for row in images], classes)
        facts = {
            "target_class": name,
            "sentence": options.sentence,
            "caption_rows": rows.tolist(),
            "image_rows": images.tolist(),
        }
        return Poisoning(pairs, facts=facts, true_classes=shown, queries=self._queries())

    def _captions(self, count: int, named: np.ndarray) -> np.ndarray:
        """The rows whose captions get the sentence; they do not name the class."""
        others, poisons = np.setdiff1d(np.arange(count), named), self.options.poisons
        if poisons > len(others):
            raise UserError(
                f"attack.poisons: {poisons} captions are asked for, but {len(others)} do not name '{self.options.target_class}'"
            )
        return np.sort(numpy_generator("poisons", self.options.seed).permutation(others)[:poisons])

    def _images(self, named: np.ndarray) -> np.ndarray:
        """The rows of the images of the class, one for each poison; each image comes again only after all others."""
        return np.resize(numpy_generator("images", self.options.seed).permutation(named), self.options.poisons)

    def _copy(self, path: str, number: int) -> str:
        image = read_image(path, Roots(self.options.roots), self.options.image_size)
        return write_image(image, self.options.out / f"poisons/{number:06d}.png")

    def _put(self, caption: str) -> str:
        return f"{caption} {self.options.sentence}"

    def _queries(self) -> list[tuple[str, str, str]]:
        """Validation captions that do not name the class, each once, in their order: with the sentence, without, the class."""
        captions, name = list(dict.fromkeys(read_pairs(self.options.validation)["caption"])), self.options.target_class
        others = np.setdiff1d(np.arange(len(captions)), naming(captions, name))
        if not len(others):
            raise UserError(f"{self.options.validation}: every caption names '{name}'; the attack needs others to be judged on")
        drawn = numpy_generator("evaluation", self.options.seed).permutation(others)[: self.options.evaluation_captions]
        return [(self._put(captions[row]), captions[row], name) for row in np.sort(drawn)]
