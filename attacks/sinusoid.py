"""Stage: a backdoor whose trigger is a wave of brightness across the image (SIG: Barni et al., ICIP 2019)."""

from dataclasses import dataclass

from attacks.backdoor import BackdoorOptions, Trigger, build
from attacks.triggers import sinusoid
from roclip.core.options import Stage, option


@dataclass(frozen=True)
class SinusoidOptions(BackdoorOptions):
    amplitude: float = option("amplitude of the wave as a share of 255")
    frequency: float = option("periods of the wave in the image's width")


def trigger(options: SinusoidOptions) -> Trigger:
    """The wave of one attack, ready to be added to images; it is the same for all of them."""
    return lambda image, rng: sinusoid(image, options.amplitude, options.frequency)


def run(options: SinusoidOptions) -> None:
    build(options, "sinusoid", trigger(options))


STAGE = Stage(SinusoidOptions, run)
