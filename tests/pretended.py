"""Two GPUs that are in no machine: an environment that lists them, and what says when which process had which."""

import os
import sys
import uuid
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

from roclip.gpus import LOCKS
from tests.conftest import ROOT

# says which GPUs it has, from when and until when; what kills it makes it say nothing more
WORK = """
import os, sys, time
print(os.environ["CUDA_VISIBLE_DEVICES"], time.monotonic(), flush=True)
time.sleep(float(sys.argv[1]))
print(time.monotonic())
"""


def two_gpus(folder: Path) -> Iterator[SimpleNamespace]:
    """The `names` of the GPUs, and an `environment` in which nvidia-smi lists them."""
    names = [f"GPU-{uuid.uuid4()}" for _ in range(2)]
    lister = folder / "bin/nvidia-smi"
    lister.parent.mkdir()
    lister.write_text(f"#!/bin/sh\nprintf '%s\\n' {' '.join(names)}\n")
    lister.chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    environment["PATH"] = os.pathsep.join([str(lister.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment["PYTHONPATH"] = str(ROOT)
    yield SimpleNamespace(names=names, environment=environment)
    for name in names:
        (LOCKS / f"{name}.lock").unlink(missing_ok=True)


def spans(outputs: list[str], ends: dict[int, float] | None = None) -> dict[str, list[tuple[float, float]]]:
    """For each GPU the times (from, until) for which processes said that they had it; of the killed ones until `ends`."""
    had: dict[str, list[tuple[float, float]]] = {}
    for number, output in enumerate(outputs):
        if not output:
            continue  # killed before it had one
        names, since, *until = output.split()
        end = float(until[0]) if until else ends[number]
        for name in names.split(","):
            had.setdefault(name, []).append((float(since), end))
    return {name: sorted(times) for name, times in had.items()}


def assert_never_shared(had: dict[str, list[tuple[float, float]]]) -> None:
    for times in had.values():
        assert all(first[1] <= second[0] for first, second in pairwise(times)), times
