"""A look at a data set's captions before a run, by `roclip check-data`, in a process of its own whose memory ends with it."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roclip.data.settings import DataSettings
from roclip.data.url_list import SPLITS


def first_look(results: Path, data: Mapping[str, Any]) -> list[str]:
    """What there is to say, nothing of drawn scenes. results: of an experiment that has begun; data: that section.

    What is wrong with the data is a line here and stops nothing; the stage that needs them says it as an error.
    """
    drawn = DataSettings.drawn(data)
    if len(drawn) == len(SPLITS):
        return []
    command = ["roclip", "check-data", "--configfile", str(results / "config.yaml")]
    done = subprocess.run(command, capture_output=True, text=True)
    names = " and ".join(drawn)
    mixed = [f"{names}: no table and no list is named, so these are scenes drawn with emoji"] if drawn else []
    return [*mixed, *(done.stdout.splitlines() or done.stderr.splitlines()[-1:])]
