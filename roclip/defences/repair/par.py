"""PAR, perturb and recover (Singh et al., arXiv 2412.00727): away from the poisoned model, while CLIP's loss holds accuracy."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from roclip.core.deferred import Deferred
from roclip.core.options import option
from roclip.defences.base import Batch, Trainer
from roclip.defences.loss import clip_loss
from roclip.defences.repair.base import Repair

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Deferred("torch")


class PAR(Repair):
    """Pushes features away from those of the model that is repaired until they are far enough, on clean pairs."""

    label: ClassVar[str] = "PAR"
    telemetry_columns: ClassVar[Mapping[str, str]] = {
        "image_distance": "mean squared distance of images' features to those of the model that is repaired",
        "caption_distance": "the same of captions",
    }
    telemetry_panels: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "squared distance of images' features\nto the model that is repaired": ("image_distance",),
        "squared distance of captions' features\nto the model that is repaired": ("caption_distance",),
    }

    @dataclass(frozen=True, kw_only=True)
    class Settings(Repair.Settings):
        augment_images: bool = option("augment the images, anew each epoch", True)
        augment_captions: str = option("augment the captions", "each_epoch", choices=("never", "once", "each_epoch"))
        tau: float = option("mean squared distance of features beyond which nothing pushes", 2.15, above=0, maximum=4)

    def __init__(self, settings: Settings, trainer: Trainer) -> None:
        super().__init__(settings, trainer)
        self.teacher = copy.deepcopy(trainer.model).eval().requires_grad_(False)
        self.distances = torch.zeros(3, dtype=torch.float64, device=trainer.device)  # of images, of captions, batches

    def loss(self, batch: Batch, kind: str) -> Tensor:
        """The model and its teacher see the same augmented view, as in the authors' code."""
        trainer = self.trainer
        images, captions = trainer.encode_images(batch), trainer.encode_captions(batch)
        with torch.no_grad():
            before = (
                trainer.gather(self.teacher.encode_image(batch.pixels, normalize=True)),
                trainer.gather(self.teacher.encode_text(batch.tokens, normalize=True)),
            )
        pairs = zip((images, captions), before, strict=True)
        apart = [(now.float() - then.float()).square().sum(1).mean() for now, then in pairs]
        noted = [distance.detach().double() for distance in apart]
        self.distances += torch.stack([*noted, torch.ones_like(noted[0])])
        pushing = sum(torch.where(distance <= self.settings.tau, distance, 0.0) for distance in apart)
        return clip_loss(images, captions, trainer.logit_scale()) - pushing / 2

    def state(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        return {"distances": self.distances}, {}

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, float]) -> None:
        self.distances.copy_(tensors["distances"])

    def telemetry(self) -> dict[str, float]:
        *totals, count = self.distances.tolist()
        self.distances.zero_()
        return dict(zip(self.telemetry_columns, (total / count for total in totals), strict=True))
