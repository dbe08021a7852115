"""Crops and flips of a target in place of copies, so that no duplicate image gives the poisons away."""

from dataclasses import dataclass

from attacks.images import read_crop, write_image
from attacks.targeted import Target, Targeted
from roclip.core.options import option
from roclip.core.randomness import numpy_generator
from roclip.data.image_paths import Roots


class Variants(Targeted):
    """Targeted poisoning with random crops and flips of each target in place of copies; the target itself is judged."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(Targeted.Settings):
        min_area: float = option("least area of a crop as a share of the image's", 0.6, above=0, maximum=1)

    def _images(self, target: Target, count: int) -> list[str]:
        options, roots = self.options, Roots(self.options.roots)
        paths = []
        for copy in range(count):
            rng = numpy_generator("variant", options.seed, target.number, copy)
            crop = read_crop(target.path, roots, options.image_size, options.min_area, rng)
            paths.append(write_image(crop, options.out / f"poisons/{target.number:03d}_{copy:06d}.png"))
        return paths
