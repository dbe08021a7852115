"""A trigger of colour that looks like a filter of a photograph app (Huang et al., ICLR 2025, use one of that name)."""

from attacks.backdoor import Backdoor, Trigger
from attacks.triggers import nashville


class Nashville(Backdoor):
    """A backdoor whose trigger is a colour filter over the whole image, as photograph apps have."""

    def trigger(self) -> Trigger:
        return lambda image, rng: nashville(image)
