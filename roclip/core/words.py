"""What counts and checkpoints are called in sentences and headings."""

ACRONYMS = {"clip": "CLIP"}


def counted(n: int, noun: str) -> str:
    """A number with its noun: `1 seed`, `3 seeds`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def checkpoint_label(name: str) -> str:
    """A checkpoint in a sentence, from the name of its weight file.

    >>> checkpoint_label("last_clip"), checkpoint_label("last_matching"), checkpoint_label("epoch_3"), checkpoint_label("given")
    ('last CLIP epoch', 'last matching epoch', 'epoch 3', 'given weights')
    """
    if name.startswith("epoch_"):
        return name.replace("_", " ")
    words = [ACRONYMS.get(word, word) for word in name.split("_")]
    return " ".join([*words, "epoch" if words[0] == "last" and len(words) > 1 else "weights"])
