"""What a defence is handed of the trainer: the names that `Trainer` of defences/base.py lists, and nothing of the truth."""

from typing import Any

import torch

from roclip.defences.base import Trainer
from roclip.training import feed

ALLOWED = {*Trainer.__annotations__, *(name for name in vars(Trainer) if not name.startswith("_"))}
KEYS = ("ids", "order", "augment", "cosines", "pool")  # of the trainer's own draws: from them the rows of ids would follow
NOISE = ("pool", 0)  # no epoch's, so a defence may draw with it


class View:
    def __init__(self, training: Any) -> None:
        self._training = training

    def __getattr__(self, name: str) -> Any:
        if name not in ALLOWED:
            raise AttributeError(f"a defence may not use '{name}' of the trainer; roclip/defences/base.py lists what it may")
        return getattr(self._training, name)

    def to_device(self, values: torch.Tensor) -> torch.Tensor:
        """Values of the host on the device, for which no step waits."""
        return feed.copy(values, self._training.device)

    def generator(self, *key: str | int) -> torch.Generator:
        """Random numbers by the seed of the training and the key alone. Raises ValueError for keys of the trainer's own."""
        if key[0] in KEYS and key != NOISE:
            raise ValueError(f"the key {key} is the trainer's own; choose another")
        return self._training.generator(*key)
