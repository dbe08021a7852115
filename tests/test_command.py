"""The console command: what there is, in no time, and each stage with its flags."""

import importlib
import os
import re
import subprocess
import sys
import time

import pytest

import roclip_command
from roclip.experiment.settings import ExperimentSettings
from tests.conftest import ROOT

STAGES = {name: module for group in roclip_command.STAGES.values() for name, module in group.items()}
SHIM = ROOT / "workflow/bin/roclip"


def roclip(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "roclip_command", *words], cwd=ROOT, capture_output=True, text=True)


def test_help_names_every_stage_with_a_sentence_in_well_under_a_second():
    started = os.times()
    done = roclip("--help")
    ended = os.times()
    assert done.returncode == 0
    for name in [*STAGES, *roclip_command.TOOLS]:
        assert re.search(rf"^  {name} +[A-Z][a-z]", done.stdout, re.MULTILINE), name
    for group in roclip_command.STAGES:
        assert f"\n{group}:\n" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= roclip_command.WIDTH
    assert ended.children_user - started.children_user < 0.8  # of the processor, whatever else the machine does
    assert roclip().stdout == done.stdout


def test_help_imports_no_stage():
    code = "import roclip_command, sys; roclip_command.usage(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert not {*STAGES.values(), *roclip_command.TOOLS.values(), "torch", "numpy"} & set(loaded)


@pytest.mark.parametrize("name", STAGES)
def test_every_name_is_a_stage(name):
    assert importlib.import_module(STAGES[name]).STAGE.options.__dataclass_fields__


@pytest.mark.parametrize("name", ["attack", "filter", "train", "repair", "detect"])
def test_a_seed_has_the_bounds_of_those_of_the_config(name):
    """A larger one would overflow in PyTorch."""
    seed, seeds = importlib.import_module(STAGES[name]).STAGE.options, ExperimentSettings
    bounds = [owner.__dataclass_fields__[key].metadata["bounds"] for owner, key in ((seed, "seed"), (seeds, "seeds"))]
    assert bounds[0] == bounds[1] == {"minimum": 0, "maximum": 2**32 - 1}


@pytest.mark.parametrize("name", roclip_command.TOOLS)
def test_every_other_name_is_a_tool(name):
    assert callable(importlib.import_module(roclip_command.TOOLS[name]).main)


@pytest.mark.parametrize("name", roclip_command.TOOLS)
def test_every_tool_has_a_help(name, capsys):
    with pytest.raises(SystemExit) as ended:
        sys.exit(roclip_command.main([name, "--help"]))
    assert not ended.value.code
    assert f"usage: roclip {name}" in capsys.readouterr().out


def test_an_unknown_name_is_one_line():
    done = roclip("trian")
    assert done.returncode == 1
    assert done.stderr.startswith("error: 'trian' is no stage and no tool; there are scenes, download,")
    assert done.stderr.count("\n") == 1


def test_the_workflow_s_own_command_runs_this_checkout_from_anywhere(tmp_path):
    """Whatever is installed, and whatever lies in the folder in which it is called."""
    for name in ("roclip_command.py", "roclip/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise SystemExit('of another checkout')\n")
    environment = {"PATH": f"{os.path.dirname(sys.executable)}:/usr/bin:/bin"}  # noqa: PTH120
    code = "import roclip_command; print(roclip_command.__file__)"
    command = [SHIM, "logged", "a.log", sys.executable, "-P", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == f"{ROOT / 'roclip_command.py'}\n", done.stderr
    assert subprocess.run([SHIM, "logged", "a.log", "false"], cwd=tmp_path, env=environment).returncode == 1


def test_the_command_starts_quickly():
    """Every job starts it three times."""
    started, wall = os.times(), time.monotonic()
    for _ in range(3):
        assert roclip("logged", os.devnull, "true").returncode == 0
    assert os.times().children_user - started.children_user < 1.5, time.monotonic() - wall
