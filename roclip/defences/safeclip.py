"""SafeCLIP (Yang, Gao, Mirzasoleiman, ICML 2024): no pair is trusted until it has shown that it is well matched.

1. `unimodal_epochs`: each tower learns of its own modality, from two views: the nearest neighbour of the first one in a pool is
   to be near the second one (sections 4.1 and 4.2). Pairs are not looked at.
2. One epoch of CLIP on all pairs with a rate so low that poisons are not learned.
3. All cosines of image and caption are taken, and a mixture of two Gaussians is fitted to them: pairs that are of the upper one
   with a probability above `threshold` are safe (section 4.3).
4. From then on risky pairs are learned from as in 1, safe ones as in CLIP; each epoch `growth` more of the pairs are safe, the
   highest cosines first. Each of the two has a warm-up and a cosine of its own, over all steps that it will have;
   the warm-up takes a tenth of them at most.

Its control is `safe_by: random`: as many pairs are safe, but random ones. What that does too is not the split's doing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from roclip.core.deferred import Deferred
from roclip.core.errors import UserError
from roclip.core.facts import Facts
from roclip.core.options import default_of, option
from roclip.defences.base import Batch, Defence, Phase, Trainer
from roclip.defences.loss import unimodal_loss
from roclip.defences.mixture import posterior
from roclip.defences.pool import Pool, too_large

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Deferred("torch")

log = logging.getLogger(__name__)

MODALITIES = ("images", "captions")
WARM_UP = 0.1  # of the steps of a phase at most: where few pairs are safe, that of the whole run would never end


class SafeCLIP(Defence):
    """Each modality alone first, then CLIP on the pairs that a mixture model takes for well matched, and ever more of them."""

    label: ClassVar[str] = "SafeCLIP"
    on_the_way: ClassVar[tuple[str, ...]] = ("unimodal", "low_rate")
    telemetry_columns: ClassVar[Mapping[str, str]] = {
        "safe_pairs": "share of the pairs that are safe",
        "poisons_that_are_safe": "share of the poisoned pairs that are safe",
        "safe_that_are_poisons": "share of the safe pairs that are poisoned",
    }
    telemetry_panels: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "safe pairs, of all (%)": ("safe_pairs",),
        "poisoned pairs that count as safe (%)": ("poisons_that_are_safe",),
        "poisoned pairs among the safe ones (%)": ("safe_that_are_poisons",),
    }

    @dataclass(frozen=True, kw_only=True)
    class Settings(Defence.Settings):
        augment_images: bool = option("augment the images, anew each epoch", True)
        augment_captions: str = option("augment the captions", "each_epoch", choices=("never", "once", "each_epoch"))
        unimodal_epochs: int = option("epochs in which each tower learns of its own modality", 5, minimum=1, maximum=100_000)
        low_rate: float = option(
            "learning rate of the one epoch of CLIP on all pairs, as a share of the peak", 0.01, above=0, maximum=1
        )
        threshold: float = option("pairs with a higher probability of being well matched are safe", 0.9, minimum=0, below=1)
        growth: float = option("share of the pairs that becomes safe in each later epoch", 0.01, minimum=0, maximum=1)
        rescored: float = option(
            "share of the pairs, the highest cosines first, of which cosines are taken anew each epoch; 1: all (the release)",
            0.3, above=0, maximum=1,
        )  # fmt: skip
        safe_by: str = option(
            "which pairs are safe: those of the highest cosines, or, for a control, as many random ones",
            "cosines",
            choices=("cosines", "random"),
        )
        pool_size: int = option("images, and as many captions, among which neighbours are sought", 800, minimum=1)

    @classmethod
    def problems(cls, settings: Mapping[str, Any], facts: Facts) -> Iterator[tuple[str, str]]:
        if settings["pool_size"] > facts.pairs:
            yield "pool_size", too_large(settings["pool_size"], facts.pairs)
        if settings["unimodal_epochs"] + 2 > facts.epochs:
            yield (
                "unimodal_epochs",
                f"with {settings['unimodal_epochs']} of them and one at a low rate none of the {facts.epochs} epochs is left "
                "for the safe pairs",
            )

    @classmethod
    def simplest(cls, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """Of random pairs no cosine is taken anew."""
        if settings["safe_by"] == "cosines":
            return settings
        return {**settings, "rescored": default_of(cls.Settings.__dataclass_fields__["rescored"])}

    def __init__(self, settings: Settings, trainer: Trainer) -> None:
        super().__init__(settings, trainer)
        if settings.pool_size > trainer.pairs:
            raise UserError(f"--pool_size: {too_large(settings.pool_size, trainer.pairs)}")
        self.pools = {name: Pool(settings.pool_size, trainer.dimension, trainer.device) for name in MODALITIES}
        self.cosines = torch.zeros(trainer.pairs)  # by id, as last taken
        self.order = torch.arange(trainer.pairs)  # ids, the best matched first
        self.safe_at_first = 0  # pairs, once they are split

    @property
    def first_mixed(self) -> int:
        return self.settings.unimodal_epochs + 2

    def kind(self, epoch: int) -> str:
        if epoch < self.first_mixed - 1:
            return "unimodal"
        return "mixed" if epoch >= self.first_mixed else "low_rate"

    def safe_count(self, epoch: int) -> int:
        """How many pairs are safe in a mixed epoch."""
        grown = self.settings.growth * (epoch - self.first_mixed) * self.trainer.pairs
        return min(self.trainer.pairs, round(self.safe_at_first + grown))

    def phases(self, epoch: int) -> list[Phase]:
        kind, trainer, two = self.kind(epoch), self.trainer, (None, None)
        if kind == "low_rate":
            return [Phase("clip", rate=lambda step: self.settings.low_rate * trainer.peak_rate)]
        if kind == "unimodal":
            steps = trainer.steps_of(trainer.pairs)
            return [Phase("unimodal", rate=self.schedule([steps] * self.settings.unimodal_epochs, epoch - 1), views=two)]
        safe = [self.safe_count(later) for later in range(self.first_mixed, trainer.epochs + 1)]
        risky = [trainer.pairs - count for count in safe]
        rates = [self.schedule([trainer.steps_of(n) for n in counts], epoch - self.first_mixed) for counts in (risky, safe)]
        count = self.safe_count(epoch)
        return [
            Phase("unimodal", self.order[count:], rates[0], views=two),
            Phase("clip", self.order[:count], rates[1]),
        ]

    def schedule(self, steps: list[int], epoch: int) -> Callable[[int], float]:
        """The rate in one of the epochs of a phase, counted from 0, that has so many steps in each."""
        rate, before = self.trainer.schedule(sum(steps), WARM_UP), sum(steps[:epoch])
        return lambda step: rate(before + step)

    def begin_epoch(self, epoch: int) -> None:
        """Fill the pools at the very start; sort the pairs before every mixed epoch."""
        if epoch == 1:
            for pool, (features, ids) in zip(
                self.pools.values(), self.trainer.random_pairs(self.settings.pool_size), strict=True
            ):
                pool.push(features, ids, 0)
        if epoch == self.first_mixed:
            self.cosines = self.trainer.cosines(torch.arange(self.trainer.pairs))
            self.safe_at_first = int((posterior(self.cosines.numpy()) > self.settings.threshold).sum())
            if not self.trainer.steps_of(self.safe_at_first):
                log.warning(
                    "SafeCLIP: %d of %d pairs are safe, fewer than a batch, so nothing is learned of pairs until `growth` adds "
                    "some; raise low_rate, or lower threshold", self.safe_at_first, self.trainer.pairs,
                )  # fmt: skip
            if self.settings.safe_by == "random":
                self.order = torch.randperm(self.trainer.pairs, generator=self.trainer.generator("safe"))
        elif epoch > self.first_mixed and self.settings.safe_by == "cosines":
            again = self.order[: max(1, round(self.settings.rescored * self.trainer.pairs))]
            self.cosines[again] = self.trainer.cosines(again)
        if epoch >= self.first_mixed:
            if self.settings.safe_by == "cosines":
                self.order = self.cosines.argsort(descending=True, stable=True)
            self.trainer.trusted(self.order[: self.safe_count(epoch)])

    def loss(self, batch: Batch, kind: str) -> Tensor:
        if kind == "clip":
            return super().loss(batch, kind)
        trainer, (other,) = self.trainer, batch.others
        with torch.no_grad():
            first = trainer.encode_images(batch), trainer.encode_captions(batch)
        second = trainer.encode_images(other), trainer.encode_captions(other)
        losses = []
        for pool, query, positive in zip(self.pools.values(), first, second, strict=True):
            losses.append(unimodal_loss(pool.features[pool.nearest(query)], positive, trainer.logit_scale()))
            pool.push(query, batch.ids, trainer.steps_taken)
        return sum(losses) / 2

    def state(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        pools = {
            f"{modality}/{name}": getattr(pool, name)
            for modality, pool in self.pools.items()
            for name in ("features", "ids", "steps")
        }
        oldest = {f"oldest/{modality}": pool.oldest for modality, pool in self.pools.items()}
        return pools | {"cosines": self.cosines, "order": self.order}, oldest | {"safe_at_first": self.safe_at_first}

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, float]) -> None:
        for modality, pool in self.pools.items():
            for name in ("features", "ids", "steps"):
                getattr(pool, name).copy_(tensors[f"{modality}/{name}"])
            pool.oldest = int(numbers[f"oldest/{modality}"])
        self.cosines, self.order = (tensors[name].cpu().clone() for name in ("cosines", "order"))
        self.safe_at_first = int(numbers["safe_at_first"])
