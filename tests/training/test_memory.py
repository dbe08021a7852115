"""A training whose memory does not suffice ends with one line, and what the line says fits."""

import errno
import json
import os
import re
import subprocess
import sys
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from roclip.core.errors import UserError, is_out_of_memory
from roclip.model import towers
from roclip.model.configs import model_config
from roclip.training import memory, train
from roclip.training.memory import bytes_a_pair, fitting
from roclip.training.trainer import Training
from tests.conftest import ROOT
from tests.fixtures.trainings import command, options, training_of

GB = 10**9


def test_what_fits_is_the_largest_divisor_for_which_there_is_room():
    # 90% of 24 GB less 1.6 GB are 20 GB: 400 pairs of 50 MB, and of 512's divisors 256
    assert fitting(512, 512, 1.6 * GB, 0.05 * GB, 24 * GB) == 256
    assert fitting(512, 256, 1.6 * GB, 0.05 * GB, 24 * GB) == 128  # 256 ran out, whatever was counted
    assert fitting(480, 480, 1.6 * GB, 0.05 * GB, 24 * GB) == 240
    assert fitting(96, 96, 0, 1 * GB, 100 * GB) == 48  # 90, of which no divisor of 96 is larger
    assert fitting(96, 97, 0, 0.9 * GB, 96 * GB) == 96  # all of them, to the byte
    assert fitting(7, 7, 0, 1, 100) == 1
    assert fitting(512, 512, 22 * GB, 1, 24 * GB) is None
    assert fitting(1, 1, 0, 1, 100) is None


def test_what_a_forward_pass_leaves_is_counted_once():
    """Of each row a product keeps 3 numbers, a ReLU the 5 that it gives, and so does exp; weights are held anyway."""
    layer = torch.nn.Linear(3, 5)

    def tower(rows: torch.Tensor, normalize: bool) -> torch.Tensor:
        return layer(rows).relu().exp()

    ten, four = (memory._left(tower, torch.ones(n, 3, requires_grad=True)) for n in (10, 4))
    assert ten - four == 6 * 4 * (3 + 5 + 5)


class OnGPU(towers.Runtime):
    """Attention as a GPU has it, which keeps no matrices."""

    def attention(self) -> AbstractContextManager:
        return sdpa_kernel(SDPBackend.FLASH_ATTENTION)


@pytest.mark.slow
def test_what_a_gpu_needed_is_what_is_counted():
    """RN50 at 512 pairs in bfloat16, with weights, gradients, moments and images: 36.8 GB on an H100 (docs/benchmarks.md)."""
    config = model_config("RN50")
    model = towers.create(config)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    each = bytes_a_pair(model, config, OnGPU(torch.device("cpu"), bf16=True))
    weights = sum(parameter.nbytes for parameter in model.parameters())
    counted = 512 * sum(each) + 4 * weights + 2 * 512 * 3 * 224**2 * 4
    assert counted == pytest.approx(36.8 * GB, rel=0.03)
    assert model.training
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you"), True),
        (MemoryError(), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError(errno.ENOENT, "out of memory.csv"), False),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_which_errors_say_so(error, expected):
    assert is_out_of_memory(error) is expected


SHORTAGE = 250_000_000
# a training whose address space ends so many bytes beyond what it has when its steps begin
SHORT = """
import resource, sys, psutil, roclip_command
from roclip.training import run
go_on = run._run
def short(training, *rest):
    used = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[1]), resource.RLIM_INFINITY))
    return go_on(training, *rest)
run._run = short
sys.exit(roclip_command.main(sys.argv[2:]))
"""


def short_of_memory(o: Any, beyond: int) -> subprocess.CompletedProcess:
    _, _, *words = command(o)
    # large blocks go back to the system as they are freed, and are seen to be free
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    call = [sys.executable, "-c", SHORT, str(beyond), *words]
    return subprocess.run(call, cwd=ROOT, capture_output=True, text=True, env=environment)


@pytest.mark.slow
def test_what_does_not_fit_is_one_line_and_what_it_says_fits(few, scenes, tmp_path):
    path = tmp_path / "large.json"
    config = json.loads((ROOT / "config/models/small.json").read_text())
    config["vision_cfg"]["image_size"] = 96  # 3.5 MB a pair
    path.write_text(json.dumps(config))
    o = options(few, scenes, tmp_path, kind="clip", model=str(path), batch_size=128, epochs=1, warmup_steps=0)
    done = short_of_memory(o, SHORTAGE)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    fits = re.fullmatch(
        r"error: train\.micro_batch: 128 pairs at a time do not fit into the 0\.2\d GB of memory that a step can have; "
        r"(\d+) would, or make train\.batch_size smaller",
        done.stderr.splitlines()[-1],
    )
    assert fits, done.stderr
    done = short_of_memory(replace(o, micro_batch=int(fits[1])), SHORTAGE)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_where_memory_runs_out_checkpoints_stay(few, scenes, tmp_path, monkeypatch):
    o = options(few, scenes, tmp_path, checkpoint_minutes=1e-9)
    take_step = Training.take_step

    def step(training: Training, *arguments: Any) -> None:
        take_step(training, *arguments)
        if training.steps_taken == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with monkeypatch.context() as context:
        context.setattr(Training, "take_step", step)
        context.setattr(memory, "held_and_free", lambda device: (0, 20_000_000))
        # 90% of that without gradients of 8 MB and 1.6 MB of images leave 8 MB for an image's .35 MB: 22, and 64 / 4 below
        with pytest.raises(
            UserError, match=r"^train\.micro_batch: 64 pairs at a time .* 0\.02 GB of memory .*; 16 would, or make"
        ):
            train.run(o)
    assert [path.name for path in (tmp_path / "state").glob("step*")] == ["step000000001.safetensors"]
    train.run(o)


@pytest.mark.slow
def test_where_not_even_one_pair_fits_the_line_says_so(few, scenes, tmp_path, monkeypatch):
    training = training_of(options(few, scenes, tmp_path))
    monkeypatch.setattr(memory, "held_and_free", lambda device: (0, 10_000_000))
    with (
        pytest.raises(UserError, match=r"0\.01 GB of memory that a step can have, nor do fewer; train on a device with more"),
        memory.explained(training),
    ):
        raise MemoryError
    with pytest.raises(ZeroDivisionError), memory.explained(training):
        raise ZeroDivisionError


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "peak", "total", "said"),
    [
        (None, 120, 140, None),  # a tenth of 140 is left
        (None, 120, 125, 32),  # 24 are of no pair, for 64 pairs hold 96; of 112.5 the rest is room for 88
        (32, 56, 60, 16),  # some at a time, image and caption are not held together: 24 again, and room for 30
        (16, 40, 41, 8),  # room for 12
    ],
)
def test_what_took_nearly_all_memory_is_said(few, scenes, tmp_path, monkeypatch, caplog, size, peak, total, said):
    """With 1 MB an image and .5 MB a caption; MB throughout."""
    training = training_of(options(few, scenes, tmp_path, micro_batch=size))
    monkeypatch.setattr(memory, "held_and_free", lambda device: (total * 10**6 // 2, total * 10**6 // 2))
    monkeypatch.setattr(memory, "bytes_a_pair", lambda *_: (1e6, 0.5e6))
    memory.warn(training, peak * 10**6)
    said = (
        f"steps take {peak / 1e3:.2f} of {total / 1e3:.2f} GB of memory; should that run out, set train.micro_batch to {said}"
    )
    assert [line for line in caplog.messages if line.startswith("steps take")] == [said] * (peak > 0.9 * total)
