"""The examples of docs/extending.md, all of them together: one module, one registry entry and one block of config each."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, copy_of_the_project, snakemake
from tests.fixtures.runs import SMALLER

pytestmark = pytest.mark.slow
EXAMPLES = re.findall(r"```(python|yaml)\n(.*?)```", (ROOT / "docs/extending.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def extended(tmp_path_factory) -> Path:
    """A copy of the project into which every example was pasted."""
    project, config = copy_of_the_project(tmp_path_factory.mktemp("extended")), {"attack": {}, "defence": {}, "data": {}}
    defences: dict[str, None] = {}
    for language, text in EXAMPLES:
        if language == "yaml":
            block = yaml.safe_load(text)
            config |= {"attacks": block.get("attacks", config.get("attacks"))}
            config["attack"] |= block.get("attack", {})
            config["defence"] |= block.get("defence", {})
            config["data"] |= block.get("data", {})
            defences |= dict.fromkeys(block.get("defences", []))
            continue
        path, _, code = text.removeprefix("# ").partition("\n")
        if path.endswith("__init__.py"):
            register(project / path, *code.strip().split("\n"))
        else:
            assert not (project / path).exists()
            (project / path).write_text(code)
    for attack in config["attack"].values():
        attack |= {"poisons": 8, "evaluation_images": 40}  # the data of config/test.yaml are small
    config |= {"experiment": "extended", "defences": list(defences), "train": {"epochs": 2}}
    config["data"] |= SMALLER["data"] | {"train_scenes": 1100}  # 500 of which are held out
    (project / "extended.yaml").write_text(yaml.safe_dump(config))
    return project


def register(registry: Path, import_line: str, entry: str) -> None:
    """Add an import after the last one, and an entry at the end of the dictionary."""
    lines = registry.read_text().split("\n")
    lines.insert(max(i for i, line in enumerate(lines) if line.startswith("from ")) + 1, import_line)
    start = next(i for i, line in enumerate(lines) if re.match(r"[A-Z]+: dict\[str, type\[", line))
    if lines[start].endswith("}"):  # on one line
        lines[start] = lines[start].removesuffix("}") + f", {entry}}}"
    else:
        lines.insert(lines.index("}", start), f"    {entry}")
    registry.write_text("\n".join(lines))


def test_they_run_and_appear_in_tables_figures_and_report(extended):
    snakemake(extended, "extended.yaml", "--cores", "all")
    results = extended / "results/extended"
    with open(results / "tables/measures.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["defence"] for row in rows} == {"clip", "smoothed", "brief", "repaired"}
    assert {row["attack"] for row in rows} == {"stamp"}
    assert "worst_class" in {row["measure"] for row in rows}
    assert (results / "figures/loss.png").stat().st_size > 1000
    report = (results / "report.html").read_text()
    assert all(word in report for word in ("stamp", "smoothed", "brief", "repaired"))


def test_contract_tests_and_the_order_of_imports_hold_with_them(extended):
    """Without an edit to a test: whatever is registered is tried."""
    environment = {**os.environ, "PYTHONPATH": str(extended)}
    subprocess.run([sys.executable, "-m", "roclip_command", "docs"], cwd=extended, env=environment, check=True)
    chosen = "contract and (stamp or smoothed or brief or image_tower or worst_class) or import_order and not test_modules"
    files = [*sorted(extended.glob("tests/*/test_*contract.py")), "tests/test_import_order.py"]
    command = [sys.executable, "-m", "pytest", "-k", chosen, *files]
    done = subprocess.run(command, cwd=extended, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    passed = int(re.search(r"(\d+) passed", done.stdout)[1])
    assert passed >= 6, done.stdout[-3000:]
