"""A trigger of colour alone, which no crop and no flip removes."""

from dataclasses import dataclass

from attacks.backdoor import Backdoor, Trigger
from attacks.triggers import FAINTEST, colour_field, tint
from roclip.core.options import option


class Tint(Backdoor):
    """A backdoor whose trigger is one smooth shift of colour over the whole image, as of a filter on the lens."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(Backdoor.Settings):
        amplitude: float = option("largest shift of a channel as a share of 255", 0.25, minimum=FAINTEST, maximum=1)

    def trigger(self) -> Trigger:
        field = colour_field(self.options.image_size, self.shared_generator())
        return lambda image, rng: tint(image, field, self.options.amplitude)
