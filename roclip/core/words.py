"""Words for people: what checkpoints are called in sentences and headings, and numbers with their nouns."""

SPELLINGS = {"clip": "CLIP"}  # of kinds of epochs, where they are not written as they are called


def counted(n: int, noun: str) -> str:
    """A number with its noun: `1 seed`, `3 seeds`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def checkpoint_label(checkpoint: str) -> str:
    """What a checkpoint is called: `last_matching` is the `last matching epoch`, `given` the `given weights`."""
    when, _, kind = checkpoint.partition("_")
    return f"{when} {SPELLINGS.get(kind, kind)} epoch" if kind else f"{when} weights"
