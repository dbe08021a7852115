"""The contract of an attack: it chooses poisoned pairs and its evaluation set, images or captions to judge models on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from roclip.core.errors import UserError
from roclip.core.facts import Facts
from roclip.core.options import SEEDS, option, same_option
from roclip.data.pairs import Columns
from roclip.data.settings import SMALLEST, DataSettings


@dataclass(frozen=True, kw_only=True)
class AttackOptions:
    train: Path = option("clean training pairs: a table (path, caption) or any that roclip/data/pairs.py reads")
    validation: Path = option("table of pairs (path, caption) that are not trained on")
    test: Path = option("table of labelled images (path, label)")
    classes: Path = option("file with one class name a line")
    templates: Path = option("file with one prompt template a line")
    image_size: int = option(
        "side of the model's images in pixels, to which images are brought before a trigger", minimum=SMALLEST
    )
    out: Path = option("folder of the attack", role="output")
    roots: tuple[str, ...] = option("folders in which images may lie; none outside them is opened")
    held_out: int = same_option(DataSettings, "held_out")
    seed: int = option("seed of everything that the attack chooses", **SEEDS)


@dataclass(frozen=True)
class Poisoning:
    """What an attack did: its poisoned pairs, its evaluation set, and what else its manifest says."""

    pairs: Sequence[tuple[str, str, str]] = ()  # path, caption, and the class that the adversary wants for the image
    targets: Sequence[tuple[str, str]] = ()  # path, and the class that the adversary wants for the image
    facts: Mapping[str, Any] = field(default_factory=dict)
    # of each pair the classes that its image shows, with | between them, empty where not known; None: known of no pair
    true_classes: Sequence[str] | None = None
    # in place of targets, for an attack that is judged on captions: caption with the trigger, the same without it, class wanted
    queries: Sequence[tuple[str, str, str]] = ()


def too_few_captions(facts: Facts, name: str, wanted: int, pairs: int) -> str:
    """Why captions that name a class cannot be enough; nothing where they may be.

    Of captions that are drawn at random no more than five standard deviations above their expected number are thought possible.
    """
    if facts.caption_shares is None or name not in facts.caption_shares:
        return ""
    expected = facts.caption_shares[name] * pairs
    if wanted <= expected + 5 * expected**0.5:
        return ""
    return f"{wanted} captions that name '{name}' are asked for, but about {expected:.0f} of the {pairs} will"


class Attack:
    """Base of all attacks. `options` are those of the stage, with the attack's own settings."""

    family: ClassVar[str]  # clean, targeted or backdoor: models of another family are the control of an attack
    judged_on: ClassVar[str] = "images"  # or captions, which are looked up among the test images

    @dataclass(frozen=True, kw_only=True)
    class Settings:
        clean_pairs: int | None = option(
            "how many of the clean training pairs are used, from the first on; null: all but data.held_out", None, minimum=1
        )

    def __init__(self, options: Any) -> None:
        self.options = options

    @classmethod
    def problems(cls, settings: Mapping[str, Any], facts: Facts) -> Iterator[tuple[str, str]]:
        """What cannot work with such data: the option at fault, and why. `facts.pairs`: all that an attack may take."""
        if (settings["clean_pairs"] or 0) > facts.pairs:
            yield "clean_pairs", f"{settings['clean_pairs']} is more than the {facts.pairs} training pairs"

    def poison(self, clean: Columns) -> Poisoning:
        """Choose, and write what images there are. Raises UserError when the data are not enough for the settings."""
        raise NotImplementedError


def check_captions(rows: np.ndarray, name: str, count: int, key: str) -> None:
    """Raises UserError, naming class and `key`, when the rows whose captions name the class are fewer than `count`."""
    if len(rows) < count:
        raise UserError(f"{key}: {count} captions that name '{name}' are asked for, but the training data has {len(rows)}")


def draw_rows(rows: np.ndarray, name: str, count: int, key: str, rng: np.random.Generator) -> np.ndarray:
    """`count` different ones of the rows whose captions name the class; those of a smaller count are among those of a larger.

    Raises UserError as `check_captions`.
    """
    check_captions(rows, name, count, key)
    return np.sort(rng.permutation(rows)[:count])
