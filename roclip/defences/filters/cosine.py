"""Removal of the pairs whose image and caption are least alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from roclip.core.options import option
from roclip.defences.filters.base import Filter


class Cosine(Filter):
    """Removes the pairs with the lowest cosine of image and caption, as a model trained on the unfiltered pairs sees them."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(Filter.Settings):
        scored_by: Mapping[str, Any] | None = option(
            "the step `train` of the model that scores", None, role="config", schema={"$ref": "#/$defs/train"}
        )
