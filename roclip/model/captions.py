"""Captions: their tokens, and EDA, the caption augmentation of RoCLIP.

EDA (Wei and Zou, EMNLP 2019, section 2) makes one of four edits to a caption: replaces words by synonyms, inserts synonyms,
swaps words, or deletes words, each at a rate of alpha = .1. Synonyms come from an offline table made of WordNet 3.0.
"""

import copy
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from random import Random
from sys import intern

import numpy as np
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

ALPHA = 0.1


@cache
def synonyms() -> dict[str, list[str]]:
    """The synonyms of each English word that has any."""
    lines = files("roclip.model").joinpath("synonyms.tsv").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("\t") for line in lines if not line.startswith("#"))
    return {word: words.split(" ") for word, words in pairs}


def replace_words(words: list[str], edits: int, random: Random) -> list[str]:
    """Up to `edits` different words, each replaced by one of its synonyms wherever it stands."""
    known = sorted({word for word in words if word in synonyms()})
    chosen = {word: random.choice(synonyms()[word]) for word in random.sample(known, min(edits, len(known)))}
    return [chosen.get(word, word) for word in words]


def insert_words(words: list[str], edits: int, random: Random) -> list[str]:
    """`edits` synonyms of words of the caption, put in at random places."""
    known = [word for word in words if word in synonyms()]
    longer = list(words)
    for _ in range(edits if known else 0):
        longer.insert(random.randrange(len(longer) + 1), random.choice(synonyms()[random.choice(known)]))
    return longer


def swap_words(words: list[str], edits: int, random: Random) -> list[str]:
    """`edits` times, two words change places."""
    swapped = list(words)
    for _ in range(edits):
        i, j = random.randrange(len(words)), random.randrange(len(words))
        swapped[i], swapped[j] = swapped[j], swapped[i]
    return swapped


def delete_words(words: list[str], edits: int, random: Random) -> list[str]:
    """Each word left out with probability ALPHA; at least one stays. `edits` is not used."""
    kept = [word for word in words if random.random() >= ALPHA]
    return kept or [random.choice(words)]


EDITS = (replace_words, insert_words, swap_words, delete_words)


def eda(words: list[str], random: Random) -> list[str]:
    """One random edit of a caption. A caption of less than two words is returned as it is."""
    if len(words) < 2:
        return words
    return random.choice(EDITS)(words, max(1, int(ALPHA * len(words))), random)


class Captions:
    """The captions of a table, ready to be tokenised, as they are or augmented.

    Words are tokenised once each: the tokenizer's pattern never joins characters across white space.
    """

    def __init__(self, captions: Sequence[str], tokenizer: SimpleTokenizer) -> None:
        # equal words are one object: a million captions take 150 MB instead of 600
        self.words = [list(map(intern, tokenizer.clean_fn(caption).split())) for caption in captions]
        self.tokenizer = copy.copy(tokenizer)
        self.tokenizer.clean_fn = str  # cleaning twice is not the same as cleaning once
        self.ids: dict[str, list[int]] = {}

    def _word_ids(self, word: str) -> list[int]:
        ids = self.ids.get(word)
        if ids is None:
            ids = self.ids[word] = self.tokenizer.encode(word)
        return ids

    def tokens(self, seed: int | None = None, epoch: int = 0, rows: Tensor | None = None) -> Tensor:
        """The tokens of some captions or of all, int64 (rows or captions, context_length), padded with 0.

        rows: int64 (rows,), by which a batch's captions can be made as it is needed: all at once, a million of 77 tokens take
        600 MB. With a seed, each caption is augmented by EDA, with draws keyed by (seed, epoch, row). A caption that is too
        long is cut and keeps its end token.
        """
        context = self.tokenizer.context_length
        numbers = range(len(self.words)) if rows is None else rows.tolist()
        tokens = np.zeros((len(numbers), context), np.int64)
        for line, row in zip(tokens, numbers, strict=True):
            words = self.words[row]
            if seed is not None:
                words = eda(words, Random(f"{seed},{epoch},{row}"))
            ids = [self.tokenizer.sot_token_id]
            for word in words:
                ids += self._word_ids(word)
            ids = ids[: context - 1] + [self.tokenizer.eot_token_id]
            line[: len(ids)] = ids
        return torch.from_numpy(tokens)
