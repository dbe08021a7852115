"""The contract between the trainer and a defence that acts in training; this base class is plain CLIP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from roclip.core.facts import Facts
from roclip.core.options import option


class Defence:
    """Plain CLIP: the symmetric InfoNCE loss of images and their captions (Radford et al., 2021)."""

    trains: ClassVar[bool] = True  # False: it only takes weights over, in zero epochs

    @dataclass(frozen=True, kw_only=True)
    class Settings:
        start_from: str | None = option(
            "weights to start from: the name of a defence of this config, or a file of weights; null: from scratch", None
        )
        augment_images: bool = option("augment the images, anew each epoch", False)
        augment_captions: str = option("augment the captions", "never", choices=("never", "once", "each_epoch"))

    @classmethod
    def problems(cls, settings: Mapping[str, Any], facts: Facts) -> Iterator[tuple[str, str]]:
        """What cannot work with such data: the option at fault, and why."""
        yield from ()
