"""stub"""

from dataclasses import dataclass

from roclip.core.options import option


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    roots: tuple[str, ...] = option("folders in which images may lie, links followed", ("results", "data"), fewest=1)
    max_bad_fraction: float = option(
        "share of images that may be missing or broken, at every stage", 0.01, minimum=0, maximum=1
    )
