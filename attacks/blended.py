"""Stage: a backdoor whose trigger is uniform noise blended into the whole image (Chen et al., 2017, section 4)."""

from dataclasses import dataclass

import numpy as np

from attacks.backdoor import BackdoorOptions, Trigger, build, shared
from attacks.triggers import PATTERNS, blend, noise
from roclip.core.options import Stage, option


@dataclass(frozen=True)
class BlendedOptions(BackdoorOptions):
    blend_share: float = option("share of the pattern in the blended image")
    pattern: str = option("one noise pattern for all images, or a new one for each", choices=PATTERNS)


def trigger(options: BlendedOptions) -> Trigger:
    """The pattern of one attack, ready to be blended into images."""
    fixed = noise(options.image_size, shared(options))

    def put(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return blend(image, fixed if options.pattern == "fixed" else noise(len(image), rng), options.blend_share)

    return put


def run(options: BlendedOptions) -> None:
    build(options, "blended", trigger(options))


STAGE = Stage(BlendedOptions, run)
