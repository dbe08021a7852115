"""No step waits for the GPU: through the loop of a training, on a device that is pretended (fixtures/pretended_cuda.py)."""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._pytree import tree_leaves

from roclip.training import run
from roclip.training.distributed import Ranks
from roclip.training.resume import States
from roclip.training.signals import StopSignals
from roclip.training.trainer import Training
from tests.fixtures.pretended_cuda import PretendedGpu, pretended_cuda
from tests.fixtures.trainings import options, training_of

GPU = torch.device("cuda", 0)
ALONE = Ranks(device=GPU)
ALONE = Ranks(device=GPU)
CASES = {
    "clip": {"kind": "clip"},
    "clip epochs augmented": {"kind": "roclip", "match_every": 2},
    "matching": {"kind": "roclip", "match_every": 1},
    "random captions": {"kind": "roclip", "match_every": 1, "match_with": "random"},
    "permuted captions": {"kind": "roclip", "match_every": 1, "match_with": "permuted"},
    "own captions": {"kind": "roclip", "match_every": 1, "match_with": "own"},
    "zeros for gradients": {"kind": "roclip", "match_every": 1, "caption_gradient": "zeros"},
    "files": {"kind": "roclip", "match_every": 1, "images": "files"},
    "files, not augmented": {"kind": "clip", "images": "files"},
}
DRAWN = ("random captions", "permuted captions")  # which draw anew in each step

VIT = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "layers": 1, "width": 64, "head_width": 32},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}


class Enough(Exception):
    pass


@pytest.fixture
def gpu(monkeypatch) -> Iterator[PretendedGpu]:
    with pretended_cuda(monkeypatch) as gpu:
        yield gpu


def trained(monkeypatch: pytest.MonkeyPatch, gpu: PretendedGpu, made: Any, ranks: Ranks = ALONE) -> SimpleNamespace:
    """Train an epoch of four steps as the stage does. What the host waited for in all but the first, and what was at work."""
    seen, waits, take_step = [], [], Training.take_step

    def counted(training: Training, batch: Any, *others: Any) -> None:
        waits.extend(gpu.waits if seen else [])
        gpu.waits.clear()
        take_step(training, batch, *others)
        waits.extend(gpu.waits if seen else [])
        gpu.waits.clear()
        gpu.step += 1
        seen.append(batch)

    def stop(*_: Any) -> None:
        raise Enough

    monkeypatch.setattr(Training, "take_step", counted)
    monkeypatch.setattr(run, "restart", lambda *_: ([], []))  # no state is there, and pretended ranks could not agree
    monkeypatch.setattr(States, "save", stop)  # after the last step of the epoch
    training = training_of(made, ranks)
    with pytest.raises(Enough), StopSignals().taken() as signals:
        run._run(training, States(made.out / "state", {}), signals)
    assert len(seen) == 4
    return SimpleNamespace(training=training, batches=seen, waits=waits)


@pytest.mark.parametrize("case", CASES)
def test_no_step_waits_for_the_gpu(case, few, scenes, tmp_path, monkeypatch, gpu):
    made = options(few, scenes, tmp_path, **CASES[case], batch_size=32, device="cuda", precision="bf16")
    done = trained(monkeypatch, gpu, made)
    at_the_end = [wait for wait in done.waits if wait.startswith("for the device: roclip/training/feed.py")]
    assert len(at_the_end) == (made.images == "files")  # once in an epoch, before the last step
    # a slot for each image, a few bytes from pinned memory, goes where the step computes; the host does not wait for it
    slots = [fault for fault in gpu.faults if case in DRAWN and fault.startswith("copied on the stream that computes")]
    assert bool(slots) == (case in DRAWN)
    assert (
        [wait for wait in done.waits if wait not in at_the_end] == [fault for fault in gpu.faults if fault not in slots] == []
    )
    assert gpu.largest < 32 * 3 * 32**2  # images are in pinned memory from the start
    assert gpu.copied == 4 * (3 + done.training.options.augment_images)
    assert_on(GPU, done)


@pytest.mark.parametrize("deterministic", [True, False])
def test_cudnn_searches_where_bits_need_not_repeat(deterministic, few, scenes, tmp_path, monkeypatch, gpu):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", deterministic)
    training_of(options(few, scenes, tmp_path, "clip", device="cuda", deterministic=deterministic))
    assert torch.backends.cudnn.benchmark != deterministic
    training_of(options(few, scenes, tmp_path, "clip"))
    assert not torch.backends.cudnn.benchmark


@pytest.mark.parametrize(("times", "where"), [(4.01, "on the GPU"), (3.99, "in the host's memory")])
def test_images_stay_where_there_is_room(times, where, few, scenes, tmp_path, monkeypatch, gpu, caplog):
    caplog.set_level("INFO")
    gpu.memory = int(times * 136 * 3 * 32**2)
    done = trained(monkeypatch, gpu, options(few, scenes, tmp_path, batch_size=32, device="cuda", precision="bf16"))
    assert f"they stay {where}" in caplog.text
    assert gpu.largest < 32 * 3 * 32**2
    assert done.training.images.images.device.type == ("cuda" if where == "on the GPU" else "cpu")
    assert done.waits == gpu.faults == []


def assert_on(device: torch.device, done: SimpleNamespace) -> None:
    """Every tensor of a step is where it should be."""
    training = done.training
    state, _ = training.state()
    gradients = [parameter.grad for parameter in training.model.parameters()]
    parts = state, gradients, [vars(batch) for batch in done.batches], training.losses, training.audit.sums
    tensors = [leaf for leaf in tree_leaves(parts) if isinstance(leaf, Tensor)]
    assert len(tensors) > 100
    assert {tensor.device for tensor in tensors} == {device}
    assert any(name.startswith("optimizer/") for name in state)


def test_no_step_of_several_ranks_waits_either(few, scenes, tmp_path, monkeypatch, gpu):
    model = tmp_path / "small_vit.json"  # SyncBatchNorm does wait, in each layer
    model.write_text(json.dumps(VIT))
    dist.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    try:
        made = options(
            few, scenes, tmp_path, "roclip", match_every=1, batch_size=32, device="cuda", precision="bf16", model=str(model)
        )
        monkeypatch.setattr(Ranks, "agree", lambda *_: None)
        done = trained(monkeypatch, gpu, made, Ranks(0, 2, GPU))
    finally:
        dist.destroy_process_group()
    assert done.waits == gpu.faults == []
    assert_on(GPU, done)
