"""When to match, how fast to learn, and what is noted of each epoch."""

import math

# means over the steps of a matching epoch, empty in others: columns of history.csv that telemetry.Draws fills
DRAWN = (
    "distinct_neighbours", "own_captions", "adversary_captions", "adversary_captions_by_chance", "poisons_in_pool", "pool_age",
)  # fmt: skip
# columns of cosines.csv: the cosine of image and own caption after an epoch, for some pairs
COSINES = ("epoch", "row", "is_poison", "cosine")
# columns of history.csv. `kind` is clip or matching, `loss` the mean over the epoch, `learning_rate` that of its last step.
# From attack_success to poison_cosine: measured after the epoch.
HISTORY = (
    "epoch", "kind", "loss", "learning_rate",
    "attack_success", "target_cosine", "zero_shot", "clean_cosine", "poison_cosine",
    *DRAWN,
)  # fmt: skip
PACE = ("epoch", "kind", "pairs_per_second", "seconds")  # columns of pace.csv, the only times among what a training writes


def is_matching(epoch: int, match_every: int, match_from: int = 1) -> bool:
    """Whether an epoch, counted from 1, is a matching epoch: every `match_every`-th is, from epoch `match_from` on.

    A `match_every` of 0 means none (plain CLIP).
    """
    return match_every > 0 and epoch % match_every == 0 and epoch >= match_from


def learning_rate(step: int, steps: int, warmup_steps: int, peak: float) -> float:
    """Linear warm-up from 0 to `peak` over `warmup_steps`, then a cosine to 0 at `steps`; `step` counts from 0."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps))) / 2
