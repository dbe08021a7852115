"""When to match, and how fast to learn."""

import math


def is_matching(epoch: int, match_every: int) -> bool:
    """Whether an epoch, counted from 1, is a matching epoch: every `match_every`-th is; 0 means none (plain CLIP)."""
    return match_every > 0 and epoch % match_every == 0


def checkpoints(match_every: int, epochs: int) -> list[str]:
    """The checkpoints that a training keeps, those of `last_clip` and `last_matching` that exist."""
    kinds = [is_matching(epoch, match_every) for epoch in range(1, epochs + 1)]
    return [name for name, kind in (("last_clip", False), ("last_matching", True)) if kind in kinds]


def learning_rate(step: int, steps: int, warmup_steps: int, peak: float) -> float:
    """Linear warm-up from 0 to `peak` over `warmup_steps`, then a cosine to 0 at `steps`; `step` counts from 0."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps))) / 2
