"""Somebody else's weights in place of a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from roclip.core.options import PATH, option
from roclip.defences.base import Defence


class Given(Defence):
    """Weights that somebody else trained, judged as they are."""

    label: ClassVar[str] = "given weights"
    trains: ClassVar[bool] = False

    @dataclass(frozen=True, kw_only=True)
    class Settings:
        weights: str = option(
            "file of weights, a folder as open_clip publishes models, or a folder of checkpoints; docs/checkpoints.md",
            role="files",
            pattern=PATH,
        )
