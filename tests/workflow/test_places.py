"""The workflow in other folders than its own, and as a module of another workflow: results come where it is called."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from roclip.core.columns import HISTORY
from roclip.core.files import read_table
from tests.conftest import ROOT, SNAKEMAKE

pytestmark = pytest.mark.slow
MINE = {
    "experiment": "mine",
    "attacks": ["targeted"],
    "defences": ["clip"],
    "data": {"train_scenes": 300, "validation_scenes": 20, "test_scenes": 40, "probe_scenes": 40},
    "attack": {"targeted": {"targets": 4, "captions_per_target": 3}},
    "train": {"epochs": 1, "warmup_steps": 1, "validation_images": 20},
}
MODULE = f"""
configfile: "mine.yaml"


module roclip:
    snakefile:
        "{ROOT}/Snakefile"
    config:
        config["poisoning"]


use rule * from roclip as poisoning_*


rule summary:
    default_target: True
    input:
        "results/mine/tables/measures.md",
    output:
        "summary.md",
    shell:
        "cp {{input}} {{output}}"
"""
HISTORY_FILE = "results/mine/models/targeted/clip/seed10/history.csv"


def run(folder: Path, *arguments: str) -> str:
    """What Snakemake prints, with nothing of this project in its environment."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([SNAKEMAKE, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr


def test_it_trains_in_a_folder_of_the_user_s(tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(MINE))
    before = {path.name for path in ROOT.iterdir()}
    run(tmp_path, HISTORY_FILE, "-s", str(ROOT / "Snakefile"), "--cores", "2", "--configfile", "mine.yaml")
    assert len(read_table(tmp_path / HISTORY_FILE, tuple(HISTORY))) == 1
    assert (tmp_path / "results/mine/plan.json").exists()
    assert {path.name for path in ROOT.iterdir()} == before
    assert "Nothing to be done" in run(
        tmp_path, HISTORY_FILE, "-s", str(ROOT / "Snakefile"), "--cores", "2", "--configfile", "mine.yaml"
    )


def test_it_is_a_module_of_another_workflow(tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"poisoning": MINE}))
    (tmp_path / "Snakefile").write_text(MODULE)
    assert "poisoning_gather" in run(tmp_path, "-n")
    assert not (tmp_path / "results").exists()
    run(tmp_path, "--cores", "2")
    assert "| targeted | clip |" in (tmp_path / "summary.md").read_text()
