"""Stage: look at an attack's data before any training: whether the attack can take.

Writes `check.csv`, a row for each finding: the number of poisons for the data, whether clean captions name the classes that
the adversary wants, whether poisoned captions look like the others, and, of backdoors, what is left of the trigger after the
model's resizing, in JPEG and after crops. A doubt or a fault is in the log too, with what to change. It changes nothing.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attacks import ATTACKS
from attacks.findings import (
    FINE,
    IMAGES,
    JPEGS,
    Finding,
    Pair,
    caption_form,
    caption_length,
    caption_words,
    classes_in_captions,
    number_of_poisons,
    rows_of,
    trigger,
    trigger_in_context,
)
from attacks.images import read_image
from attacks.token_lengths import token_lengths
from roclip.core.columns import CHECK, PAIRS, TRUTH
from roclip.core.errors import UserError
from roclip.core.files import read_columns, read_json, read_lines, write_table
from roclip.core.options import Stage, option, same_option
from roclip.data.image_paths import Roots
from roclip.data.settings import DataSettings
from roclip.training.settings import TrainSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    train: Path = option("train.csv of the attack")
    truth: Path = option("truth.csv of the attack")
    manifest: Path = option("manifest.json of the attack")
    templates: Path = option("file with one prompt template a line")
    model: str = same_option(TrainSettings, "model")
    image_size: int = option("side of the model's images in pixels", minimum=8)
    crop_area: float = same_option(TrainSettings, "crop_area")
    roots: tuple[str, ...] = same_option(DataSettings, "roots")
    out: Path = option("the CSV file to write", role="output")


class Built:
    """What an attack wrote: its clean pairs, its poisoned ones with the adversary's classes, and its manifest."""

    def __init__(self, options: CheckOptions) -> None:
        """Raises UserError for a truth that is not of the pairs, and a manifest of a kind that is not known."""
        self.options, self.manifest = options, read_json(options.manifest)
        pairs, truth = read_columns(options.train, tuple(PAIRS)), read_columns(options.truth, tuple(TRUTH))
        if len(pairs["path"]) != len(truth["is_poison"]):
            raise UserError(f"{options.truth}: not a row for each pair of {options.train}; make the attack again")
        if self.manifest.get("kind") not in ATTACKS:
            raise UserError(f"{options.manifest}: no kind of attack that is registered; make the attack again")
        self.kind = self.manifest["kind"]
        self.clean = truth["is_poison"].count("0")  # they come first
        self.paths, self.captions = pairs["path"], pairs["caption"]
        self.wanted = truth["adversary_class"][self.clean :]

    def findings(self) -> Iterator[Finding]:
        """Nothing of an attack without poisons."""
        clean, poisoned = self.captions[: self.clean], self.captions[self.clean :]
        if not poisoned:
            return
        yield from number_of_poisons(self.kind, *self._fewest(), self.clean)
        yield from classes_in_captions(clean, Counter(self.wanted))
        yield caption_words(clean, list(zip(poisoned, self.wanted, strict=True)))
        yield caption_length(clean, poisoned)
        if ATTACKS[self.kind].judged_on == "captions":  # their triggers stand where captions that are too long are cut
            yield trigger_in_context(*token_lengths(self.options.model, poisoned))
        yield from caption_form(clean, poisoned, read_lines(self.options.templates))
        yield from self._triggers()

    def _fewest(self) -> tuple[str, float]:
        """What the poisons are counted by, and how many there are: of a target, or of the trigger that has the fewest."""
        if "targets" in self.manifest:
            return "targeted", len(self.wanted) / len(self.manifest["targets"])
        sources = self._sources()
        return "backdoor" if sources else "captions", min((len(rows) for rows in sources), default=len(self.wanted))

    def _sources(self) -> list[Sequence[int]]:
        """For each trigger of images the rows of the clean pairs whose images got it, in the order of the poisoned pairs."""
        parts = self.manifest.get("triggers", [self.manifest])
        return [part["poisoned_rows"] for part in parts if "poisoned_rows" in part]

    def _triggers(self) -> Iterator[Finding]:
        """The findings of each trigger; of several, of the one with the lowest value."""
        found: dict[str, Finding] = {}
        start = self.clean
        for rows in self._sources():
            some = np.unique(np.linspace(0, len(rows) - 1, IMAGES).round().astype(int))
            places = [(rows[place], start + int(place)) for place in some]
            as_jpeg = bool(JPEGS.fullmatch(self.paths[rows[0]]))
            for each in trigger(self._images(places), self.options.crop_area, as_jpeg):
                found[each.finding] = min(found.get(each.finding, each), each, key=lambda finding: finding.value)
            start += len(rows)
        yield from found.values()

    def _images(self, places: Sequence[tuple[int, int]]) -> Iterator[Pair]:
        """Images without and with the trigger, as the model sees them, of rows of train.csv."""
        roots, side = Roots(self.options.roots), self.options.image_size
        for clean, triggered in places:
            yield read_image(self.paths[clean], roots, side), read_image(self.paths[triggered], roots, side)


def run(options: Any) -> None:
    """Raises UserError as `Built`, and for an image that cannot be decoded."""
    findings = list(Built(options).findings())
    write_table(options.out, tuple(CHECK), rows_of(findings))
    for each in findings:
        if each.severity != FINE:
            log.warning("%s: %s To change it, %s.", each.severity, each.meaning, each.change)


STAGE = Stage(CheckOptions, run)
