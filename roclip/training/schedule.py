"""How fast to learn."""

import math


def learning_rate(step: int, steps: int, warmup_steps: int, peak: float) -> float:
    """Linear warm-up from 0 to `peak` over `warmup_steps`, then a cosine to 0 at `steps`, and 0 after; `step` counts from 0."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    step = min(step, steps)
    return peak * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps))) / 2
