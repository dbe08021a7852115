"""Captions and their tokens."""

import copy
from collections.abc import Callable, Sequence
from sys import intern

import numpy as np
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor


class Captions:
    """The captions of a table, ready to be tokenised, as they are or edited.

    Words are tokenised once each: the tokenizer's pattern never joins characters across white space.
    """

    def __init__(self, captions: Sequence[str], tokenizer: SimpleTokenizer) -> None:
        # equal words are one object: a million captions take 150 MB instead of 600
        self.words = [list(map(intern, tokenizer.clean_fn(caption).split())) for caption in captions]
        self.tokenizer = copy.copy(tokenizer)
        self.tokenizer.clean_fn = str  # words are cleaned already, and cleaning again could change them
        self.ids: dict[str, list[int]] = {}

    def _word_ids(self, word: str) -> list[int]:
        ids = self.ids[word] = self.tokenizer.encode(word)
        return ids

    def tokens(self, rows: Tensor | None = None, edit: Callable[[list[str], int], list[str]] | None = None) -> Tensor:
        """The tokens of some captions or of all, int64 (rows or captions, context_length), padded with 0.

        rows: int64 (rows,), by which a batch's captions can be made as it is needed: all at once, a million of 77 tokens take
        600 MB. edit: (words, row) -> words, what is read in place of a caption, such as its augmentation. A caption that is too
        long is cut and keeps its end token.
        """
        context = self.tokenizer.context_length
        numbers = range(len(self.words)) if rows is None else rows.tolist()
        flat: list[int] = []
        lengths = []
        for row in numbers:
            ids = [self.tokenizer.sot_token_id]
            for word in edit(self.words[row], row) if edit else self.words[row]:
                ids += self.ids.get(word) or self._word_ids(word)
            ids = ids[: context - 1] + [self.tokenizer.eot_token_id]
            flat += ids
            lengths.append(len(ids))
        tokens = np.zeros((len(numbers), context), np.int64)
        tokens[np.arange(context) < np.array(lengths)[:, None]] = (
            flat  # at once: an assignment a caption takes as long as the rest
        )
        return torch.from_numpy(tokens)
