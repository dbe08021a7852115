"""The workflow, killed at random moments and each time started again by the same command, gives what an undisturbed run gives.

Two kills of a run that makes a model, its measures and the tables; `pytest --torture tests/workflow/test_torture_workflow.py`:
20 of a run from nothing, and a line in benchmarks/torture_workflow.csv.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from roclip.core.files import read_table, write_table
from tests.conftest import ROOT, SNAKEMAKE
from tests.fixtures.runs import CONFIGS, RESULTS, made, small_project
from tests.fixtures.webserver import wait_until

pytestmark = pytest.mark.slow
COMMAND = [SNAKEMAKE, "--cores", "all", "--configfile", *CONFIGS]
MADE_AGAIN = ("models/targeted/clip", "measures/targeted/clip", "tables")
RECORD = ROOT / "benchmarks/torture_workflow.csv"
COLUMNS = ("kills", "with_all_jobs", "runs", "trainings_resumed", "undisturbed_seconds", "seconds", "equal", "stages_hit")


def run(project: Path, target: str, seconds: float | None = None, jobs_too: bool = False) -> tuple[bool, str]:
    """Run the command and, after some seconds, kill it, alone or with all its jobs: whether so; what it printed."""
    command = [*COMMAND, "--", target]
    with open(project / "output", "w") as output:
        process = subprocess.Popen(command, cwd=project, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        status, killed = process.wait(seconds), False
    except subprocess.TimeoutExpired:
        (os.killpg if jobs_too else os.kill)(process.pid, signal.SIGKILL)
        status, killed = process.wait(), True
    said = (project / "output").read_text()
    assert killed or status == 0, said[-4000:]
    return killed, said


def running(said: str) -> set[str]:
    """The rules of which jobs had begun and not ended."""
    begun = {job: rule for rule, job in re.findall(r"^localrule (\w+):$.*?^    jobid: (\d+)$", said, re.DOTALL | re.MULTILINE)}
    return {begun[job] for job in begun.keys() - re.findall(r"^Finished jobid: (\d+)", said, re.MULTILINE)}


def processes(folder: Path) -> list[psutil.Process]:
    """Those that run in a folder."""
    return [p for p in psutil.process_iter(["cwd"]) if p.info["cwd"] == str(folder)]


def test_killed_at_any_moment_it_ends_with_the_same_results(request, tmp_path, torture):
    if torture:
        project, target, again = small_project(tmp_path), "all", ["."]
        started = time.monotonic()
        run(project, target)
        undisturbed, expected = time.monotonic() - started, made(project)
    else:
        finished = request.getfixturevalue("finished")
        project, target, again = shutil.copytree(finished, tmp_path, dirs_exist_ok=True), "tables", MADE_AGAIN
        (project / "smaller.yaml").write_text("{}")
        undisturbed, expected = 20, made(finished)  # of its seconds most are the training's
    assert {str(RESULTS / "tables/claims.json"), str(RESULTS / "tables/attacks.csv")} < set(expected)

    def begin_again() -> None:
        for folder in again:
            shutil.rmtree(project / RESULTS / folder)

    kills, runs, with_all_jobs, resumed, hit = 20 if torture else 2, 1, 0, 0, Counter()
    moments = random.Random(0)
    begin_again()
    started, left, equal = time.monotonic(), kills, True
    while True:
        jobs_too = left % 3 == 0  # as when the machine goes down
        killed, said = run(project, target, moments.uniform(0, undisturbed / 2) if left else None, jobs_too)
        resumed += said.count("resumed from step")
        if killed:
            left -= 1
            with_all_jobs += jobs_too
            hit.update(running(said) or {"no job"})
            continue
        found = made(project)
        equal = equal and found == expected
        if not left or not equal:
            break
        runs += 1  # it was through before the next kill
        begin_again()
    seconds = time.monotonic() - started
    if torture:
        stages = "; ".join(f"{stage} {count}" for stage, count in hit.most_common())
        took = (round(undisturbed), round(seconds))
        cells = (kills - left, with_all_jobs, runs, resumed, *took, "yes" if equal else "no", stages)
        lines = read_table(RECORD, COLUMNS) if RECORD.exists() else []
        write_table(RECORD, COLUMNS, [*lines, dict(zip(COLUMNS, cells, strict=True))])
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []
    assert not list((project / ".snakemake/incomplete").iterdir())
    assert wait_until(lambda: not processes(project), 20), processes(project)
