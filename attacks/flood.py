"""So many poison captions of each target that a pool of captions nearly always holds one of them.

A pool of P of N pairs, filled at random, holds none of k captions with a probability of at most (1 - P/N)^k. N grows with the
poisons of all targets.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attacks.base import check_captions
from attacks.targeted import CAPTIONS, Target, Targeted
from roclip.core.errors import UserError
from roclip.core.facts import Facts
from roclip.core.options import option
from roclip.data.pairs import Columns


def copies(pool_size: int, certainty: float, clean: int, targets: int) -> int | None:
    """The smallest number k of captions for each target with (1 - P/N)^k <= 1 - certainty, where N = clean + targets k.

    None where that would be more poisoned pairs than clean ones.
    """
    for count in range(1, clean // targets + 1):
        share = pool_size / (clean + targets * count)
        if share >= 1 or count * math.log1p(-share) <= math.log1p(-certainty):
            return count
    return None


def too_many(pool_size: int, certainty: float, clean: int, targets: int) -> str:
    """What is wrong where `copies` gives None."""
    return (
        f"{certainty} with a pool of {pool_size} takes more poisoned pairs of {targets} targets than there are clean "
        f"training pairs, {clean}; ask for less certainty or fewer targets"
    )


class Flood(Targeted):
    """Targeted poisoning with so many captions of each target that a pool of captions holds one at nearly any time."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(Targeted.Settings):
        captions_per_target: int = option("poisoned pairs of each target, where the pool needs fewer", 15, minimum=1)
        pool_size: int = option("captions in the pool of the defence", 800, minimum=1)
        certainty: float = option("probability that a pool holds a caption of a target", 0.99, above=0, below=1)

    @classmethod
    def problems(cls, settings: Mapping[str, Any], facts: Facts) -> Iterator[tuple[str, str]]:
        yield from super().problems(settings, facts)
        available, targets = settings["clean_pairs"] or facts.pairs, settings["targets"]
        if copies(settings["pool_size"], settings["certainty"], available, targets) is None:
            yield "certainty", too_many(settings["pool_size"], settings["certainty"], available, targets)

    @classmethod
    def fewest_captions(cls, captions_per_target: int) -> int:
        return 1

    def _captions(self, target: Target, clean: Columns) -> tuple[list[str], dict[str, Any]]:
        """All captions of the class in a random order, and from the first on again where they do not suffice."""
        named, count = self._naming(target.name, clean), self._count(len(clean["path"]))
        check_captions(named, target.name, self.fewest_captions(self.options.captions_per_target), CAPTIONS)
        rows = np.sort(np.resize(self._generator(target).permutation(named), count))
        repeated = max(0, count - len(named))
        return [clean["caption"][row] for row in rows], {"caption_rows": rows.tolist(), "repeated": repeated}

    def _count(self, clean: int) -> int:
        """The poisoned pairs of each target among so many clean ones."""
        flood = (self.options.pool_size, self.options.certainty, clean, self.options.targets)
        needed = copies(*flood)
        if needed is None:
            raise UserError(f"attack.certainty: {too_many(*flood)}")
        return max(self.options.captions_per_target, needed)
