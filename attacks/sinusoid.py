"""A trigger that is one wave, the same in every attack with the same settings."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from attacks.backdoor import Backdoor, Trigger
from attacks.triggers import FAINTEST, sinusoid
from roclip.core.facts import Facts
from roclip.core.options import option


class Sinusoid(Backdoor):
    """A backdoor whose trigger is a wave of brightness across the image (SIG: Barni et al., ICIP 2019)."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(Backdoor.Settings):
        amplitude: float = option(
            "amplitude of the wave as a share of 255 (the paper: 60 of 255)", 0.235, minimum=FAINTEST, maximum=1
        )
        # a quarter of a period reaches the amplitude
        frequency: float = option("periods of the wave in the image's width, at most half of its pixels", 6.0, minimum=0.25)

    @classmethod
    def problems(cls, settings: Mapping[str, Any], facts: Facts) -> Iterator[tuple[str, str]]:
        yield from super().problems(settings, facts)
        if 2 * settings["frequency"] > facts.image_size:
            periods = f"{settings['frequency']} periods are too many for {facts.image_size} pixels, at least 2 each"
            yield "frequency", periods

    def trigger(self) -> Trigger:
        return lambda image, rng: sinusoid(image, self.options.amplitude, self.options.frequency)
