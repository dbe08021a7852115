"""Weights of models that nobody trained, as the train stage would leave them."""

from pathlib import Path
from typing import Any

from roclip import towers

SMALL = "config/models/small.json"


def record(model: str = SMALL) -> dict[str, Any]:
    """What a weight file says of itself."""
    config = towers.model_config(model)
    return {
        "model_config": config, "tokenizer": towers.fingerprint_of(towers.tokenizer(config)), "epoch": 7,
        "options": {"model": model, "match_every": 2}, "inputs": {"train.csv": "ab"},
        "commit": "c0ffee", "versions": {"torch": "1"},
    }  # fmt: skip


def write_small(path: Path, changes: dict[str, Any] | None = None) -> None:
    """Write a small model; changes: to what the file says of itself."""
    towers.save(towers.create(towers.model_config(SMALL)), path, record() | (changes or {}))
