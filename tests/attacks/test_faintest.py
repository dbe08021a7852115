"""Triggers so faint that they change no pixel are refused before the run; the faintest that is legal changes some."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from attacks import ATTACKS
from roclip.core.errors import UserError
from roclip.experiment.config import check
from tests.fixtures.attacks import BACKDOORS, options_of
from tests.fixtures.configs import changed

LEAST = {"amplitude": 0.004, "frequency": 0.25, "blend_share": 0.004, "warp_strength": 0.0005}


def fields(kind):
    """The settings of a backdoor that say how faint its trigger is, by name."""
    return {field.name: field for field in dataclasses.fields(ATTACKS[kind].Settings) if field.name in LEAST}


FAINT = [kind for kind in BACKDOORS if fields(kind)]


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in FAINT for name in fields(kind)])
def test_what_changes_no_pixel_is_refused_in_one_line(kind, name):
    with pytest.raises(UserError, match=rf"^attack\.{kind}\.{name}: 1e-09 is less than the minimum of {LEAST[name]}"):
        check(changed(f"attack.{kind}", {"kind": kind, name: 1e-9}), ATTACKS)


@pytest.mark.parametrize("kind", FAINT)
@pytest.mark.parametrize("side", [8, 32, 224])
def test_the_faintest_that_is_legal_changes_pixels(kind, side):
    least = {name: field.metadata["bounds"]["minimum"] for name, field in fields(kind).items()}
    put = ATTACKS[kind](options_of(kind, Path("nowhere"), Path("nowhere"), image_size=side, **least)).put
    image = np.random.default_rng(5).integers(0, 256, (side, side, 3), np.uint8)
    assert (put(image, np.random.default_rng(1)) != image).any()
