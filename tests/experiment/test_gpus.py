"""GPUs are never shared: two pretended ones, which a stand-in for nvidia-smi lists, and many real processes."""

import random
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml

from roclip.core.errors import UserError
from roclip.experiment.gpus import main, usable
from roclip.model.towers import Runtime
from tests.conftest import ROOT
from tests.fixtures.pretended_gpus import WORK, assert_never_shared, spans, two_gpus

GPUS = [sys.executable, "-m", "roclip_command", "gpus"]


@pytest.fixture
def two(tmp_path):
    yield from two_gpus(tmp_path)


def start(two, count: int, seconds: float, **environment) -> subprocess.Popen:
    command = [*GPUS, str(count), sys.executable, "-c", WORK, str(seconds)]
    return subprocess.Popen(
        command, env={**two.environment, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_many_jobs_on_two_gpus_never_share_one(two):
    jobs = [start(two, 1, 0.15) for _ in range(20)]
    outputs = [job.communicate(timeout=60)[0] for job in jobs]
    had = spans(outputs)
    assert_never_shared(had)
    assert sorted(had) == sorted(two.names)
    assert sum(map(len, had.values())) == 20
    assert all(len(times) > 4 for times in had.values())  # both were at work


def test_a_killed_job_gives_its_gpu_back_and_only_its_own(two):
    draw = random.Random(0)
    jobs = [start(two, 1, 0.2) for _ in range(16)]
    ends = {}
    while alive := [n for n, job in enumerate(jobs) if job.poll() is None]:
        victim = draw.choice(alive)
        if victim % 2:
            # noted before the signal: who has the GPU next has it later
            ends.setdefault(victim, time.monotonic())
            jobs[victim].send_signal(signal.SIGKILL)
        time.sleep(0.05)
    outputs = [job.communicate(timeout=60)[0] for job in jobs]
    assert {-signal.SIGKILL} <= {job.returncode for job in jobs} <= {0, -signal.SIGKILL}
    assert all(outputs[n].count("\n") == 2 for n in range(0, 16, 2))  # those that nobody killed came to their end
    assert_never_shared(spans(outputs, ends))


def test_one_that_wants_both_waits_for_both_and_is_not_passed_over(two):
    first = start(two, 1, 1.5)
    first.stdout.readline()
    both = start(two, 2, 0.2)
    assert both.stderr.readline() == f"waits for 1 of the GPUs {', '.join(two.names)}\n"
    later = [start(two, 1, 0.1) for _ in range(3)]
    names, _, until = both.communicate(timeout=30)[0].split()
    assert sorted(names.split(",")) == sorted(two.names)
    for job in later:
        assert float(until) <= float(job.communicate(timeout=30)[0].split()[1])
    first.communicate()


def test_the_command_keeps_its_arguments_streams_and_status(two):
    command = [*GPUS, "2", "sh", "-c", 'cat; echo "$1"; exit 75', "sh", "a  b"]
    done = subprocess.run(command, env=two.environment, input="in\n", capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (75, "in\na  b\n", "")


def test_none_asked_for_changes_nothing(two):
    for environment in (two.environment, two.environment | {"CUDA_VISIBLE_DEVICES": "1"}):
        command = [*GPUS, "0", "sh", "-c", 'echo "${CUDA_VISIBLE_DEVICES-unset}"']
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.stdout.strip() == environment.get("CUDA_VISIBLE_DEVICES", "unset")


def test_only_those_that_are_visible_are_handed_out(two):
    assert start(two, 1, 0, CUDA_VISIBLE_DEVICES="1").communicate()[0].split()[0] == two.names[1]
    refused = start(two, 2, 0, CUDA_VISIBLE_DEVICES="1")
    assert refused.communicate()[1] == (
        "error: resource gpu: 2 asked for, and nvidia-smi finds 2 on this machine, 1 of them in CUDA_VISIBLE_DEVICES=1; "
        "ask for no more (0 trains on the CPU)\n"
    )
    assert refused.returncode == 1


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, ["GPU-aa1", "GPU-ab2"]), ("1,0", ["GPU-ab2", "GPU-aa1"]), ("0, 0", ["GPU-aa1"]), ("1,-1,0", ["GPU-ab2"]),
        ("", []), ("-1", []), ("NoDevFiles", []), ("7", []), ("GPU-ab", ["GPU-ab2"]), ("GPU-a", []), ("MIG-x", ["MIG-x"]),
    ],
)  # fmt: skip
def test_visible_gpus_are_read_as_cuda_reads_them(visible, expected):
    assert usable(["GPU-aa1", "GPU-ab2"], visible) == expected


@pytest.mark.parametrize(
    ("lister", "message"),
    [
        (None, "resource gpu: 1 asked for, and nvidia-smi finds 0 on this machine; ask for no more (0 trains on the CPU)"),
        ("echo 'No driver'; exit 9", "nvidia-smi failed (No driver); repair the GPU's driver"),
    ],
)
def test_a_gpu_that_is_absent_is_one_line(tmp_path, monkeypatch, lister, message):
    if lister:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{lister}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(UserError, match=re.escape(message)):
        main(["1", "true"])


@pytest.mark.parametrize("arguments", [[], ["1"], ["-1", "true"], ["roclip", "train"]])
def test_a_wrong_command_line_is_one_line(arguments):
    with pytest.raises(UserError, match=r"^usage: roclip gpus COUNT COMMAND"):
        main(arguments)


def test_towers_do_not_fall_back_to_the_cpu_when_a_gpu_was_asked_for(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aa")
    with pytest.raises(UserError, match=r"^train\.device: 1 GPU needed, and PyTorch sees 0; use cpu"):
        Runtime.choose("bf16", 1)
    assert Runtime.choose("bf16", 1, "cpu").device.type == "cpu"
    for none in ("", "-1", "NoDevFiles"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert Runtime.choose("bf16", 1).device.type == "cpu"


def test_too_few_gpus_are_one_line_on_every_rank(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    for rank in range(4):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        with pytest.raises(UserError, match=r"^train\.device: 4 GPUs needed, and PyTorch sees 2; use cpu, or fewer processes$"):
            Runtime.choose("bf16", 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine where CUDA does not start")
def test_a_gpu_that_does_not_start_is_one_line(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(UserError, match=r"^train\.device: GPU 0 cannot be used \([^\n]+\); see nvidia-smi$"):
        Runtime.choose("bf16", 1)


SNAKEFILE = """
rule all:
    input:
        expand("{n}.txt", n=range(6)),


rule train:
    output:
        "{n}.txt",
    resources:
        gpu=0,
    shell:
        "python -m roclip_command gpus {resources.gpu} python WORK 0.3 > {output}"
"""


@pytest.mark.slow
def test_the_profile_runs_one_training_a_gpu(two, tmp_path):
    """In a workflow of the same shape: 6 trainings, 2 GPUs, and cores for all of them at once."""
    (tmp_path / "work.py").write_text(WORK)
    (tmp_path / "Snakefile").write_text(SNAKEFILE.replace("WORK", str(tmp_path / "work.py")))
    command = ["snakemake", "--profile", str(ROOT / "profiles/gpu"), "--cores", "6", "--resources", "gpu=2"]
    done = subprocess.run(command, cwd=tmp_path, env=two.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "waits for" not in done.stderr  # the scheduler starts no more jobs than there are GPUs
    had = spans([path.read_text() for path in tmp_path.glob("?.txt")])
    assert sorted(had) == sorted(two.names)
    assert sum(map(len, had.values())) == 6
    assert_never_shared(had)


def test_what_uses_gpus_takes_them_and_both_profiles_give_it_one():
    text = "".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    rules = dict(re.findall(r"^rule (\w+):\n(.*?)(?=^rule |^use rule |\Z)", text, re.DOTALL | re.MULTILINE))
    users = [name for name, body in rules.items() if re.search(r"^ +gpu=", body, re.MULTILINE)]
    assert set(users) == {"filter", "train", "encode", "detect"}
    for name in users:
        assert re.search(r"roclip logged .*\{log:q\} roclip gpus \{resources\.gpu\} (roclip|\{params\.stage\})", rules[name])
        assert re.search(r"^ +gpu=0,", rules[name], re.MULTILINE)  # none without a profile
    for profile in ("gpu", "slurm"):
        settings = yaml.safe_load((ROOT / f"profiles/{profile}/config.yaml").read_text())["set-resources"]
        assert all(settings[name]["gpu"] == 1 for name in [*users, "repair"])  # which is as a training
