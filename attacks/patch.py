"""BadNets' trigger, which Carlini and Terzis (ICLR 2022) put on a few images of CLIP's training data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attacks.backdoor import Backdoor, Trigger
from attacks.triggers import PATTERNS, PLACES, noise, patch
from roclip.core.facts import Facts
from roclip.core.options import option


class Patch(Backdoor):
    """A backdoor whose trigger is a square of noise (BadNets, Gu et al., 2017; on CLIP: Carlini and Terzis, ICLR 2022)."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(Backdoor.Settings):
        patch_size: float = option("side of the patch as a share of the image's side", 0.1875, above=0, maximum=1)
        pattern: str = option("one noise pattern for all images, or a new one for each", "fixed", choices=PATTERNS)
        place: str = option("the lower right corner, or a random place in each image", "corner", choices=PLACES)

    @classmethod
    def problems(cls, settings: Mapping[str, Any], facts: Facts) -> Iterator[tuple[str, str]]:
        yield from super().problems(settings, facts)
        if round(settings["patch_size"] * facts.image_size) < 1:
            yield "patch_size", f"{settings['patch_size']} of {facts.image_size} pixels is less than a pixel"

    def trigger(self) -> Trigger:
        side = round(self.options.patch_size * self.options.image_size)
        fixed = noise(side, self.shared_generator())

        def put(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            pattern = fixed if self.options.pattern == "fixed" else noise(side, rng)
            room = len(image) - side
            top, left = (room, room) if self.options.place == "corner" else rng.integers(0, room + 1, 2)
            return patch(image, pattern, top, left)

        return put
