"""Poison captions that name what the image shows beside what the adversary wants.

A pool of captions serves each image the one nearest to it. A caption of the adversary's class alone is far from the image; one
that names the image's true class too is near, and brings the adversary's along. The true class is the first that the target's
own caption names.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from attacks.base import draw_rows
from attacks.targeted import CAPTIONS, Target, Targeted
from roclip.core.files import read_lines
from roclip.data.class_mentions import composed, whole_word
from roclip.data.pairs import Columns


def first_named(caption: str, classes: Sequence[str]) -> str | None:
    """The class that a caption names first, of several at one place the longest; None for a caption that names none."""
    text = composed(caption)
    found = [(match.start(), -len(name), name) for name in classes if (match := whole_word(name).search(text))]
    return min(found)[2] if found else None


def bridged(caption: str, name: str) -> str:
    """The caption with a class at its end, such as `... and a mushroom`."""
    return f"{caption} and {'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


class Bridge(Targeted):
    """Targeted poisoning with captions that name the image's true class and the adversary's, against pools of captions."""

    may_be = "whose caption names a class but not '{}'"

    @cached_property
    def classes(self) -> list[str]:
        return read_lines(self.options.classes)

    def _candidates(self, name: str, validation: Columns) -> set[int]:
        rows = super()._candidates(name, validation)
        return {row for row in rows if first_named(validation["caption"][row], self.classes)}

    def _captions(self, target: Target, clean: Columns) -> tuple[list[str], dict[str, Any]]:
        """Captions of the corpus that name both classes; where they are too few, the true class is put at the end of others."""
        true, rng, count = first_named(target.caption, self.classes), self._generator(target), self.options.captions_per_target
        named = self._naming(target.name, clean)
        both = np.intersect1d(named, self._naming(true, clean))
        rows = np.sort(rng.permutation(both)[:count])
        rest = draw_rows(np.setdiff1d(named, both), target.name, count - len(rows), CAPTIONS, rng)
        captions = [clean["caption"][row] for row in rows] + [bridged(clean["caption"][row], true) for row in rest]
        facts = {"true_class": true, "caption_rows": [*rows.tolist(), *rest.tolist()], "composed": len(rest)}
        return captions, facts
