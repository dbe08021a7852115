"""What the parts may know of each other."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", sorted(ROOT.glob("roclip/**/*.py")), ids=str)
def test_the_defence_never_imports_the_adversary(path):
    assert "attacks" not in imports(path)


MEASURING = "attack_success zero_shot linear_probe results table claims paper_tables figures contact_sheet report config"


@pytest.mark.parametrize("module", MEASURING.split())
def test_stages_after_encoding_start_without_torch(module):
    code = f"import roclip.{module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_environment_has_the_pins_of_the_constraints():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    pins = (ROOT / "constraints.txt").read_text().split()
    assert pip == pins
    assert all(line.count("==") == 1 for line in pins)
