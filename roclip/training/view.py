"""What a defence is handed of the trainer: the names that `Trainer` of defences/base.py lists, and nothing of the truth."""

from typing import Any

import torch

from roclip.defences.base import Trainer
from roclip.training import encoding, feed

ALLOWED = {*Trainer.__annotations__, *(name for name in vars(Trainer) if not name.startswith("_"))}
# of the trainer's own draws: from them the rows of ids would follow
KEYS = ("ids", "order", "augment", "cosines", "pool", "pairs")
NOISE = ("pool", 0)  # no epoch's, so a defence may draw with it


class View:
    def __init__(self, training: Any) -> None:
        self._training = training

    def __getattr__(self, name: str) -> Any:
        if name not in ALLOWED:
            raise AttributeError(f"a defence may not use '{name}' of the trainer; roclip/defences/base.py lists what it may")
        return getattr(self._training, name)

    def random_captions(self, count: int, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Features, without gradient, of random captions as the tower sees them now, and their ids."""
        return encoding.random_captions(self._training, count, epoch)

    def random_pairs(self, count: int) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
        """As `random_captions`, of images and captions of random pairs, neither augmented."""
        return encoding.random_pairs(self._training, count)

    def cosines(self, ids: torch.Tensor) -> torch.Tensor:
        """The cosines of image and caption of some pairs as the towers see them now, not augmented."""
        return encoding.cosines(self._training, ids)

    def gather(self, part: torch.Tensor) -> torch.Tensor:
        """What was made of this rank's part of a batch, and of those of all others: (part, ...) -> (batch, ...)."""
        return self._training.ranks.gather(part)

    def matched(self, images: torch.Tensor, captions: torch.Tensor, pool: torch.Tensor) -> None:
        """Say for the audit which captions images were paired with, by their ids."""
        self._training.audit.note(images, captions, pool)

    def trusted(self, ids: torch.Tensor) -> None:
        """Say for the audit which pairs count as well matched."""
        self._training.audit.note_trusted(ids)

    def to_device(self, values: torch.Tensor) -> torch.Tensor:
        """Values of the host on the device, for which no step waits."""
        return feed.copy(values, self._training.device)

    def generator(self, *key: str | int) -> torch.Generator:
        """Random numbers by the seed of the training and the key alone. Raises ValueError for keys of the trainer's own."""
        if key[0] in KEYS and key != NOISE:
            raise ValueError(f"the key {key} is the trainer's own; choose another")
        return self._training.generator(*key)
