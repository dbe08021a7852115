"""Modules that are imported when they are first used, so that reading a registry, as every `snakemake -n` does, takes no time."""

from importlib import import_module
from typing import Any


class Deferred:
    """Stands for a module that is slow to import: `torch = Deferred("torch")`.

    Its attributes are the module's. Annotations that name it need `from __future__ import annotations`.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)
