"""The Slurm profile on a real Slurm, that of tests/workflow/slurm.sh: `make test-slurm`.

Trainings have no GPU there; memory, time and partitions are asked for as on any cluster.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from roclip.core.columns import MEASURES
from roclip.core.files import read_table
from tests.conftest import SNAKEMAKE, copy_of_the_project
from tests.fixtures.pretended_gpus import WORK, assert_never_shared, spans, two_gpus

pytestmark = pytest.mark.skipif("SLURM_CONF" not in os.environ, reason="needs a Slurm: make test-slurm")
RESULTS = Path("results/test")
MODEL = RESULTS / "models/targeted/roclip/seed10"
# for a test: look after the jobs at once, and on CPUs
SOON = ["--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10", "--slurm-no-account", "--cores", "2"]
ON_CPUS = ["--set-resources", "train:gpu=0", "encode:gpu=0"]


def snakemake(project: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [SNAKEMAKE, "--configfile", "config/test.yaml", *arguments]
    return subprocess.run(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def submitted(output: str, rule: str = "") -> list[str]:
    """The numbers of the jobs in Slurm, of all rules or of one."""
    return re.findall(rf"submitted with SLURM jobid (\d+) \(log: \S*{rule}", output)


def job(number: str) -> dict[str, str]:
    """What Slurm knows of a job."""
    shown = subprocess.run(["scontrol", "show", "job", number], capture_output=True, text=True, check=True).stdout
    return dict(re.findall(r"(\w+)=(\S*)", shown))


def wait_for(happened: Callable[[], bool], process: subprocess.Popen) -> None:
    while not happened():
        assert process.poll() is None, "it ended before that"
        time.sleep(0.2)


def files(model: Path) -> dict[str, bytes | list]:
    """What a training made, without how long it took."""
    found = {path.name: path.read_bytes() for path in model.rglob("*") if path.suffix in (".safetensors", ".csv")}
    del found["pace.csv"]
    return found


@pytest.fixture
def two(tmp_path):
    yield from two_gpus(tmp_path)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return copy_of_the_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def run(project):
    """A copy of the project in which the workflow has run through Slurm, and what it printed."""
    return project, snakemake(project, "--profile", "profiles/slurm", *SOON, *ON_CPUS)


def test_the_workflow_runs_through_sbatch_to_the_end(run):
    project, done = run
    assert done.returncode == 0, done.stdout[-6000:]
    # scenes, download, 2 attacks, 4 trainings, each of 4 models on each of 3 evaluation sets, tables and figures
    jobs = [job(number) for number in submitted(done.stdout)]
    assert [j["JobState"] for j in jobs] == ["COMPLETED"] * 21
    assert {j["Partition"] for j in jobs} == {"cpu"}
    rows = read_table(project / RESULTS / "tables/measures.csv", tuple(MEASURES))
    assert len({(r["attack"], r["defence"], r["checkpoint"]) for r in rows}) == 6
    assert (project / RESULTS / "report.html").exists()


def test_a_laptop_takes_over_what_the_cluster_made_and_makes_the_same(run):
    project, _ = run
    assert "Nothing to be done" in snakemake(project, "--cores", "1").stdout
    kept = {path: path.read_bytes() for path in (project / MODEL).rglob("*.safetensors")}
    shutil.rmtree(project / MODEL)
    assert snakemake(project, "--cores", "1", str(MODEL / "history.csv")).returncode == 0
    assert len(kept) == 2
    assert all(path.read_bytes() == weights for path, weights in kept.items())


def test_a_training_asks_for_what_the_profile_says_and_a_gpu_that_is_absent_is_one_line(run):
    project, _ = run
    target = RESULTS / "models/patch/clip/seed10"
    shutil.rmtree(project / target)
    done = snakemake(project, "--profile", "profiles/slurm", *SOON, "--retries", "0", "--", str(target / "history.csv"))
    assert done.returncode == 1
    (number,) = submitted(done.stdout)
    asked = job(number)
    assert (asked["JobState"], asked["Partition"], asked["TimeLimit"]) == ("FAILED", "gpu", "2-00:00:00")
    assert (asked["TresPerJob"], asked["MinMemoryNode"]) == ("gres:gpu:1", "62.50G")
    log = (project / RESULTS / "logs/train/patch/clip/seed10.log").read_text()
    assert re.fullmatch(
        r"\[patch clip seed 10\] error: resource gpu: 1 asked for, and nvidia-smi finds 0 on this machine, 0 of them in "
        r"CUDA_VISIBLE_DEVICES=\d; ask for no more \(0 trains on the CPU\)\n",
        log,
    )


def test_slurm_hands_out_both_gpus_and_the_locks_agree(two, tmp_path):
    (tmp_path / "work.py").write_text(WORK)
    batch = f"#!/bin/sh\nexec {sys.executable} -m roclip_command gpus 1 {sys.executable} work.py 1\n"
    (tmp_path / "batch.sh").write_text(batch)
    for n in range(6):
        command = ["sbatch", "--gpus=1", "--mem=100", "--partition=gpu", f"--output={n}.out", "batch.sh"]
        subprocess.run(command, cwd=tmp_path, env=two.environment, check=True, capture_output=True)
    wait = ["sbatch", "--wait", "--dependency=singleton", "--job-name=batch.sh", "--output=last.out", "--wrap=true"]
    subprocess.run(wait, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    had = spans([path.read_text() for path in tmp_path.glob("?.out")])  # and nothing like "waits for"
    assert sorted(had) == sorted(two.names)
    assert sum(map(len, had.values())) == 6
    assert_never_shared(had)


@pytest.mark.parametrize(("stop", "jobs"), [(["scancel"], 2), (["scontrol", "requeue"], 1)], ids=["cancelled", "requeued"])
def test_a_training_that_is_stopped_half_way_resumes_from_its_checkpoint(project, stop, jobs):
    target, changes = str(MODEL / "history.csv"), "changes.yaml"
    (project / changes).write_text("train: { epochs: 8 }\n")
    log = project / RESULTS / "logs/train/targeted/roclip/seed10.log"
    log.unlink(missing_ok=True)
    shutil.rmtree(project / MODEL, ignore_errors=True)
    command = [SNAKEMAKE, "--configfile", "config/test.yaml", changes, "--profile", "profiles/slurm", *SOON, *ON_CPUS]
    with open(project / "output", "w") as output:
        workflow = subprocess.Popen([*command, "--", target], cwd=project, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_for(lambda: log.exists() and "epoch 2/8" in log.read_text(), workflow)
            (number,) = submitted((project / "output").read_text(), "rule_train")
            subprocess.run([*stop, number], check=True)
            assert workflow.wait() == 0, (project / "output").read_text()[-6000:]
        finally:
            workflow.kill()
    assert len(submitted((project / "output").read_text(), "rule_train")) == jobs
    assert job(number)["Restarts"] == str(2 - jobs)
    # the log is the second job's
    (step,) = re.findall(r"resumed from step (\d+), in epoch [3-8]", log.read_text())
    assert "epoch 2/8" not in log.read_text()
    if stop == ["scancel"]:  # a job's own log is there as long as the job has not succeeded
        (stopped,) = project.glob(f".snakemake/slurm_logs/rule_train/*/{number}.log")
        # in the middle of an epoch, after one, or as it was measured, when the epoch's weights are saved already
        said = rf"stopped( at step {step} and saved| after epoch \d and saved)?; start it again to resume"
        assert re.search(said, stopped.read_text())
    made = files(project / MODEL)
    assert not (project / MODEL / "state").exists()
    shutil.rmtree(project / MODEL)
    assert snakemake(project, changes, "--cores", "1", target).returncode == 0
    assert files(project / MODEL) == made
