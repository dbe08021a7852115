"""What only a GPU can show; skipped where there is none.

ROCLIP_TEST_DEVICE=cpu runs those that a CPU can take, to see that they run at all. What is measured is printed (pytest -s).
"""

import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmarks import side_by_side
from benchmarks.lane_data import Recipe
from roclip.core.options import flags
from roclip.training.distributed import Ranks
from roclip.training.estimate import project
from roclip.training.trainer import Training
from tests.fixtures import two_ranks
from tests.fixtures.lanes import apart, lane_of
from tests.fixtures.made_up import options, training_of, write_data

DEVICE = os.environ.get("ROCLIP_TEST_DEVICE", "cuda")
pytestmark = pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="there is no GPU")
gpu_only = pytest.mark.skipif(DEVICE == "cpu", reason="a CPU cannot")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("made_up"), pairs=1024 if DEVICE == "cuda" else 256)


def on(device: str, folder: Path, **changes) -> Training:
    given = options(folder, device=device, **changes)
    return training_of(given, Ranks(device=torch.device(device, 0) if device == "cuda" else torch.device(device)))


def gradient(training: Training) -> torch.Tensor:
    return torch.cat([p.grad.flatten().cpu() for p in training.model.parameters() if p.grad is not None])


@pytest.mark.parametrize("images", ["memory", "files"])
@pytest.mark.parametrize("epoch", [1, 2], ids=["clip", "matching"])
@pytest.mark.parametrize("tf32", [False, True])
def test_a_step_is_that_of_the_cpu(folder, epoch, images, tf32, monkeypatch):
    """From the same state, in float32: loss, gradient and, of a matching step, the captions that are drawn."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", tf32)
    cpu, gpu = on("cpu", folder, images=images), on(DEVICE, folder, images=images)
    if epoch == 2:
        cpu.epoch(1)
        cpu.begin_epoch()
        gpu.restore(*cpu.state())
    for training in (cpu, gpu):
        next(training.steps(epoch))
    loss, other = float(cpu.losses[0]), float(gpu.losses[0])
    mine, theirs = gradient(gpu), gradient(cpu)
    error = float((mine - theirs).norm() / theirs.norm())
    same = float((gpu.defence.matches.cpu() == cpu.defence.matches).float().mean())
    print(
        f"\nstep on {DEVICE}: epoch {epoch} {images} tf32 {tf32}: loss {loss:.6f} {other:.6f}, gradient {error:.1e}, "
        f"matches {same:.4f}"
    )
    assert abs(loss - other) < (1e-2 if tf32 else 1e-4)
    assert error < (5e-2 if tf32 else 1e-3)
    assert same > 0.99


@gpu_only
@pytest.mark.parametrize("epoch", [1, 2], ids=["clip", "matching"])
def test_no_step_waits_for_the_host(folder, epoch):
    training = on(DEVICE, folder, precision="bf16")
    run = training.steps(epoch)
    for _ in range(3):  # what is cached comes to the device
        next(run)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(5):
            next(run)
            assert training.ranks.any(False) is False
    finally:
        torch.cuda.set_sync_debug_mode("default")


def start(given, *launcher: str, **environment: str) -> subprocess.Popen:
    """The train stage in a process of its own."""
    words = flags(asdict(given)).split()
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "roclip_command", "train", *words],
        env=os.environ | environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen, seconds: float = 80 if DEVICE == "cuda" else 240) -> tuple[int, str]:
    try:
        error = process.communicate(timeout=seconds)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        error = process.communicate()[1] + f"\nkilled after {seconds} s"
    return process.returncode, error


def test_deterministic_trainings_repeat_themselves_to_the_bit(folder, tmp_path):
    """One in one go, one that is told to stop and goes on."""
    given = {"deterministic": True, "precision": "auto", "epochs": 8, "device": DEVICE}
    whole = start(options(folder, out=tmp_path / "whole", **given))
    parts = start(options(folder, out=tmp_path / "parts", **given))
    deadline = time.monotonic() + (70 if DEVICE == "cuda" else 300)
    while not list(tmp_path.glob("parts/state/*/step*")) and parts.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    parts.send_signal(signal.SIGTERM)
    code, error = finish(parts)
    assert code == os.EX_TEMPFAIL, error
    code, error = finish(start(options(folder, out=tmp_path / "parts", **given)))
    assert code == 0, error
    assert "resumed from step" in error
    code, error = finish(whole)
    assert code == 0, error
    for name in ("last_clip", "last_matching"):
        one, other = (load_file(tmp_path / run / f"weights/{name}.safetensors") for run in ("whole", "parts"))
        assert all(torch.equal(one[key], other[key]) for key in one)
    for name in ("history.csv", "tables/matches.csv", "cosines.csv"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """What two ranks note of trainings that they share, on one GPU with synchronised batch norms; and their folder."""
    folder = two_ranks.write(tmp_path_factory.mktemp("shared"))
    words = [sys.executable, "-m", "tests.fixtures.two_ranks", folder]
    started = [subprocess.Popen([*words, str(rank), folder, DEVICE], stderr=subprocess.PIPE, text=True) for rank in range(2)]
    for code, error in [finish(process) for process in started]:
        assert code == 0, error
    return folder, torch.load(folder / "ranks.pt")


@pytest.mark.parametrize("kind", two_ranks.KINDS)
@pytest.mark.parametrize(("double", "bound"), [(True, 1e-6), (False, 1e-3)], ids=["float64", "float32"])
def test_a_step_of_two_ranks_is_that_of_one_process(shared, kind, double, bound):
    """Loss and gradient. In float64 rounding is far below the bound (the loss itself is in float32): more is a fault."""
    folder, noted = shared
    alone, theirs = two_ranks.first_step(two_ranks.made(folder, DEVICE, double=double), kind), noted[kind, double]
    error = float((theirs["gradient"] - alone["gradient"]).norm() / alone["gradient"].norm())
    away = float(theirs["loss"] - alone["loss"])
    print(f"\ntwo ranks, {kind}, {'float64' if double else 'float32'}: loss {away:+.1e}, gradient {error:.1e}")
    assert abs(away) < bound
    assert error < bound


def test_two_epochs_of_two_ranks_are_as_far_from_one_process_as_rounding_takes_them(shared):
    """The scale: how far runs of one process are from each other whose first weights differ in the last bit."""
    folder, noted = shared
    alone, twins = two_ranks.two_epochs(two_ranks.made(folder, DEVICE)), []
    for seed in range(3):
        twin = two_ranks.made(folder, DEVICE)
        two_ranks.move_last_bits(twin, seed)
        twins.append(two_ranks.two_epochs(twin))
    for epoch, (loss, theirs) in enumerate(zip(alone, noted["losses"], strict=True)):
        spread = (sum((twin[epoch] - loss) ** 2 for twin in twins) / len(twins)) ** 0.5
        print(f"\nmean loss of epoch {epoch + 1}: alone {loss:.6f}, two ranks {theirs - loss:+.1e}, twins {spread:.1e}")
        assert abs(theirs - loss) < 5 * spread + 1e-5


@gpu_only
def test_nccl_starts(folder, tmp_path):
    """A rank of its own under torchrun."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1")
    code, error = finish(start(options(folder, out=tmp_path / "one", device=DEVICE), *launcher))
    assert code == 0, error
    assert (tmp_path / "one/weights/last_matching.safetensors").exists()


SHORT = """
import runpy, torch
torch.cuda.set_per_process_memory_fraction(0.0003)
runpy.run_module('roclip_command', run_name='__main__', alter_sys=True)
"""


@gpu_only
def test_too_little_memory_is_one_line(folder, tmp_path):
    words = flags(asdict(options(folder, out=tmp_path / "short", device=DEVICE))).split()
    done = subprocess.run([sys.executable, "-c", SHORT, "train", *words], capture_output=True, text=True, timeout=60)
    last = done.stderr.strip().splitlines()[-1]
    print(f"\ntoo little memory: status {done.returncode}, {len(done.stderr.splitlines())} lines, last: {last[:200]}")
    assert done.returncode == 1
    assert last.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_the_memory_that_is_announced_is_what_is_used(folder):
    training = on(DEVICE, folder, epochs=120, batch_size=32 if DEVICE == "cuda" else 8, precision="auto")
    announced = project(training, 1)
    training.epoch(1)
    training.epoch(2)
    if DEVICE == "cuda":
        used = torch.cuda.max_memory_reserved()
        print(f"\nmemory announced {announced.gpu_memory / 1e6:.0f} MB, used {used / 1e6:.0f} MB")
        assert announced.gpu_memory == pytest.approx(used, rel=0.2)
    assert announced.seconds > 0


@gpu_only
def test_graphs_on_streams_are_the_steps_that_they_were_made_of(folder, monkeypatch):
    """Three trainings side by side, each as three kinds of graphs, against the same ones step by step."""
    recipes = [Recipe(2, 2), Recipe(2, augment=False), Recipe(2, 2, "random")]
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    training = on("cpu", folder)
    found: dict[bool, list] = {False: [], True: []}
    models: dict[bool, list] = {False: [], True: []}
    for graphs in (False, True):
        group = [lane_of(training, recipe, DEVICE) for recipe in recipes]
        if graphs:
            for lane in group:
                lane.capture()
        started = time.perf_counter()
        assert side_by_side.train(group, found[graphs].append, float("inf"))
        seconds = time.perf_counter() - started
        print(f"\nlanes with graphs {graphs}: {sum(lane.steps_planned() for lane in group) / seconds:.0f} steps/s")
        models[graphs] = group
    losses = [[float(row["loss"]) for row in found[graphs]] for graphs in (False, True)]
    print(f"losses {losses}")
    assert losses[0] == pytest.approx(losses[1], abs=5e-3)
    for one, other in zip(*models.values(), strict=True):
        away = apart(one.model, other.model, one.beginning)
        print(f"apart {away:.4f}")
        assert away < 0.1
