"""RoCLIP (Yang, Gao, Mirzasoleiman, NeurIPS 2023, arXiv 2303.06854): images meet the nearest captions of a changing pool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from roclip.core.facts import Facts
from roclip.core.options import option
from roclip.defences.base import Defence


class RoCLIP(Defence):
    """Every few epochs, each image is paired with the most similar caption of a pool instead of its own caption."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(Defence.Settings):
        augment_images: bool = option("augment the images, anew each epoch", True)
        augment_captions: str = option("augment the captions", "each_epoch", choices=("never", "once", "each_epoch"))
        match_every: int = option("every so many epochs is a matching epoch; 0: none", 2, minimum=0)
        match_from: int = option("first epoch that may be a matching epoch", 1, minimum=1)
        pool_size: int = option("captions in the pool (the paper: about 2% of the pairs)", 800, minimum=1)
        pool_fill: str = option(
            "what the pool holds before the first batch enters it: random captions, encoded at the start of every matching "
            "epoch or of the first one only, or un-normalised Gaussian noise (the authors' release)",
            "each_matching_epoch",
            choices=("each_matching_epoch", "once", "noise"),
        )
        caption_gradient: str = option(
            "what AdamW sees of the caption tower in matching epochs: nothing, or zeros, with which its decay and momentum "
            "still move it (the release)",
            "none",
            choices=("none", "zeros"),
        )

    @classmethod
    def problems(cls, settings: Mapping[str, Any], facts: Facts) -> Iterator[tuple[str, str]]:
        yield from ()
