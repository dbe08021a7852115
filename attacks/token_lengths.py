"""How many tokens captions have, and how many a model reads."""

from collections.abc import Sequence

from roclip.core.deferred import Deferred
from roclip.model.configs import model_config

captions_of, towers = Deferred("roclip.model.captions"), Deferred("roclip.model.towers")

LONGEST = 8  # contexts


def token_lengths(model: str, captions: Sequence[str]) -> tuple[list[int], int]:
    """The tokens of captions, with begin and end, at most LONGEST times as many as a model reads; how many it reads."""
    tokenizer = towers.tokenizer(model_config(model))
    context = tokenizer.context_length
    tokenizer.context_length = LONGEST * context
    tokens = captions_of.Captions(captions, tokenizer).tokens().numpy()
    return ((tokens == tokenizer.eot_token_id).argmax(1) + 1).tolist(), context
