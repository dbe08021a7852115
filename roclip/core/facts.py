"""What is known of an experiment before it runs, for the settings of attacks and defences to be checked against."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """Counts and names that the settings of one attack, or of one step of a defence on one attack, must fit.

    `pairs`: training pairs of the attack, poisons left out; `validation_images`: None where they are counted only by the
    download; `image_size`: side of the model's images in pixels; `epochs`, `batch_size`: of the step at hand; `caption_shares`:
    the share of the training captions that name each class, in expectation, None where only the captions tell.
    """

    pairs: int
    classes: tuple[str, ...]
    classes_file: str
    validation_images: int | None
    image_size: int
    epochs: int
    batch_size: int
    caption_shares: Mapping[str, float] | None = None
