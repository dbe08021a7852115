"""The downstream sets by name, and which of their folders are there; read before every run, so it imports nothing slow."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from roclip.core.errors import UserError

# the folder of each under `downstream.root`, as torchvision calls it; imagenet1k's is our own
FOLDERS = {
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "food101": "food-101",
    "dtd": "dtd",
    "aircraft": "fgvc-aircraft-2013b",
    "flowers102": "flowers-102",
    "caltech101": "caltech101",
    "pets": "oxford-iiit-pet",
    "cars": "stanford_cars",
    "imagenet1k": "imagenet1k",
}

# how many classes each has as it was published
CLASSES = {
    "cifar10": 10, "cifar100": 100, "food101": 101, "dtd": 47, "aircraft": 100, "flowers102": 102, "caltech101": 101,
    "pets": 37, "cars": 196, "imagenet1k": 1000,
}  # fmt: skip


def present_sets(downstream: Mapping[str, Any]) -> list[str]:
    """The sets of the config's `downstream` whose folders are there.

    Raises UserError for a folder that is not there, when the config requires all.
    """
    folders = {name: Path(downstream["root"], FOLDERS[name]) for name in downstream["sets"]}
    absent = [name for name, folder in folders.items() if not os.path.isdir(folder)]  # noqa: PTH112 (Path's raise for a long name)
    if absent and downstream["require_all"]:
        raise UserError(
            f"downstream.sets: there is no folder {folders[absent[0]]} for '{absent[0]}'; put the set there, take it from the "
            "list or set downstream.require_all to false"
        )
    return [name for name in folders if name not in absent]


def absent_sets(downstream: Mapping[str, Any], judged: Sequence[str]) -> dict[str, Path]:
    """The sets of the config that no model was judged on, each with the folder in which it is looked for."""
    return {name: Path(downstream["root"], FOLDERS[name]) for name in downstream["sets"] if name not in judged}
