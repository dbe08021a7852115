"""A trigger that moves pixels and adds none.

WaNet trains its classifier itself and shows it other warps too; here only the data are poisoned.
"""

from dataclasses import dataclass

from attacks.backdoor import Backdoor, Trigger
from attacks.triggers import warp, warp_field
from roclip.core.options import option


class Warped(Backdoor):
    """A backdoor whose trigger is one smooth warp of the whole image (WaNet: Nguyen and Tran, ICLR 2021)."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(Backdoor.Settings):
        # the least moves black beside white by a grey level, in the smallest images
        warp_strength: float = option(
            "mean displacement of the control points along an axis, as a share of the image's side",
            0.1, minimum=0.0005, maximum=1,
        )  # fmt: skip
        warp_grid: int = option("control points along each side of the image", 4, minimum=2, maximum=1024)

    def trigger(self) -> Trigger:
        options = self.options
        field = warp_field(options.image_size, options.warp_grid, options.warp_strength, self.shared_generator())
        return lambda image, rng: warp(image, field)
