"""Fine-tuning on clean pairs, the control of every repair."""

from __future__ import annotations

from typing import ClassVar

from roclip.defences.repair.base import Repair


class Finetune(Repair):
    """Trains on with the CLIP loss on clean pairs: the control that every other repair must beat."""

    label: ClassVar[str] = "fine-tuning on clean pairs"
