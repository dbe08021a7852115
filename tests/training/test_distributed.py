"""Two processes train as one does at the same batch, in matching epochs too, and hold the same pool."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from roclip.core.files import read_table
from roclip.model import towers
from roclip.training.distributed import Ranks
from tests.conftest import ROOT
from tests.fixtures.ranks import on_two_ranks, options_from, said, torchrun, transformer
from tests.fixtures.trainings import options, step_gradients, training_of

pytestmark = pytest.mark.slow
STEPS = 8
CONTROLS = ("random", "permuted", "own")


def note_two_epochs(ranks: Ranks, o: Any, out: Path) -> None:
    """The weights, the pool, what was drawn and the losses of each step as a file."""
    training = training_of(o, ranks)
    losses = []

    def note() -> None:
        losses.append(training.losses[training.step - 1].clone())

    rows = [training.epoch(epoch, note) for epoch in (1, 2)]
    tensors = {f"model/{name}": tensor.contiguous() for name, tensor in training.model.state_dict().items()}
    defence = training.defence
    tensors |= {"pool/features": defence.pool.features, "pool/ids": defence.pool.ids, "matches": defence.matches}
    drawn = {name: torch.tensor(value) for name, value in rows[1].items() if name in ("own_captions", "adversary_captions")}
    for name, size in (("whole", None), ("micro", 5)):
        gradients = step_gradients(training_of(replace(o, micro_batch=size), ranks))
        tensors |= {f"{name}/{kind}": gradient for kind, gradient in zip(("clip", "matching"), gradients, strict=True)}
    for control in CONTROLS:
        _, gradient = step_gradients(training_of(replace(o, match_with=control), ranks))
        tensors[f"{control}/matching"] = gradient
    skipping = training_of(replace(o, match_with="nothing"), ranks)
    for epoch in (1, 2):
        skipping.epoch(epoch)
    tensors["nothing/weights"] = torch.cat([p.detach().flatten() for p in skipping.model.parameters()])
    tensors["nothing/steps"] = torch.tensor(skipping.steps_taken)
    save_file(tensors | drawn | {"losses": torch.stack(losses)}, out / f"{ranks.count}-{ranks.rank}.safetensors")


def worker(ranks: Ranks, values: dict[str, Any], out: Path) -> None:
    """One of two ranks: two epochs, and what it says where the ranks cannot train together."""
    note_two_epochs(ranks, options_from(values), out)
    ranks.agree("the model", "same")
    faults = {
        "differ": said(lambda: ranks.agree("the data", f"of rank {ranks.rank}")),
        "odd part": said(lambda: training_of(options_from(values | {"micro_batch": 6}), ranks)),
        "odd batch": said(lambda: training_of(options_from(values | {"batch_size": 61}), ranks)),
        "batch norms": said(lambda: training_of(options_from(values | {"model": "config/models/small.json"}), ranks)),
        "any": f"{ranks.any(ranks.rank == 1)} {ranks.any(False)} {ranks.which(ranks.rank == 1)}",
        "from the first": [ranks.from_first(text) for text in (f"größer: {'x' * ranks.rank}", f"{'x' * ranks.rank}")],
    }
    (out / f"{ranks.rank}.json").write_text(json.dumps(faults))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return transformer(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def trained(few, scenes, tmp_path_factory, model) -> Path:
    """What one rank of one, and both of two, have after an epoch of CLIP and a matching one."""
    out = tmp_path_factory.mktemp("ranks")
    # some gradients, such as those of key biases, are 0 but for rounding; an eps above that keeps AdamW from blowing them up
    o = options(few, scenes, out, model=model, batch_size=30, eps=1e-4)
    note_two_epochs(Ranks(), o, out)
    on_two_ranks(worker, vars(o), out)
    return out


def test_losses_and_weights_are_those_of_one_process(trained):
    one, two = load_file(trained / "1-0.safetensors"), load_file(trained / "2-0.safetensors")
    assert len(one["losses"]) == STEPS
    torch.testing.assert_close(two["losses"], one["losses"], atol=1e-4, rtol=0)
    for name in one:
        if name.startswith("model/"):
            torch.testing.assert_close(two[name], one[name], atol=5e-4, rtol=0)
    torch.testing.assert_close(two["pool/features"], one["pool/features"], atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", ["clip", "matching"])
def test_the_gradient_is_that_of_the_whole_batch(trained, kind):
    """In one process and in two, encoded at once or five pairs at a time."""
    whole = load_file(trained / "1-0.safetensors")[f"whole/{kind}"]
    for file in ("1-0", "2-0", "2-1"):
        for how in ("whole", "micro"):
            other = load_file(trained / f"{file}.safetensors")[f"{how}/{kind}"]
            assert (other - whole).norm() < 1e-5 * whole.norm(), (file, how)


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_draws_the_same_on_two_ranks(trained, control):
    one, *two = (load_file(trained / f"{file}.safetensors")[f"{control}/matching"] for file in ("1-0", "2-0", "2-1"))
    nearest = load_file(trained / "1-0.safetensors")["whole/matching"]
    assert (one - nearest).norm() > 0.01 * nearest.norm()
    assert all((other - one).norm() < 1e-5 * one.norm() for other in two)


def test_skipped_matching_epochs_are_skipped_on_two_ranks(trained):
    one, two = load_file(trained / "1-0.safetensors"), load_file(trained / "2-0.safetensors")
    assert int(one["nothing/steps"]) == int(two["nothing/steps"]) == STEPS
    torch.testing.assert_close(two["nothing/weights"], one["nothing/weights"], atol=5e-4, rtol=0)


def test_what_is_drawn_is_counted_over_all_ranks(trained):
    one, two = load_file(trained / "1-0.safetensors"), load_file(trained / "2-0.safetensors")
    assert torch.equal(two["pool/ids"], one["pool/ids"])
    assert (two["matches"] == one["matches"]).float().mean() > 0.98  # a tie or two may fall the other way
    for name in ("own_captions", "adversary_captions"):
        torch.testing.assert_close(two[name], one[name], atol=0.02, rtol=0)


def test_both_ranks_are_the_same_to_the_bit(trained):
    first, second = (load_file(trained / f"2-{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_what_ranks_cannot_share_is_one_line_on_each(trained):
    first, second = (json.loads((trained / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second == {
        "differ": "the data differs between ranks 0 and 1; give all of them the same files and options",
        "odd part": "train.micro_batch: 6 does not divide the 15 pairs of each device",
        "odd batch": "train.batch_size: 61 cannot be shared by 2 processes",
        "batch norms": "train.batch_norm: on CPUs, processes cannot share all_ranks; use per_rank, or one process",
        "any": "True False [1]",
        "from the first": ["größer: ", ""],
    }  # fmt: skip


def test_torchrun_writes_what_one_process_writes(few, scenes, tmp_path):
    o = options(few, scenes, tmp_path, batch_norm="per_rank", checkpoint_minutes=1e-9)
    done = subprocess.run(torchrun(o), cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [row["kind"] for row in read_table(tmp_path / "history.csv", ("kind",))] == ["clip", "matching"]
    weights = sorted(path.name for path in (tmp_path / "weights").iterdir())
    assert weights == ["last_clip.safetensors", "last_matching.safetensors"]
    assert not (tmp_path / "state").exists()
    assert towers.read_record(tmp_path / "weights/last_clip.safetensors")["ranks"] == 2
    assert done.stderr.count("batch norms have the statistics of each of 2 ranks: results depend on that number") == 1
