"""Encode a batch some pairs at a time, so that only their activations lie in memory, and keep all its negatives.

The gradient cache of Gao et al. (2021, arXiv 2101.06983): all features first, without what their gradients need; then, as the
gradient of the whole batch's loss arrives, each part is encoded once more and its gradient goes on into the weights. It costs
a second forward pass. torch.utils.checkpoint does it, part by part.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


class MicroBatches:
    """How the towers of a training encode a batch: `size` pairs at a time, all at once where it is None.

    Batch norms take their statistics from the part that is encoded, as they do from a GPU's part of a batch: with them the
    features, and so the gradients, are not those of the whole batch. What they keep for evaluation is the mean over the parts.
    """

    def __init__(
        self, model: torch.nn.Module, size: int | None, attention: Callable[[], AbstractContextManager] = nullcontext
    ) -> None:
        """attention: the kernels that the towers run with, also as they encode once more."""
        self.size, self.attention = size, attention
        if size:  # what `checkpoint` asks for, and which takes memory: before what a step can have is counted
            import_module("torch._dynamo.config")
        norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        self.statistics = [buffer for norm in norms for buffer in norm.buffers()]

    def encode(self, encoder: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        """The features of the inputs, in order: (n, ...) -> (n, dimension)."""
        if self.size is None or len(inputs) <= self.size:
            return encoder(inputs)
        features, left = [], []
        for part in inputs.split(self.size):
            with self._restored(), _uncached():
                features.append(checkpoint(encoder, part, use_reentrant=False, context_fn=self._contexts))
                left.append([buffer.clone() for buffer in self.statistics])
        for buffer, values in zip(self.statistics, zip(*left, strict=True), strict=True):
            buffer.copy_(torch.stack(values).double().mean(0))
        return torch.cat(features)

    def _contexts(self) -> tuple[AbstractContextManager, AbstractContextManager]:
        return nullcontext(), self._once_more()

    @contextmanager
    def _once_more(self) -> Iterator[None]:
        with self.attention(), self._restored():
            yield

    @contextmanager
    def _restored(self) -> Iterator[None]:
        """What is encoded in here leaves the statistics as they were."""
        before = [buffer.clone() for buffer in self.statistics]
        try:
            yield
        finally:  # checkpoint leaves by an exception, as soon as it has what it wants
            if before:
                torch._foreach_copy_(self.statistics, before)


@contextmanager
def _uncached() -> Iterator[None]:
    """Without autocast's cache of weights: a part would lean on what another one has cast, and its repetition would not."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)
