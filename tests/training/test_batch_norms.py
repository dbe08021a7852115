"""Batch norms of several ranks have the statistics of the whole batch, or of each part; nothing else of a model changes."""

import copy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from timm.layers import BatchNormAct2d, EvoNorm2dB0, FrozenBatchNormAct2d
from timm.layers.split_batchnorm import SplitBatchNorm2d
from torch import nn

from roclip.core.errors import UserError
from roclip.model import towers
from roclip.model.configs import model_config
from roclip.training import batch_norms
from roclip.training.distributed import Ranks
from roclip.training.optimizer import parameter_groups
from roclip.training.trainer import Training
from tests.fixtures.ranks import OfParts, OverRanks, compute_in_doubles, on_two_ranks, options_from, replace_batch_norms
from tests.fixtures.trainings import options, training_of

GPU = torch.device("cuda")  # by name: nothing is computed there
SMALL = "config/models/small.json"


@pytest.fixture(scope="module")
def efficientnet() -> nn.Module:
    """A tower of timm with batch norms whose statistics, scale and shift are not those of the beginning."""
    torch.manual_seed(0)
    tower = timm.create_model("efficientnet_b0", num_classes=4, drop_rate=0.0).to(memory_format=torch.channels_last)
    for module in tower.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                tensor.add_(0.1 * torch.rand_like(tensor))
    return tower


@pytest.mark.parametrize("training", [True, False])
def test_a_converted_tower_of_timm_gives_what_it_gave(efficientnet, training):
    """Activations included, which torch's own converter drops."""
    images = torch.randn(3, 3, 32, 32)
    converted = batch_norms.over_all_ranks(copy.deepcopy(efficientnet), GPU).train(training)
    assert sum(isinstance(module, nn.SyncBatchNorm) for module in converted.modules()) == 49
    expected = copy.deepcopy(efficientnet).train(training)(images)
    assert torch.equal(converted(images), expected)


def test_drop_out_and_activation_stay_and_eps_and_momentum():
    layer = BatchNormAct2d(3, eps=0.1, momentum=0.3, act_layer=nn.SiLU, drop_layer=nn.Dropout)
    converted = batch_norms.over_all_ranks(nn.Sequential(layer), GPU)[0]
    assert (converted.act, converted.drop, converted.eps, converted.momentum) == (layer.act, layer.drop, 0.1, 0.3)


def test_the_optimiser_sees_the_same_parameters_in_the_same_order_and_layout():
    config = model_config(SMALL)
    model, plain = towers.create(config), towers.create(config)
    before = [[id(parameter) for parameter in group["params"]] for group in parameter_groups(model, 0.1)]
    names = list(model.state_dict())
    model = batch_norms.over_all_ranks(model, GPU)
    assert [[id(parameter) for parameter in group["params"]] for group in parameter_groups(model, 0.1)] == before
    assert list(model.state_dict()) == names
    assert [p.stride() for p in model.parameters()] == [p.stride() for p in plain.parameters()]
    assert any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())


class Own(nn.BatchNorm2d):
    """A batch norm that does something else, too."""


@pytest.mark.parametrize("layer", [Own(3), EvoNorm2dB0(3), SplitBatchNorm2d(4), nn.InstanceNorm2d(3, track_running_stats=True)])
def test_what_no_converter_knows_is_refused(layer):
    name = type(layer).__name__
    with pytest.raises(
        UserError,
        match=f"^train.batch_norm: {name} cannot have the statistics of all_ranks; use per_rank, or one process$",
    ):
        batch_norms.over_all_ranks(nn.Sequential(nn.Conv2d(3, 3, 1), layer), GPU)


def test_what_gathers_no_statistics_passes():
    model = nn.Sequential(FrozenBatchNormAct2d(3), nn.GroupNorm(1, 3), nn.LayerNorm(3), nn.InstanceNorm2d(3))
    assert batch_norms.over_all_ranks(model, GPU) is model
    assert batch_norms.running_statistics(model) == []


def note(training: Training, out: Path) -> None:
    """All of the state, and the gradient of the last step."""
    tensors, _ = training.state()
    tensors |= {f"gradient/{name}": p.grad for name, p in training.model.named_parameters() if p.grad is not None}
    save_file({name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}, out)


def trained(ranks: Ranks, o: Any, kind: type[nn.BatchNorm2d] = nn.BatchNorm2d) -> Training:
    """A training of two epochs, of which the second matches."""
    training = training_of(o, ranks)
    replace_batch_norms(training.model, kind)
    for epoch in (1, 2):
        training.epoch(epoch)
    return training


def resumed(ranks: Ranks, o: Any) -> Training:
    """One that is stopped within the second epoch, and resumes on all ranks from what the first has saved."""
    before = training_of(o, ranks)
    before.epoch(1)
    next(before.steps(2))
    saved = [copy.deepcopy(before.state())]
    dist.broadcast_object_list(saved)
    training = training_of(o, ranks)
    training.restore(*saved[0])
    training.epoch(2)
    return training


def worker(ranks: Ranks, values: dict[str, Any], out: Path) -> None:
    compute_in_doubles()
    o, rank = options_from(values), ranks.rank
    note(trained(ranks, o, OverRanks), out / f"all_ranks-{rank}")
    note(trained(ranks, o), out / f"per_rank-{rank}")
    note(resumed(ranks, o), out / f"resumed-{rank}")
    alone = ("one", nn.BatchNorm2d) if rank == 0 else ("parts", OfParts)
    note(trained(Ranks(), o, alone[1]), out / alone[0])


@pytest.fixture(scope="module")
def states(few, scenes, tmp_path_factory) -> dict[str, dict[str, torch.Tensor]]:
    out = tmp_path_factory.mktemp("norms")
    # an eps above the gradients that are 0 but for rounding, which AdamW would blow up
    o = options(few, scenes, out, batch_size=68, eps=1e-6, batch_norm="per_rank")
    on_two_ranks(worker, vars(o), out)
    return {path.name: load_file(path) for path in out.iterdir()}


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], atol: float = 0.0) -> None:
    assert one.keys() == other.keys()
    assert sum("running_var" in name for name in one) == 6
    assert any(name.startswith("gradient/") for name in one)
    for name, tensor in one.items():
        told = {"equal_nan": True, "msg": lambda text, name=name: f"{name}: {text}"}  # losses of steps to come are NaN
        torch.testing.assert_close(other[name], tensor, rtol=0, atol=atol, **told)


@pytest.mark.slow
def test_two_ranks_with_statistics_of_both_are_one_process(states):
    """What is gathered and summed, the order of pairs and the running statistics are right; on GPUs the rest is rounding."""
    assert_equal(states["one"], states["all_ranks-0"], atol=1e-9)


@pytest.mark.slow
def test_two_ranks_with_statistics_of_their_own_are_one_process_that_normalises_in_parts(states):
    assert_equal(states["parts"], states["per_rank-0"], atol=1e-9)
    weights = "model/visual.trunk.layers.0.0.weight"
    assert (states["per_rank-0"][weights] - states["one"][weights]).abs().max() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("run", ["per_rank-1", "resumed-0", "resumed-1"])
def test_both_ranks_are_the_same_to_the_bit_and_a_training_that_resumes_is_too(states, run):
    assert_equal(states["per_rank-0"], states[run])
