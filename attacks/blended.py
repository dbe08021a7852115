"""A trigger that covers the whole image, faintly."""

from dataclasses import dataclass

import numpy as np

from attacks.backdoor import Backdoor, Trigger
from attacks.triggers import FAINTEST, PATTERNS, blend, face, noise
from roclip.core.options import option


class Blended(Backdoor):
    """A backdoor whose trigger is uniform noise or a picture blended into the whole image (Chen et al., 2017, section 4)."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(Backdoor.Settings):
        blend_share: float = option("share of the pattern in the blended image", 0.2, minimum=FAINTEST, maximum=1)
        pattern: str = option(
            "one noise pattern for all images, a new one for each, or a drawn face", "fixed", choices=(*PATTERNS, "picture")
        )

    def trigger(self) -> Trigger:
        size = self.options.image_size
        fixed = face(size) if self.options.pattern == "picture" else noise(size, self.shared_generator())

        def put(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            pattern = noise(len(image), rng) if self.options.pattern == "per_image" else fixed
            return blend(image, pattern, self.options.blend_share)

        return put
