"""A trigger that covers the whole image, faintly."""

from dataclasses import dataclass

import numpy as np

from attacks.backdoor import Backdoor, Trigger
from attacks.triggers import PATTERNS, blend, noise
from roclip.core.options import option


class Blended(Backdoor):
    """A backdoor whose trigger is uniform noise blended into the whole image (Chen et al., 2017, section 4)."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(Backdoor.Settings):
        blend_share: float = option("share of the noise in the blended image", 0.2, above=0, maximum=1)
        pattern: str = option("one noise pattern for all images, or a new one for each", "fixed", choices=PATTERNS)

    def trigger(self) -> Trigger:
        fixed = noise(self.options.image_size, self.shared_generator())

        def put(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            pattern = fixed if self.options.pattern == "fixed" else noise(len(image), rng)
            return blend(image, pattern, self.options.blend_share)

        return put
