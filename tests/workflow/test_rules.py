"""The rules themselves: what they may put on a command line, and that every stage understands what they print."""

import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest
import yaml

import roclip_command
from roclip.core.options import parse
from tests.conftest import ROOT, SNAKEMAKE, copy_of_the_project, snakemake

FILES = [ROOT / "Snakefile", *sorted((ROOT / "workflow/rules").glob("*.smk"))]
RULES = dict(re.findall(r"^(?:use rule \w+ as |rule )(\w+)(?: with)?:\n(.*?)(?=^rule |^use rule |^include|\Z)",
                        "\n".join(path.read_text() for path in FILES), re.DOTALL | re.MULTILINE))  # fmt: skip
SHELLS = {name: found[1] for name, body in RULES.items() if (found := re.search(r'shell:\n\s+"""(.*?)"""', body, re.DOTALL))}
STAGES = {name: module for group in roclip_command.STAGES.values() for name, module in group.items()}
# numbers, and words that roclip.core.options.flags has quoted
UNQUOTED = {"threads", "resources.gpu", "params.flags", "params.stage"}
EVERYTHING = {
    "defences": ["clip", "cleaned", "kept", "theirs", "from_clip", "scored"],
    "data": {"roots": ["results", "data", "a 'b' $(touch x)"], "held_out": 200},
    "downstream": {"sets": ["dtd"]},
    "detectors": ["cosine", "near"],
    "detector": {"near": {"kind": "slof", "neighbours": 8}},
    "sweeps": {"rate": {"attacks": ["patch"], "defences": ["clip"], "axes": {"poisons": [7]}}},
    "attacks": ["clean", "targeted", "patch", "blended", "sinusoid", "warped"],
    "attack": {name: {"poisons": 8} for name in ("blended", "sinusoid", "warped")},
    "defence": {
        "cleaned": {"train": {"kind": "clip"}, "repair": {"kind": "finetune", "clean_pairs": 200, "warmup_steps": 2}},
        "kept": {"filter": {"kind": "random"}, "train": {"kind": "clip"}},
        "scored": {"filter": {"kind": "cosine", "scored_by": {"kind": "clip"}}, "train": {"kind": "clip", "epochs": 3}},
        "theirs": {"train": {"kind": "given", "weights": "config/models/small.json"}},
        "from_clip": {"train": {"kind": "clip", "start_from": "clip"}},
    },
}


def test_what_is_put_on_a_command_line_is_quoted():
    assert len(SHELLS) == 16
    for name, shell in SHELLS.items():
        for field in re.findall(r"\{([^{}]+)\}", shell):
            assert field.endswith(":q") or field in UNQUOTED, f"{name}: {field}"


def test_every_job_outlives_its_terminal():
    for name, shell in SHELLS.items():
        first = next(line for line in shell.strip().split("\n") if not line.strip().startswith("trap"))
        assert re.match(r"\s*roclip logged (--label \{params\.label:q\} )?\{log:q\} roclip ", first), name
        assert "tee" not in shell


@pytest.mark.parametrize("name", RULES)
def test_every_rule_says_what_it_is_for(name):
    assert re.match(r'\s+"""[A-Z][^"]+\."""\n', RULES[name])


def test_the_files_of_rules_are_short():
    lines = {path.name: path.read_text().count("\n") for path in FILES}
    assert lines["common.smk"] <= 80
    assert sum(lines.values()) <= 640


@pytest.mark.parametrize("name", ["gpu", "slurm"])
def test_profiles_name_rules(name):
    profile = yaml.safe_load((ROOT / f"profiles/{name}/config.yaml").read_text())
    assert set(profile["set-resources"]) <= set(RULES)
    assert {group.partition("=")[0] for group in profile.get("groups", [])} <= set(RULES)


def test_without_its_plugin_the_slurm_profile_is_one_line():
    """As Snakemake reads it; with the plugin it says what it would without the check."""
    path = ROOT / "profiles/slurm/config.yaml"
    read = "import importlib.util, sys, yte; importlib.util.find_spec = lambda _: {}; "
    read += "print(yte.process_yaml(open(sys.argv[1])))"
    missing = subprocess.run([sys.executable, "-c", read.format(None), path], capture_output=True, text=True)
    assert missing.returncode == 1
    assert re.fullmatch(r"error: profiles/slurm needs Snakemake's plugin for Slurm: pip install [^\n]+\n", missing.stderr)
    there = subprocess.run([sys.executable, "-c", read.format(1), path], capture_output=True, text=True, check=True)
    plain = {key: value for key, value in yaml.safe_load(path.read_text()).items() if not key.startswith("__")}
    assert there.stdout.strip() == str(plain)


def test_snakemake_without_the_plugin_shows_no_usage(tmp_path):
    hide = "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n, *a: None if n.endswith('_slurm') else f(n, *a)"
    (tmp_path / "sitecustomize.py").write_text(hide)
    command = [SNAKEMAKE, "-n", "--profile", "profiles/slurm", "--configfile", "config/test.yaml"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip().count("\n") <= 1  # and which profiles are used


@pytest.fixture(scope="module")
def printed(tmp_path_factory) -> tuple[Path, str]:
    """A copy of the project with a config in which every stage has jobs, and what a dry run of all of them prints."""
    project = copy_of_the_project(tmp_path_factory.mktemp("printed"))
    (project / "data/downstream/dtd").mkdir(parents=True)
    (project / "everything.yaml").write_text(yaml.safe_dump(EVERYTHING))
    return project, snakemake(project, "everything.yaml", "--dry-run", "--", "all", "exports")


def commands(output: str) -> list[list[str]]:
    """The words of every command that is printed, from `roclip logged` on."""
    shells = re.findall(r"^Shell command: \n(.*?)\n\s*\n", output, re.DOTALL | re.MULTILINE)
    return [shlex.split(shell.partition("roclip logged ")[2], comments=True) for shell in shells]


def test_every_stage_understands_what_its_rule_prints(printed):
    stages = Counter()
    for words in commands(printed[1]):
        if words[0] == "--label":
            words = words[2:]
        words = words[1:]  # without the log
        if words[:2] == ["roclip", "gpus"]:
            words = words[3:]
        assert words[0] == "roclip"
        name, flags = words[1], words[2:]
        stage = import_module(STAGES[name]).STAGE
        kind = flags[flags.index("--kind") + 1] if stage.kinds else None
        assert parse(stage.options_of(kind), flags)  # else it exits
        stages[name] += 1
    assert set(stages) == set(STAGES)
    assert stages["scenes"] == stages["download"] == stages["gather"] == stages["report"] == 1
    assert (stages["filter"], stages["repair"]) == (2 * 6, 6)  # of each attack but the variant, which meets clip alone


def test_all_gpus_of_a_training_are_on_one_node(printed):
    """Slurm may spread them over nodes where it is not told how many; its executor hands on what this resource says."""
    jobs = re.findall(r"^rule (\w+):\n(.*?)\n\s*\n", printed[1], re.DOTALL | re.MULTILINE)
    asked = [
        re.search(r"^ *resources: (.*)", body, re.MULTILINE)[1].split(", ")
        for name, body in jobs
        if name in ("train", "repair")
    ]
    assert len(asked) > 20
    assert all("nodes=1" in resources for resources in asked)


def test_words_of_a_user_reach_no_shell(printed):
    project, output = printed
    assert "'a '\"'\"'b'\"'\"' $(touch x)'" in output
    assert all("a 'b' $(touch x)" in words for words in commands(output) if "--roots" in words)
    assert not (project / "x").exists()


@pytest.mark.parametrize("flag", ["--dag", "--rulegraph", "--filegraph", "--summary", "--list-rules", "--lint"])
def test_what_runs_nothing_needs_no_cores(printed, flag):
    project, _ = printed
    done = subprocess.run([SNAKEMAKE, flag, "--configfile", "config/test.yaml"], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    if flag == "--list-rules":
        for name, body in RULES.items():
            assert f"{name} ({re.search(chr(34) * 3 + '(.*?)' + chr(34) * 3, body)[1]})" in done.stdout + done.stderr
    elif flag != "--lint":
        assert "train" in done.stdout


def test_a_full_temporary_folder_does_not_stop_the_scheduler():
    assert yaml.safe_load((ROOT / "profiles/default/config.yaml").read_text())["scheduler"] == "greedy"


def processor_seconds(project: Path, *arguments: str) -> float:
    before = os.times()
    snakemake(project, *arguments)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def test_a_dry_run_takes_little_longer_than_snakemake_itself(printed):
    """Of the processor: one that imports PyTorch takes more than twice as long."""
    project, _ = printed
    assert processor_seconds(project, "--dry-run") < 2 * processor_seconds(project, "--version")
    assert not list(project.glob("results/*/*"))


@pytest.mark.parametrize("how", ["file", "dangling link", "link to lock"])
def test_a_folder_of_results_that_cannot_be_used_is_one_line(tmp_path, how):
    project = copy_of_the_project(tmp_path / "project")
    results, other = project / "results/test", tmp_path / "other"
    results.parent.mkdir(exist_ok=True)
    other.write_text("of great value")
    if how == "file":
        results.write_text("")
    elif how == "dangling link":
        results.symlink_to(tmp_path / "nowhere")
    else:
        results.mkdir()
        (results / ".lock").symlink_to(other)
    command = [SNAKEMAKE, "--cores", "1", "data", "--configfile", "config/test.yaml"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(r"^(error|config): results/test.*(remove|rename) it", done.stderr, re.MULTILINE), done.stderr[-2000:]
    assert other.read_text() == "of great value"
