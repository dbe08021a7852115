"""RoCLIP (Yang, Gao, Mirzasoleiman, NeurIPS 2023, arXiv 2303.06854).

In every `match_every`-th epoch each image is paired with the most similar caption of a large, changing pool in place of its own
caption, and no gradient reaches the caption tower. The pool is searched as it was before the batch; then the batch's captions
enter it and push out the oldest. In all other epochs it is CLIP. Images and captions are augmented throughout.

`match_with` turns it into one of its controls: what RoCLIP achieves and they do not is due to the nearest captions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from roclip.core.deferred import Deferred
from roclip.core.errors import UserError
from roclip.core.facts import Facts
from roclip.core.options import default_of, option
from roclip.defences.base import Batch, Defence, Phase, Trainer
from roclip.defences.loss import clip_loss
from roclip.defences.pool import Pool, too_large

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Deferred("torch")

# the controls that need no pool, and the settings that say nothing to them
WITHOUT_POOL = {"own": ("pool_size", "pool_fill"), "nothing": ("pool_size", "pool_fill", "caption_gradient")}
FOUND = ("distinct_neighbours", "own_captions", "pool_age")  # what a matching step finds without the truth


class RoCLIP(Defence):
    """Every few epochs, each image is paired with the most similar caption of a pool instead of its own caption."""

    label: ClassVar[str] = "RoCLIP"
    telemetry_columns: ClassVar[Mapping[str, str]] = {
        "distinct_neighbours": "pool captions that a batch drew, as a share of the batch",
        "own_captions": "share of the images that drew their own caption",
        "adversary_captions": "share of the poisoned images that drew a caption naming the adversary's class",
        "adversary_captions_by_chance": "the same for a random caption of the pool",
        "clean_own_class": "share of the clean images whose caption names a class that drew a caption naming it",
        "clean_own_class_by_chance": "the same for a random caption of the pool",
        "poison_own_class": "share of the poisoned images whose true class is known that drew a caption naming it",
        "poison_own_class_by_chance": "the same for a random caption of the pool",
        "poison_neither": "share of the same images that drew a caption naming neither that class nor the adversary's",
        "poisons_in_pool": "share of the pool's captions that are of poisoned pairs",
        "pool_age": "mean age of the pool's captions in steps",
    }
    telemetry_panels: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "poisoned captions in the pool (%)": ("poisons_in_pool",),
        "poisoned images that draw a caption\nof the adversary's class (%; dots: by chance)": (
            "adversary_captions",
            "adversary_captions_by_chance",
        ),
        "poisoned images that draw a caption\nof their true class (%; dots: by chance)": (
            "poison_own_class",
            "poison_own_class_by_chance",
        ),
        "clean images that draw a caption\nof their class (%; dots: by chance)": (
            "clean_own_class",
            "clean_own_class_by_chance",
        ),
        "poisoned images that draw a caption\nof neither class (%)": ("poison_neither",),
        "images that draw their own caption (%)": ("own_captions",),
        "distinct captions drawn in a batch (%)": ("distinct_neighbours",),
        "mean age of a caption in the pool (steps)": ("pool_age",),
    }

    @dataclass(frozen=True, kw_only=True)
    class Settings(Defence.Settings):
        augment_images: bool = option("augment the images, anew each epoch", True)
        augment_captions: str = option("augment the captions", "each_epoch", choices=("never", "once", "each_epoch"))
        match_every: int = option("every so many epochs is a matching epoch; 0: none", 2, minimum=0)
        match_from: int = option("first epoch that may be a matching epoch", 1, minimum=1)
        match_with: str = option(
            "what images are paired with in matching epochs: the nearest captions of the pool, or, for controls, random ones "
            "of the pool; the nearest ones of the batch in a random order; their own ones, from which the caption tower does "
            "not learn; nothing: no step is taken, and the schedule of the learning rate goes on",
            "nearest",
            choices=("nearest", "random", "permuted", "own", "nothing"),
        )
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
        every, first = settings["match_every"], settings["match_from"]
        if not every:
            return
        if settings["match_with"] not in WITHOUT_POOL and settings["pool_size"] > facts.pairs:
            yield "pool_size", too_large(settings["pool_size"], facts.pairs)
        last = facts.epochs - facts.epochs % every  # that may be a matching epoch
        if not is_matching(last, every, first):
            yield "match_every", f"none of the {facts.epochs} epochs is a multiple of {every} from epoch {first} on"
        elif settings["match_with"] == "nothing" and every == first == 1:
            yield "match_with", "nothing is learned where every epoch is a matching epoch; let match_every be 2 or more"

    @classmethod
    def simplest(cls, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """Without a matching epoch it is plain CLIP; without a pool its settings say nothing."""
        if settings["match_every"]:
            unused = WITHOUT_POOL.get(settings["match_with"], ())
            fields = cls.Settings.__dataclass_fields__
            return {**settings, **{name: default_of(fields[name]) for name in unused}}
        own = {*cls.Settings.__dataclass_fields__} - {*Defence.Settings.__dataclass_fields__}
        return {name: value for name, value in settings.items() if name not in own} | {"kind": "clip"}

    def __init__(self, settings: Settings, trainer: Trainer) -> None:
        super().__init__(settings, trainer)
        self.has_pool = settings.match_with not in WITHOUT_POOL
        if settings.match_every and self.has_pool and settings.pool_size > trainer.pairs:
            raise UserError(f"--pool_size: {too_large(settings.pool_size, trainer.pairs)}")
        self.pool = Pool(settings.pool_size if self.has_pool else 0, trainer.dimension, trainer.device)
        if settings.pool_fill == "noise":
            self.pool.fill_with_noise(trainer.generator("pool", 0))
        self.matches = torch.full(
            (trainer.pairs,), -1, dtype=torch.long, device=trainer.device
        )  # by id, the caption last drawn
        self._begin_telemetry()

    def kind(self, epoch: int) -> str:
        return "matching" if is_matching(epoch, self.settings.match_every, self.settings.match_from) else "clip"

    def phases(self, epoch: int) -> list[Phase]:
        kind = self.kind(epoch)
        return [Phase(kind, learns=kind != "matching" or self.settings.match_with != "nothing")]

    def begin_epoch(self, epoch: int) -> None:
        """Fill the pool with random captions, when `pool_fill` says so."""
        fill = self.settings.pool_fill
        if self.kind(epoch) != "matching" or not self.has_pool or fill == "noise" or (fill == "once" and self.pool.ids[0] >= 0):
            return
        features, ids = self.trainer.random_captions(len(self.pool.ids), epoch)
        self.pool.push(features, ids, self.trainer.steps_taken)

    def loss(self, batch: Batch, kind: str) -> Tensor:
        if kind != "matching":
            return super().loss(batch, kind)
        trainer, pool = self.trainer, self.pool
        images = trainer.encode_images(batch)
        with torch.no_grad():
            captions = trainer.encode_captions(batch)
        if not self.has_pool:  # its own captions
            return clip_loss(images, captions, trainer.logit_scale())
        slots = self._drawn(images)
        loss = clip_loss(images, pool.features[slots], trainer.logit_scale())
        drawn = pool.ids[slots]
        self._note(batch.ids, drawn, slots)
        trainer.matched(batch.ids, drawn, pool.ids)
        self.matches[batch.ids] = drawn
        pool.push(captions, batch.ids, trainer.steps_taken)
        return loss

    def _drawn(self, images: Tensor) -> Tensor:
        """The slot of the pool whose caption each image is paired with: (batch, dimension) -> (batch,)."""
        chosen, trainer = self.settings.match_with, self.trainer
        if chosen == "nearest":
            return self.pool.nearest(images)
        draws = trainer.generator("match", trainer.steps_taken)
        if chosen == "random":
            return trainer.to_device(torch.randint(len(self.pool.ids), (len(images),), generator=draws))
        return self.pool.nearest(images)[trainer.to_device(torch.randperm(len(images), generator=draws))]

    def after_backward(self, kind: str) -> None:
        if kind == "matching" and self.settings.caption_gradient == "zeros":
            for name, parameter in self.trainer.model.named_parameters():
                if not name.startswith("visual.") and name != "logit_scale":  # the caption tower
                    parameter.grad = torch.zeros_like(parameter)

    def _begin_telemetry(self) -> None:
        # sums and what to divide them by; on the device, because reading them would hold up every step
        self.found = torch.zeros(len(FOUND), 2, dtype=torch.float64, device=self.trainer.device)

    def _note(self, ids: Tensor, drawn: Tensor, slots: Tensor) -> None:
        size = len(self.pool.ids)
        distinct = torch.zeros(size, dtype=torch.bool, device=slots.device).index_fill_(0, slots, True).sum()
        age = (self.trainer.steps_taken - self.pool.steps).sum()
        noted = ((distinct, len(ids)), ((drawn == ids).sum(), len(ids)), (age, size))
        for column, (total, count) in zip(self.found, noted, strict=True):
            column[0] += total
            column[1] += count

    def telemetry(self) -> dict[str, float]:
        """NaN where no matching step was made."""
        means = {name: total / n if n else math.nan for name, (total, n) in zip(FOUND, self.found.tolist(), strict=True)}
        self._begin_telemetry()
        return means

    def state(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        tensors = {f"pool/{name}": getattr(self.pool, name) for name in ("features", "ids", "steps")}
        return tensors | {"matches": self.matches, "found": self.found}, {"pool_oldest": self.pool.oldest}

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, float]) -> None:
        for name in ("features", "ids", "steps"):
            getattr(self.pool, name).copy_(tensors[f"pool/{name}"])
        self.matches.copy_(tensors["matches"])
        self.found.copy_(tensors["found"])
        self.pool.oldest = int(numbers["pool_oldest"])

    def tables(self) -> dict[str, dict[str, Tensor]]:
        """For every image that was matched, whose caption it drew last."""
        ids = (self.matches >= 0).nonzero().flatten()
        return {"matches.csv": {"row": ids, "caption_row": self.matches[ids]}}


def is_matching(epoch: int, match_every: int, match_from: int = 1) -> bool:
    """Whether an epoch, counted from 1, is a matching epoch: every `match_every`-th is, from epoch `match_from` on.

    A `match_every` of 0 means none.
    """
    return match_every > 0 and epoch % match_every == 0 and epoch >= match_from
