"""Stage: a backdoor whose trigger is one smooth warp of the whole image (WaNet: Nguyen and Tran, ICLR 2021).

WaNet trains its classifier itself and shows it other warps too; here only the data are poisoned.
"""

from dataclasses import dataclass

from attacks.backdoor import BackdoorOptions, Trigger, build, shared
from attacks.triggers import warp, warp_field
from roclip.core.options import Stage, option


@dataclass(frozen=True)
class WarpedOptions(BackdoorOptions):
    warp_strength: float = option("mean displacement of the control points along an axis, as a share of the image's side")
    warp_grid: int = option("control points along each side of the image")


def trigger(options: WarpedOptions) -> Trigger:
    """The warp of one attack, ready to be applied to images; it is the same for all of them."""
    field = warp_field(options.image_size, options.warp_grid, options.warp_strength, shared(options))
    return lambda image, rng: warp(image, field)


def run(options: WarpedOptions) -> None:
    build(options, "warped", trigger(options))


STAGE = Stage(WarpedOptions, run)
