"""The contract of a filter: it scores pairs before training, and those with the highest scores are left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from roclip.core.facts import Facts
from roclip.core.options import option


class Filter:
    """Scores pairs by how suspicious they are."""

    @dataclass(frozen=True, kw_only=True)
    class Settings:
        keep: float = option("share of the pairs that are kept, those with the lowest scores", 0.95, above=0, maximum=1)

    @classmethod
    def problems(cls, settings: Mapping[str, Any], facts: Facts) -> Iterator[tuple[str, str]]:
        """What cannot work with such data: the option at fault, and why."""
        if int(settings["keep"] * facts.pairs) < 1:
            yield "keep", f"{settings['keep']} of {facts.pairs} training pairs is none"
