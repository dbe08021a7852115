"""Two processes train as one does at the same batch, in matching epochs too, and hold the same pool."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from roclip.core.files import read_table
from roclip.core.options import flags
from roclip.training.distributed import Ranks
from roclip.training.trainer import Training
from tests.conftest import ROOT
from tests.fixtures.trainings import options

pytestmark = pytest.mark.slow
# layer norms only: batch norms need the statistics of the whole batch, which torch shares between GPUs only
TRANSFORMER = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "layers": 2, "width": 64, "head_width": 32},
    "text_cfg": json.loads((ROOT / "config/models/small.json").read_text())["text_cfg"],
}
STEPS = 20


def worker(rank: int, count: int, port: int, o: TrainOptions, out: Path) -> None:
    """Two epochs on one of `count` ranks; the weights, the pool and the losses of each step as a file."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": str(count)}
    with Ranks.joined(torch.device("cpu")) as ranks:
        training = Training(o, ranks)
        losses = []

        def note() -> None:
            losses.append(training.losses[training.step - 1].clone())

        rows = [training.epoch(epoch, note) for epoch in (1, 2)]
    tensors = {f"model/{name}": tensor.contiguous() for name, tensor in training.model.state_dict().items()}
    tensors |= {
        "pool/features": training.defence.pool.features,
        "pool/rows": training.defence.pool.ids,
        "matches": training.defence.matches,
    }
    drawn = {name: torch.tensor(value) for name, value in rows[1].items() if name in ("own_captions", "adversary_captions")}
    save_file(tensors | drawn | {"losses": torch.stack(losses)}, out / f"{count}-{rank}.safetensors")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("model") / "transformer.json"
    path.write_text(json.dumps(TRANSFORMER))
    return str(path)


@pytest.fixture(scope="module")
def trained(poisoned, scenes, tmp_path_factory, model) -> Path:
    """What one rank of one, and both of two, have after an epoch of CLIP and a matching one."""
    out = tmp_path_factory.mktemp("ranks")
    # some gradients, such as those of key biases, are 0 but for rounding; an eps above that keeps AdamW from blowing them up
    o = options(poisoned, scenes, out, model=model, batch_size=60, eps=1e-4)
    for count in (1, 2):
        torch.multiprocessing.spawn(worker, (count, free_port(), o, out), count)
    return out


def test_losses_and_weights_are_those_of_one_process(trained):
    one, two = load_file(trained / "1-0.safetensors"), load_file(trained / "2-0.safetensors")
    assert len(one["losses"]) == STEPS
    torch.testing.assert_close(two["losses"], one["losses"], atol=1e-4, rtol=0)
    for name in one:
        if name.startswith("model/"):
            torch.testing.assert_close(two[name], one[name], atol=5e-4, rtol=0)
    torch.testing.assert_close(two["pool/features"], one["pool/features"], atol=1e-3, rtol=0)


def test_what_is_drawn_is_counted_over_all_ranks(trained):
    one, two = load_file(trained / "1-0.safetensors"), load_file(trained / "2-0.safetensors")
    assert torch.equal(two["pool/rows"], one["pool/rows"])
    assert (two["matches"] == one["matches"]).float().mean() > 0.98  # a tie or two may fall the other way
    for name in ("own_captions", "adversary_captions"):
        torch.testing.assert_close(two[name], one[name], atol=0.02, rtol=0)


def test_both_ranks_are_the_same_to_the_bit(trained):
    first, second = (load_file(trained / f"2-{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)


def torchrun(o: TrainOptions, *before: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_addr=127.0.0.1"]
    command += [f"--master_port={free_port()}", *before, "-m", "roclip.training.train", *flags(vars(o)).split()]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)


def test_torchrun_writes_what_one_process_writes(poisoned, scenes, tmp_path, model):
    o = replace(options(poisoned, scenes, tmp_path, model=model), checkpoint_minutes=1e-9)
    done = torchrun(o)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [row["kind"] for row in read_table(tmp_path / "history.csv", ("kind",))] == ["clip", "matching"]
    assert sorted(path.name for path in (tmp_path / "weights").iterdir()) == [
        "last_clip.safetensors",
        "last_matching.safetensors",
    ]
    assert not (tmp_path / "state").exists()


def test_a_batch_that_cannot_be_shared_is_one_line(poisoned, scenes, tmp_path, model):
    done = torchrun(options(poisoned, scenes, tmp_path, model=model, batch_size=61))
    assert done.returncode != 0
    assert "error: train.batch_size: 61 cannot be shared by 2 processes" in done.stderr


def disagree(rank: int, port: int, out: Path) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": "2"}
    with Ranks.joined(torch.device("cpu")) as ranks:
        ranks.agree("the model", "same")
        try:
            ranks.agree("the data", f"of rank {rank}")
        except Exception as error:
            (out / str(rank)).write_text(f"{error} {ranks.any(rank == 1)} {ranks.any(False)}")


def test_ranks_with_different_data_all_say_so(tmp_path):
    torch.multiprocessing.spawn(disagree, (free_port(), tmp_path), 2)
    said = {path.read_text() for path in tmp_path.iterdir()}
    assert said == {"the data differs between ranks 0 and 1; give all of them the same files and options True False"}
