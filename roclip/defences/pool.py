"""The pool of caption features that matching epochs of RoCLIP draw from (arXiv 2303.06854, figure 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roclip.core.deferred import Deferred

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Deferred("torch")


def too_large(size: int, pairs: int) -> str:
    """What is wrong with a pool that has more places than there are captions to fill them."""
    return f"{size} is more than the {pairs} training pairs; make it smaller"


class Pool:
    """A first-in-first-out store of caption features without gradient.

    `features` is (size, dimension), L2-normalised; `ids` is (size,), whose caption each is, -1 where there is none; `steps` is
    (size,), the training step at which each caption came in. Once full, a push overwrites the oldest captions.
    """

    def __init__(self, size: int, dimension: int, device: torch.device | str = "cpu") -> None:
        self.features = torch.zeros(size, dimension, device=device)
        self.ids = torch.full((size,), -1, dtype=torch.long, device=device)
        self.steps = torch.zeros(size, dtype=torch.long, device=device)
        self.oldest = 0  # where the next caption goes

    def push(self, text_features: Tensor, ids: Tensor, step: int) -> None:
        """Store captions in order, over the oldest ones. Of more captions than the pool holds, the last ones stay.

        text_features: (batch, dimension), normalised; ids: (batch,).
        """
        size, count = len(self.ids), len(ids)
        kept = min(size, count)
        slots = (self.oldest + torch.arange(count - kept, count, device=self.ids.device)) % size
        self.features[slots] = text_features[count - kept :].detach().to(self.features)
        self.ids[slots] = ids[count - kept :].to(self.ids)
        self.steps.index_fill_(0, slots, step)  # to assign a Python number through an index holds up a GPU
        self.oldest = (self.oldest + count) % size

    def fill_with_noise(self, generator: torch.Generator) -> None:
        """Gaussian noise that is not normalised and stands for no caption: how the authors' release starts."""
        self.features.copy_(torch.randn(self.features.shape, generator=generator))

    def nearest(self, image_features: Tensor) -> Tensor:
        """The slot of the most similar pool caption for each image: (batch, dimension) -> (batch,).

        Both sides are normalised, so the inner product is the cosine. The query is the image, not its caption. In float32,
        under autocast too: in bfloat16 many cosines are equal, and every tenth image would draw another caption.
        """
        with torch.autocast(self.features.device.type, enabled=False):
            return (image_features.detach().to(self.features) @ self.features.T).argmax(dim=1)
