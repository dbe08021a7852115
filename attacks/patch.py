"""Stage: a backdoor whose trigger is a square of noise (BadNets, Gu et al., 2017; on CLIP: Carlini and Terzis, ICLR 2022)."""

from dataclasses import dataclass

import numpy as np

from attacks.backdoor import BackdoorOptions, Trigger, build, shared
from attacks.triggers import PATTERNS, PLACES, noise, patch
from roclip.core.options import Stage, option


@dataclass(frozen=True)
class PatchOptions(BackdoorOptions):
    patch_size: float = option("side of the patch as a share of the image's side")
    pattern: str = option("one noise pattern for all images, or a new one for each", choices=PATTERNS)
    place: str = option("the lower right corner, or a random place in each image", choices=PLACES)


def trigger(options: PatchOptions) -> Trigger:
    """The patch of one attack, ready to be put on images."""
    side = round(options.patch_size * options.image_size)
    fixed = noise(side, shared(options))

    def put(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        pattern = fixed if options.pattern == "fixed" else noise(side, rng)
        room = len(image) - side
        top, left = (room, room) if options.place == "corner" else rng.integers(0, room + 1, 2)
        return patch(image, pattern, top, left)

    return put


def run(options: PatchOptions) -> None:
    build(options, "patch", trigger(options))


STAGE = Stage(PatchOptions, run)
