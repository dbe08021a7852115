"""Changes to the training loop that are tried on a GPU before they become the project's, as contexts."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from open_clip.model import text_global_pool
from torch import Tensor
from torch.nn.functional import normalize

from roclip.training.trainer import Training

ROUND = 8  # tokens are cut to a multiple of it


def cut(tokens: Tensor) -> Tensor:
    """Without the columns that no caption of the batch uses: (batch, context) -> (batch, longest, rounded up)."""
    longest = int((tokens != 0).sum(1).max())
    return tokens[:, : -(-longest // ROUND) * ROUND].contiguous()


def encode_text(model: torch.nn.Module, text: Tensor, normalize_: bool = False, **how: bool) -> Tensor:
    """open_clip's CLIP.encode_text for tokens that were cut: of the positions and the causal mask, what is left."""
    length, dtype = text.shape[1], model.transformer.get_cast_dtype()
    x = model.token_embedding(text).to(dtype) + model.positional_embedding[:length].to(dtype)
    x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
    x = text_global_pool(model.ln_final(x), text, model.text_pool_type, eos_token_id=getattr(model, "text_eos_id", None))
    x = x @ model.text_projection
    return normalize(x, dim=-1) if how.get("normalize", normalize_) else x


@contextmanager
def cut_tokens(training: Training) -> Iterator[None]:
    """The tokens of each batch are cut to its longest caption."""
    tokens = training.tokens
    training.tokens = lambda *arguments: cut(tokens(*arguments))
    training.model.encode_text = partial(encode_text, training.model)
    yield
    del training.tokens, training.model.encode_text


@contextmanager
def cudnn_search() -> Iterator[None]:
    """cuDNN tries its kernels for every shape it meets."""
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
    yield
    torch.backends.cudnn.benchmark = before
