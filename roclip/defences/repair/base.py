"""The contract of a repair: a defence whose training starts from the weights of the model, on clean pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from roclip.core.facts import Facts
from roclip.core.options import option
from roclip.defences.base import Defence


class Repair(Defence):
    """A further training of a finished model on clean pairs."""

    @dataclass(frozen=True, kw_only=True)
    class Settings:
        clean_pairs: int = option("clean pairs that are trained on, drawn from the data set's own", 4000, minimum=1)
        epochs: int = option("epochs of the repair", 2, minimum=1)
        learning_rate: float = option("peak of the learning rate", 1e-4, above=0)
        warmup_steps: int = option("steps of linear warm-up, fewer than the steps of the repair", 10, minimum=0)
        augment_images: bool = option("augment the images, anew each epoch", False)
        augment_captions: str = option("augment the captions", "never", choices=("never", "once", "each_epoch"))

    @classmethod
    def problems(cls, settings: Mapping[str, Any], facts: Facts) -> Iterator[tuple[str, str]]:
        if settings["clean_pairs"] > facts.pairs:
            yield "clean_pairs", f"{settings['clean_pairs']} is more than the {facts.pairs} training pairs"

    def kind(self, epoch: int) -> str:
        return "repair"
