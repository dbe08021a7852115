"""CleanCLIP (Bansal et al., ICCV 2023): fine-tuning on clean pairs in which each modality is also aligned with itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from roclip.core.options import option
from roclip.defences.base import Batch, Phase
from roclip.defences.loss import clip_loss, unimodal_loss
from roclip.defences.repair.base import Repair

if TYPE_CHECKING:
    from torch import Tensor


class CleanCLIP(Repair):
    """The CLIP loss on clean pairs, and beside it each image near its augmented view, each caption near its own."""

    label: ClassVar[str] = "CleanCLIP"

    @dataclass(frozen=True, kw_only=True)
    class Settings(Repair.Settings):
        clip_weight: float = option("weight of the CLIP loss", 1.0, minimum=0)
        in_modal_weight: float = option("weight of the losses within images and within captions", 1.0, minimum=0)

    def phases(self, epoch: int) -> list[Phase]:
        """The settings say whether the pairs that the CLIP loss sees are augmented; the second view always is."""
        return [Phase(self.kind(epoch), views=(None, True))]

    def loss(self, batch: Batch, kind: str) -> Tensor:
        """Gradients flow through both views; within a modality only rows are classified, as in the authors' code."""
        trainer, (augmented,), scale = self.trainer, batch.others, self.trainer.logit_scale()
        images, captions = trainer.encode_images(batch), trainer.encode_captions(batch)
        within = unimodal_loss(images, trainer.encode_images(augmented), scale)
        within = within + unimodal_loss(captions, trainer.encode_captions(augmented), scale)
        weights = self.settings.clip_weight, self.settings.in_modal_weight
        return weights[0] * clip_loss(images, captions, scale) + weights[1] * within / 2
