"""What counts and checkpoints are called in sentences and headings, and which name a misspelt one may stand for."""

from collections.abc import Iterable
from difflib import get_close_matches

ACRONYMS = {"clip": "CLIP"}
PLAIN_KIND = "clip"  # what an epoch of plain CLIP is called; the weights after the last of them are PLAIN_CHECKPOINT
PLAIN_CHECKPOINT = f"last_{PLAIN_KIND}"


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


def nearest(written: str, names: Iterable[str]) -> str:
    """The name that is written most like a word, whatever its case; nothing where none is much like it.

    >>> nearest("Learning rate", ["epochs", "learning_rate"]), nearest("colour", ["epochs"])
    ('learning_rate', '')
    """
    known: dict[str, str] = {}
    for name in names:
        known.setdefault(_folded(name), name)
    found = get_close_matches(_folded(written), known, 1)
    return known[found[0]] if found else ""


def _folded(name: str) -> str:
    return name.lower().replace("_", " ")
