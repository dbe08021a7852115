"""What tests of figures share."""

import matplotlib.pyplot as plt
import pytest

from roclip.defences import TRAININGS
from roclip.reporting.figures.style import STYLE
from tests.fixtures.experiment import NOTING, Noting


@pytest.fixture
def noting(monkeypatch):
    """A registered training with telemetry, and the looks of figures."""
    monkeypatch.setitem(TRAININGS, NOTING, Noting)
    with plt.rc_context(STYLE):
        yield
    plt.close("all")
