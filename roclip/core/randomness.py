"""Random numbers by key: each use has a generator of its own, so no draw depends on what else was drawn before."""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def _seed(key: tuple[str | int, ...]) -> int:
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:7], "big")


def generator(*key: str | int) -> "torch.Generator":
    """A torch generator whose stream depends on the key alone, such as ("order", seed, epoch)."""
    import torch  # attacks draw with numpy and need not wait for it

    return torch.Generator().manual_seed(_seed(key))


def numpy_generator(*key: str | int) -> np.random.Generator:
    """A numpy generator whose stream depends on the key alone, such as ("target", seed, 3)."""
    return np.random.default_rng(_seed(key))
