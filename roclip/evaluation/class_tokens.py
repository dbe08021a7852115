"""The tokens of the prompts of classes, by which a model must be able to tell the classes apart."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from roclip.core.errors import UserError
from roclip.core.files import read_lines
from roclip.evaluation.zero_shot_classifier import prompts
from roclip.model.captions import Captions

if TYPE_CHECKING:
    from open_clip.tokenizer import SimpleTokenizer
    from torch import Tensor


log = logging.getLogger(__name__)


def class_tokens(classes: Path, templates: Path, tokenizer: SimpleTokenizer, refuse: bool) -> Tensor:
    """The tokens of every template filled with every class, those of a class in a row: (classes * templates, context).

    Of two classes with the same tokens in all prompts each counts against the other. refuse: raises UserError for them, as
    before a training; else a warning says so, for a public set is judged as it is.
    """
    names = read_lines(classes)
    tokens = Captions(prompts(names, read_lines(templates)), tokenizer).tokens()
    known: dict[bytes, str] = {}
    for name, its in zip(names, tokens.reshape(len(names), -1), strict=True):
        other = known.setdefault(its.numpy().tobytes(), name)
        if other != name:
            fault = (
                f"{classes}: '{name[:100]}' and '{other[:100]}' are the same to the model, which reads no case, no HTML and "
                f"only {tokenizer.context_length} tokens; give one of them another name, or merge them"
            )
            if refuse:
                raise UserError(fault)
            log.warning("%s", fault)
    return tokens
