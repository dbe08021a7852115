"""The benchmark for one GPU runs to its end on a CPU."""

import subprocess
import sys

import pytest

from benchmarks.gpu import COLUMNS
from roclip.core.files import read_table
from tests.conftest import ROOT

FLAGS = {
    "device": "cpu", "model": "config/models/small.json", "pairs": 64, "files": 8, "batch": 32, "pool": 16, "steps": 1,
    "workers": 1, "compile": "without", "side": 64,
}  # fmt: skip


@pytest.mark.slow
def test_it_runs_on_a_cpu(tmp_path):
    flags = [word for name, value in FLAGS.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "benchmarks.gpu", *flags, "--out", str(tmp_path / "gpu.csv")]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    rows = read_table(tmp_path / "gpu.csv", COLUMNS)
    fed = {(row["loop"], row["method"], row["epoch"]) for row in rows if row["images"] == "fed"}
    assert fed == {
        ("this project", "clip", "clip"), ("this project", "roclip", "clip"), ("this project", "roclip", "matching"),
        ("open_clip", "clip", "clip"),
    }  # fmt: skip
    assert [row["images"] for row in rows if row["loop"] == "this project, deterministic"] == ["resident"]
    assert all(float(row["pairs_per_second"]) > 0 for row in rows)
