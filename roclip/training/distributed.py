"""One training on several processes, one GPU each, as `torchrun` starts them: what they share.

Every rank encodes its part of each batch; features are gathered, so that all of them compute the loss of the whole batch and
hold the same pool. A process of its own is rank 0 of 1.
"""

import hashlib
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from roclip.core.environment import environment_number, odd_environment
from roclip.core.errors import UserError

TIMEOUT = timedelta(minutes=10)  # of every collective: a rank that died must not leave the others waiting


def _check_environment() -> None:
    """Raises UserError for what torchrun would not have put there: some clusters set a part of it for every job."""
    count, rank = environment_number("WORLD_SIZE"), environment_number("RANK")
    environment_number("MASTER_PORT")
    if not os.environ.get("MASTER_ADDR"):
        raise odd_environment("MASTER_ADDR is not set")
    if rank >= count:
        raise odd_environment(f"RANK is {rank} of WORLD_SIZE {count}")


@dataclass(frozen=True)
class Ranks:
    """This process's number among `count` of them."""

    rank: int = 0
    count: int = 1
    device: torch.device = torch.device("cpu")

    @classmethod
    @contextmanager
    def joined(cls, device: torch.device) -> Iterator["Ranks"]:
        """The ranks that torchrun started, of which this one computes on `device`; outside of torchrun this process alone.

        Raises UserError once another one is gone, or was not heard of for TIMEOUT.
        """
        if "WORLD_SIZE" not in os.environ:
            yield cls(device=device)
            return
        _check_environment()
        try:
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
            yield cls(dist.get_rank(), dist.get_world_size(), device)
        except RuntimeError as error:
            if not _is_of_others(error):
                raise
            raise UserError(
                f"another process of this training ended or hangs ({str(error).splitlines()[0]}); its own last line says why; "
                "start again to resume from the last state"
            ) from None
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()

    def part(self, batch: Tensor) -> Tensor:
        """This rank's part of a batch: (batch, ...) -> (batch / count, ...)."""
        size = len(batch) // self.count
        return batch[self.rank * size : (self.rank + 1) * size]

    def gather(self, part: Tensor) -> Tensor:
        """The whole batch from every rank's part; the gradient reaches this rank's own: (batch / count, d) -> (batch, d)."""
        if self.count == 1:
            return part
        parts = [torch.empty_like(part) for _ in range(self.count)]
        dist.all_gather(parts, part.detach().contiguous())
        parts[self.rank] = part
        return torch.cat(parts)

    def sum_gradients(self, model: torch.nn.Module) -> None:
        """Make the gradients those of the whole batch.

        Each rank has the gradient through its own part, and the whole one of `logit_scale`, which is therefore divided first.
        """
        if self.count == 1:
            return
        if model.logit_scale.grad is not None:
            model.logit_scale.grad.div_(self.count)
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, summed in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(summed.view_as(gradient))

    def any(self, flag: bool) -> bool:
        """Whether any rank says so. Alone, a process does not ask its device, which would hold up a GPU in every step."""
        if self.count == 1:
            return flag
        return bool(self.which(flag))

    def which(self, flag: bool) -> list[int]:
        """The ranks that say so."""
        return self.collect(torch.tensor([flag], dtype=torch.uint8)).nonzero().flatten().tolist()

    def from_first(self, text: str) -> str:
        """The text of rank 0, on every rank."""
        coded = torch.tensor(list(text.encode()), dtype=torch.uint8)
        length = int(self.collect(torch.tensor([len(coded)]))[0])
        sent = torch.zeros(length, dtype=torch.uint8)
        sent[: len(coded)] = coded[:length]
        return bytes(self.collect(sent)[:length].tolist()).decode()

    def agree(self, name: str, value: str) -> None:
        """Raises UserError, on every rank, when they hold different values of what `name` says."""
        digest = hashlib.sha256(value.encode()).digest()
        all_digests = self.collect(torch.frombuffer(bytearray(digest), dtype=torch.uint8)).view(self.count, -1)
        if differing := (all_digests != all_digests[0]).any(1).nonzero().flatten().tolist():
            raise UserError(f"{name} differs between ranks 0 and {differing[0]}; give all of them the same files and options")

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.count > 1:
            dist.barrier()

    def collect(self, value: Tensor) -> Tensor:
        """The values of all ranks, one after another, on the CPU."""
        return self.gather(value.to(self.device)).cpu()


def _is_of_others(error: RuntimeError) -> bool:
    """Whether the ranks could not reach each other: gloo's errors have no class of their own, but come from there."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    return isinstance(error, dist.DistError) or any("torch/distributed/" in file for file in files)
