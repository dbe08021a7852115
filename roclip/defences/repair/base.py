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
        clean_pairs: int = option(
            "pairs that are trained on, drawn from those that the model was not: clean ones, of data.held_out and of what an "
            "attack's own clean_pairs leaves", 4000, minimum=1,
        )  # fmt: skip
        poisoned_pairs: int = option("so many of them are poisoned pairs of the attack, as if none had looked", 0, minimum=0)
        epochs: int = option("epochs of the repair", 2, minimum=1, maximum=100_000)
        learning_rate: float = option("peak of the learning rate", 1e-4, above=0)
        warmup_steps: int = option("steps of linear warm-up, fewer than the steps of the repair", 10, minimum=0)
        augment_images: bool = option("augment the images, anew each epoch", False)
        augment_captions: str = option("augment the captions", "never", choices=("never", "once", "each_epoch"))

    @classmethod
    def problems(cls, settings: Mapping[str, Any], facts: Facts) -> Iterator[tuple[str, str]]:
        if settings["clean_pairs"] > facts.pairs:
            yield (
                "clean_pairs",
                f"{settings['clean_pairs']} is more than the {facts.pairs} pairs that no training uses; raise data.held_out",
            )
        if settings["poisoned_pairs"] > settings["clean_pairs"]:
            yield "poisoned_pairs", f"{settings['poisoned_pairs']} is more than the {settings['clean_pairs']} of clean_pairs"

    def kind(self, epoch: int) -> str:
        return "repair"
