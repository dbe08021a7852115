"""A trigger with a structure, as a patch or over the whole image, where it survives any crop.

Detect-CLIP-Backdoor-Samples (Huang et al., ICLR 2025) puts a fixed black and white pattern at a random place of each image.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attacks.backdoor import Backdoor, Trigger
from attacks.triggers import FAINTEST, PLACES, blend, checkerboard, patch
from roclip.core.facts import Facts
from roclip.core.options import option


class Checkerboard(Backdoor):
    """A backdoor whose trigger is a black and white checkerboard (as BadNets, Gu et al., 2017), tiled or as a patch."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(Backdoor.Settings):
        patch_size: float = option("side of the board as a share of the image's side", 0.25, above=0, maximum=1)
        fields: int = option("fields along each side of the board", 4, minimum=2)
        place: str = option(
            "the lower right corner, a random place in each image, or, tiled, everywhere",
            "random",
            choices=(*PLACES, "everywhere"),
        )
        blend_share: float = option("share of the board in the pixels that it covers", 1.0, minimum=FAINTEST, maximum=1)

    @classmethod
    def problems(cls, settings: Mapping[str, Any], facts: Facts) -> Iterator[tuple[str, str]]:
        yield from super().problems(settings, facts)
        side, fields = round(settings["patch_size"] * facts.image_size), settings["fields"]
        if fields > side:
            yield "fields", f"{fields} along a side of {side} pixels (patch_size) are less than a pixel each"
        if settings["place"] == "everywhere" and settings["blend_share"] == 1:
            yield "blend_share", "1 leaves nothing of an image that the board covers everywhere; 0.2 leaves it recognisable"

    def board(self, side: int) -> np.ndarray:
        """The pattern that covers a square, uint8 (side, side, 3)."""
        return checkerboard(side, self.options.patch_size * self.options.image_size / self.options.fields)

    def trigger(self) -> Trigger:
        options, size = self.options, self.options.image_size
        side = size if options.place == "everywhere" else round(options.patch_size * size)
        board = self.board(side)

        def put(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            room = len(image) - side
            top, left = rng.integers(0, room + 1, 2) if options.place == "random" else (room, room)
            covered = image[top : top + side, left : left + side]
            return patch(image, blend(covered, board, options.blend_share), top, left)

        return put
