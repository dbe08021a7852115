"""Random numbers by key: each use has a generator of its own, so no draw depends on what else was drawn before."""

import hashlib

import torch


def generator(*key: str | int) -> torch.Generator:
    """A generator whose stream depends on the key alone, such as ("order", seed, epoch)."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
