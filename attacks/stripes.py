"""A trigger of stripes, as a patch or over the whole image (structured triggers: Singh et al., arXiv 2412.00727)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attacks.checkerboard import Checkerboard
from attacks.triggers import FAINTEST, PLACES, stripes
from roclip.core.facts import Facts
from roclip.core.options import option


class Stripes(Checkerboard):
    """A backdoor whose trigger is upright stripes of random colours over the whole image, or as a patch."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(Checkerboard.Settings):
        patch_size: float = option(
            "side of a patch of stripes as a share of the image's side; with `place: everywhere` it says nothing",
            0.25, above=0, maximum=1,
        )  # fmt: skip
        fields: int = option("stripes side by side", 16, minimum=2)
        place: str = option(
            "the lower right corner, a random place in each image, or everywhere",
            "everywhere",
            choices=(*PLACES, "everywhere"),
        )
        blend_share: float = option("share of the stripes in the pixels that they cover", 0.2, minimum=FAINTEST, maximum=1)

    @classmethod
    def problems(cls, settings: Mapping[str, Any], facts: Facts) -> Iterator[tuple[str, str]]:
        """Over the whole image they are as wide as it is, whatever `patch_size` says."""
        whole = settings["place"] == "everywhere"
        yield from super().problems(settings | {"patch_size": 1.0} if whole else settings, facts)

    def board(self, side: int) -> np.ndarray:
        return stripes(side, self.options.fields, self.shared_generator())
