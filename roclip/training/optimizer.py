"""What AdamW is given of a model."""

from contextlib import nullcontext

import torch

from roclip.core.deferred import defer_package

# what is asked of it where nothing is compiled; its import takes 1.5 s of each training's start
defer_package(
    "torch._dynamo",
    graph_break=lambda: None,
    disable=lambda function, *_, **__: function,
    set_stance=lambda *_, **__: nullcontext(),
)


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict]:
    """AdamW's groups: decay for matrices, kernels and embeddings; none for norms, biases and logit_scale."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in parameters if p.ndim >= 2]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
