"""Batch norms of a training that several ranks share: statistics of the whole batch, or of each rank's part of it.

Statistics of all ranks make the training that of one process. In every layer of every step they cost a collective forwards, one
backwards and a wait of the host for its GPU (torch's SyncBatchNorm; RN50 has 55 such layers). Statistics per rank cost one
collective a step, in which the running statistics are averaged. The ranks' parts are then normalised by themselves, so that
results depend on how many ranks there are.
"""

import logging

import torch
import torch.distributed as dist
from timm.layers.norm_act import BatchNormAct2d, FrozenBatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn
from torchvision.ops.misc import FrozenBatchNorm2d

from roclip.core.errors import UserError
from roclip.training.distributed import Ranks
from roclip.training.settings import LoopOptions

log = logging.getLogger(__name__)

CONVERTED = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, BatchNormAct2d)  # what timm's converter keeps the meaning of
EQUAL = (nn.SyncBatchNorm, FrozenBatchNorm2d, FrozenBatchNormAct2d)  # whose running statistics are the same on all ranks


def shared(model: nn.Module, statistics: str, ranks: Ranks) -> nn.Module:
    """The model as several ranks train it, with batch norms of `statistics`, all_ranks or per_rank; raises as `over_all_ranks`.

    Parameters and buffers are the same tensors, in the same order and layout.
    """
    if statistics == "all_ranks":
        return over_all_ranks(model, ranks.device)
    if ranks.rank == 0 and running_statistics(model):
        log.info("batch norms have the statistics of each of %d ranks: results depend on that number", ranks.count)
    return model


def over_all_ranks(model: nn.Module, device: torch.device) -> nn.Module:
    """The model with batch norms that take the statistics of all ranks' parts together.

    timm's converter is used, for torch's drops what timm's batch norms do beside normalising: activation and drop-out. Raises
    UserError for layers that it does not know, which it would make plain batch norms or pass over, and on CPUs, for which torch
    has no such batch norms.
    """
    for module in model.modules():
        if not (isinstance(module, nn.modules.batchnorm._BatchNorm) or _running(module)):
            continue
        if type(module) not in CONVERTED:
            name = type(module).__name__
            raise UserError(f"train.batch_norm: {name} cannot have the statistics of all_ranks; use per_rank, or one process")
        if device.type == "cpu":
            raise UserError("train.batch_norm: on CPUs, processes cannot share all_ranks; use per_rank, or one process")
    return convert_sync_batchnorm(model)


def running_statistics(model: nn.Module) -> list[Tensor]:
    """The means and variances that layers gather in training for evaluation, each rank its own."""
    return [buffer for module in model.modules() for buffer in _running(module)]


def _running(module: nn.Module) -> list[Tensor]:
    """Those of a layer itself."""
    if isinstance(module, EQUAL):
        return []
    return [buffer for name, buffer in module.named_buffers(recurse=False) if name.startswith("running_")]


def keep_equal(model: nn.Module, optimizer: torch.optim.Optimizer, ranks: Ranks) -> None:
    """Give all ranks the mean of their running statistics, after every step of the optimiser.

    In every step, and not as states are saved, or results would depend on when that was. Nothing in training reads them.
    """
    statistics = running_statistics(model)

    def average(*_) -> None:
        flat = torch.cat([buffer.reshape(-1) for buffer in statistics])
        dist.all_reduce(flat)
        parts = flat.div_(ranks.count).split([buffer.numel() for buffer in statistics])
        torch._foreach_copy_(statistics, [part.view_as(buffer) for part, buffer in zip(parts, statistics, strict=True)])

    if ranks.count > 1 and statistics:
        optimizer.register_step_post_hook(average)


def depend_on_ranks(options: LoopOptions) -> bool:
    """Whether results depend on the number of ranks by more than rounding, where a model has batch norms.

    Statistics of all ranks do so, too, where a batch is encoded some pairs at a time: they are of so many pairs of each.
    """
    return options.batch_norm == "per_rank" or options.micro_batch is not None
