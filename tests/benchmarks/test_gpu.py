"""The benchmark for one GPU runs to its end on a CPU, but for compiling."""

import subprocess
import sys

import pytest

from benchmarks.gpu import COLUMNS
from roclip.core.files import read_table
from tests.conftest import ROOT

FLAGS = {
    "device": "cpu", "model": "config/models/small.json", "pairs": 640, "files": 8, "batch": 32, "pool": 64, "steps": 2,
    "workers": 1, "side": 64, "parts": "limits eager micro_batches profile fed open_clip deterministic",
}  # fmt: skip


@pytest.mark.slow
def test_it_runs_on_a_cpu(tmp_path):
    flags = [word for name, value in FLAGS.items() for word in (f"--{name}", *str(value).split())]
    command = [sys.executable, "-m", "benchmarks.gpu", *flags, "--folder", str(tmp_path), "--out", str(tmp_path / "gpu.csv")]
    subprocess.run(command, cwd=ROOT, check=True, timeout=600)
    rows = read_table(tmp_path / "gpu.csv", COLUMNS)
    assert not [row["note"] for row in rows if "Error" in row["note"]]
    timed = [(row["loop"], row["images"], row["method"], row["epoch"]) for row in rows if row["pairs_per_second"]]
    for images in ("host", "device", "files"):
        assert ("this project", images, "clip", "clip") in timed
    for what in (("this project", "device", "roclip", "matching"), ("open_clip", "device", "clip", "clip")):
        assert what in timed
    assert ("this project, deterministic", "device", "roclip", "matching") in timed
    assert all(float(row["pairs_per_second"]) > 0 for row in rows if row["pairs_per_second"])
