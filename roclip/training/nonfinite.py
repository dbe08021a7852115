"""A loss or gradients that are NaN or infinite end a training within a step, and name the rows it was at.

So does a loss of which there can be no gradient.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from roclip.core.errors import UserError


def usable(loss: Any, defence: str) -> Tensor:
    """The loss that a defence gave. Raises UserError for what is no tensor of one number with a gradient."""
    if isinstance(loss, Tensor) and loss.ndim == 0 and loss.requires_grad:
        return loss
    what = type(loss).__name__
    if isinstance(loss, Tensor):
        what = f"a tensor of shape {tuple(loss.shape)}" if loss.ndim else "a tensor without a gradient"
    raise UserError(f"{defence}.loss gave {what}; it must be a tensor of one number with a gradient")


class FiniteCheck:
    """Looks at every step before it changes the weights; on a GPU one step later, because waiting would hold it up."""

    def __init__(self, device: torch.device, table: Path, rows: np.ndarray) -> None:
        self.on_gpu, self.table, self.rows = device.type == "cuda", table, rows
        self.waiting: tuple[Tensor, torch.cuda.Event, int, Tensor] | None = None

    def note(self, loss: Tensor, gradients: Sequence[Tensor], step: int, batch: Tensor) -> None:
        """Look at a step, on a GPU at the one before it. batch: its pairs, as places in `rows`. Raises as `check`."""
        finite = torch.isfinite(loss.detach() + torch.nn.utils.get_total_norm(gradients))
        if not self.on_gpu:
            self.waiting = finite, None, step, batch
            return self.check()
        noted = torch.empty((), dtype=torch.bool, pin_memory=True).copy_(finite, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self.check()
        self.waiting = noted, event, step, batch

    def check(self) -> None:
        """Raises UserError when the step that was noted last was not finite."""
        if self.waiting is None:
            return
        (finite, event, step, batch), self.waiting = self.waiting, None
        if event:
            event.synchronize()
        if not finite:
            named = " ".join(str(row + 1) for row in sorted(self.rows[batch.cpu()].tolist()))
            raise UserError(
                f"step {step}: the loss or a gradient is NaN or infinite; lower train.learning_rate, or look at its pairs, "
                f"{self.table}, rows {named}"
            )
