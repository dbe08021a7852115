"""Where Snakemake's notes are lost, as of results from another machine, nothing is reported under settings of others."""

import re
import shutil
import subprocess

import pytest

from tests.conftest import SNAKEMAKE

pytestmark = pytest.mark.slow


def test_models_of_another_learning_rate_are_not_reported_on(finished, tmp_path):
    project = shutil.copytree(finished, tmp_path / "project", ignore=shutil.ignore_patterns("metadata"))
    (project / "changes.yaml").write_text("train: {learning_rate: 0.01}\n")
    command = [SNAKEMAKE, "--forcerun", "claims", "--cores", "2", "--configfile", "config/test.yaml", "changes.yaml"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 1
    said = r"^error: results/test/models/\w+/\w+/seed10/history.csv: made with learning_rate 0.0005, and this run has 0.01"
    assert re.search(said + r" \(the first of \d such files\); remove it", done.stderr, re.MULTILINE), done.stderr[-2000:]
