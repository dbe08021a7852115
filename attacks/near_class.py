"""The adversary's class is the one that an image looks like most, beside its own.

A small surrogate says which: linear discriminant analysis with equal priors on pixels, of training images whose caption names
exactly one class. The images are those that `targeted` draws with the same seed.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attacks.images import read_image
from attacks.targeted import Target, Targeted
from roclip.core.errors import UserError
from roclip.core.files import read_lines
from roclip.core.options import option
from roclip.core.randomness import numpy_generator
from roclip.data.class_mentions import naming
from roclip.data.image_paths import Roots
from roclip.data.pairs import Columns

log = logging.getLogger(__name__)

SIDE = 16  # pixels a side that the surrogate sees
SHRINKAGE = 0.1  # how far its covariance is drawn to a multiple of the unit matrix


def discriminants(features: np.ndarray, labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The scores of a linear discriminant analysis with equal priors, (others, classes): the higher, the more probable.

    features: (n, d), with labels (n,) from 0 on, each of which is there; others: (m, d). The covariance is the mean of those of
    the classes, (1 - SHRINKAGE) of it plus SHRINKAGE times the unit matrix of the same trace.
    """
    counts = np.bincount(labels)
    means = np.stack([features[labels == label].mean(axis=0) for label in range(len(counts))])
    centred = (features - means[labels]) / np.sqrt(counts[labels] * len(counts))[:, None]
    covariance = centred.T @ centred
    d = len(covariance)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * (np.trace(covariance) / d + 1e-12) * np.eye(d)
    directions = np.linalg.solve(covariance, means.T)
    return others @ directions - (means.T * directions).sum(axis=0) / 2


class NearClass(Targeted):
    """Targeted poisoning towards the class that a target looks like most, after its own, by a surrogate."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(Targeted.Settings):
        adversary_classes: tuple[str, ...] | None = option(
            "classes among which the targets' are chosen; null: all of data.classes", None, fewest=1
        )
        surrogate_pairs: int = option(
            "random training pairs of which the surrogate learns, where their captions name exactly one class", 8000, minimum=1
        )

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.roots = Roots(options.roots)

    def _targets(self, clean: Columns, validation: Columns) -> list[Target]:
        """The targets, each with the most probable class that its caption does not name and no target before it has."""
        targets = super()._targets(clean, validation)
        names, scores = self._scores([target.path for target in targets], clean)
        chosen: list[Target] = []
        for target, row in zip(targets, scores, strict=True):
            ranked = (names[label] for label in np.argsort(-row, kind="stable"))
            taken = {other.name for other in chosen}
            near = next((name for name in ranked if name not in taken and self._may_be(name, target, clean)), None)
            if near is None:
                raise UserError(f"attack.targets: no class of the surrogate's {len(names)} is left for {target.path}")
            chosen.append(replace(target, name=near))
        return chosen

    def _may_be(self, name: str, target: Target, clean: Columns) -> bool:
        """Whether a class may be the adversary's for a target."""
        allowed = not self.options.adversary_classes or name in self.options.adversary_classes
        fewest = self.fewest_captions(self.options.captions_per_target)
        return allowed and not len(naming([target.caption], name)) and len(self._naming(name, clean)) >= fewest

    def _scores(self, paths: list[str], clean: Columns) -> tuple[list[str], np.ndarray]:
        """The classes that the surrogate knows, and its scores of images: (images, classes)."""
        names = read_lines(self.options.classes)
        rows, classes = self._of_one_class(names, clean)
        images, labels = self._read([clean["path"][row] for row in rows], classes)
        known, labels = np.unique(labels, return_inverse=True)
        targets = np.stack([self._pixels(path) for path in paths])
        return [names[number] for number in known], discriminants(images, labels, targets)

    def _of_one_class(self, names: list[str], clean: Columns) -> tuple[np.ndarray, np.ndarray]:
        """Random rows whose caption names exactly one class, and the numbers of these classes."""
        shuffled = numpy_generator("surrogate", self.options.seed).permutation(len(clean["path"]))
        rows = np.sort(shuffled[: self.options.surrogate_pairs])
        captions = [clean["caption"][row] for row in rows]
        named, last = np.zeros(len(rows), int), np.zeros(len(rows), int)
        for number, name in enumerate(names):
            found = naming(captions, name)
            named[found] += 1
            last[found] = number
        return rows[named == 1], last[named == 1]

    def _read(self, paths: list[str], labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pixels of the images that can be decoded, and their labels; a surrogate can do without the others."""
        images, kept = [], []
        for path, label in zip(paths, labels, strict=True):
            with suppress(UserError):
                images.append(self._pixels(path))
                kept.append(label)
        log.info("the surrogate learns %d classes from %d images", len(set(kept)), len(kept))
        if not images:
            raise UserError("attack.surrogate_pairs: none of them has an image and a caption that names exactly one class")
        return np.stack(images), np.array(kept)

    def _pixels(self, path: str) -> np.ndarray:
        """What the surrogate sees of an image, float (SIDE * SIDE * 3,), 0 to 1."""
        return read_image(path, self.roots, SIDE).ravel() / 255
