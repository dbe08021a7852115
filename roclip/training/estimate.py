"""What a training will take: hours, memory and disk, from some of its steps that are timed before it begins.

Nothing of them stays: the training is put back to where it was.
"""

import resource
import shutil
import time
from dataclasses import dataclass
from itertools import islice

import psutil
import torch

from roclip.core.errors import UserError
from roclip.training.resume import KEPT
from roclip.training.trainer import Training

WARM_UP, TIMED = 5, 21  # steps of each kind of epoch; the first ones are slower, compiled ones by minutes
WORTH = 50  # times as many steps must lie ahead, or the training is over before anyone asks how long it takes


@dataclass(frozen=True)
class Projection:
    """Seconds that are left, and bytes at the peak: of memory, with that of the loader's workers, and of GPU memory."""

    seconds: float
    memory: int
    gpu_memory: int


def check_disk(training: Training, others: int = 0) -> int:
    """Bytes of disk that the training takes at its peak. Raises UserError where they are not free.

    others: bytes in the training's folder that stay there, of states that are not its own.
    """
    tensors, _ = training.state()
    state = sum(tensor.nbytes for tensor in tensors.values())
    weights = sum(tensor.nbytes for tensor in training.model.state_dict().values())
    # AdamW has its two moments only after the first step
    state = max(state, state + 2 * weights if not training.optimizer.state else state)
    kept = training.options.epochs if training.options.keep_weights == "every_epoch" else len(_epochs_left(training, 1))
    needed = max((KEPT + 1) * state + kept * weights, KEPT * state + 2 * kept * weights)  # they are copied at the end
    out = training.options.out
    out.mkdir(parents=True, exist_ok=True)
    held = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) - others
    free = shutil.disk_usage(out).free
    if needed > held + free:
        beside = f", or remove the {others / 1e9:.2f} GB of states of other settings in {out / 'state'}" if others else ""
        raise UserError(
            f"{out}: weights and states need {needed / 1e9:.2f} GB, and {(held + free) / 1e9:.2f} GB are free; make room"
            f"{beside}"
        )
    return needed


def project(training: Training, epoch: int) -> Projection | None:
    """What a training takes that is in `epoch`, counted from 1; None where so little is left that timing is not worth it.

    All ranks call it together. An epoch that was interrupted counts as if all of it were left.
    """
    epochs = _epochs_left(training, epoch)
    if training.steps_per_epoch < TIMED:
        return None
    if training.steps_per_epoch * sum(map(len, epochs.values())) < WORTH * len(epochs) * (WARM_UP + TIMED):
        return None
    tensors, numbers = training.state()
    before = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
    seconds, workers = 0.0, 0
    for of_kind in epochs.values():
        _time_steps(training, of_kind[0], WARM_UP)
        first, step, held = _time_steps(training, of_kind[0], TIMED)
        workers = max(workers, held)
        seconds += len(of_kind) * (first + (len(training.losses) - 1) * step + _measuring(training))
    training.begin_epoch()
    training.restore(before, numbers)
    return Projection(
        seconds,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + workers,
        torch.cuda.max_memory_reserved() if training.runtime.device.type == "cuda" else 0,
    )


def _time_steps(training: Training, epoch: int, steps: int) -> tuple[float, float, int]:
    """Seconds of an epoch's first step, with all that is done at the start; mean of the others; bytes that workers hold."""
    training.begin_epoch()
    run, started = training.steps(epoch), _now(training)
    next(run)
    first = _now(training)
    others = sum(1 for _ in islice(run, steps - 1))  # fewer, where the phases of the epoch are short
    last = _now(training)
    held = sum(child.memory_full_info().uss for child in psutil.Process().children())
    run.close()
    return first - started, (last - first) / max(1, others), held


def _measuring(training: Training) -> float:
    """Seconds of what is measured after an epoch, by rank 0 alone."""
    if training.ranks.rank:
        return 0.0
    if training.options.compile:  # the first time, towers that do not train are compiled
        training.measurement.measure(training.model, training.runtime)
    started = _now(training)
    training.measurement.measure(training.model, training.runtime)
    return _now(training) - started


def _now(training: Training) -> float:
    """The time in seconds at which the device has done what it was given."""
    if training.runtime.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _epochs_left(training: Training, epoch: int) -> dict[str, list[int]]:
    """The epochs from `epoch` on, by what the defence calls them."""
    epochs = range(epoch, training.options.epochs + 1)
    kinds = {e: training.defence.kind(e) for e in epochs}
    return {kind: [e for e in epochs if kinds[e] == kind] for kind in sorted(set(kinds.values()))}
