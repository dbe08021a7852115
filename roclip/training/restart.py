"""Where a training begins: at its start, or at a state that rank 0 chooses and every rank loads."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from roclip.core.columns import HISTORY
from roclip.core.errors import UserError
from roclip.core.words import counted
from roclip.model.towers import read_record
from roclip.model.weight_files import misfit
from roclip.training.distributed import Ranks
from roclip.training.identity import differences, listed
from roclip.training.resume import DAMAGED, State, States, read_identity, step_of
from roclip.training.trainer import Training

log = logging.getLogger(__name__)

APPEARS = 120.0  # seconds until a rank sees a file that another one saw; NFS keeps what it knows of a folder for up to 60

History = list[dict[str, Any]]


def restart(training: Training, states: States) -> tuple[History, History]:
    """Be where the state was taken that is resumed from, if there is one; the rows of history and cosines until then.

    All ranks call it together. Raises UserError, on all of them, where one does not see the state that rank 0 chose, and for a
    state of another training that does not fit.
    """
    ranks = training.ranks
    state = shared(ranks, states, _chosen(training, states) if ranks.rank == 0 else None)
    if state is None:
        if ranks.rank == 0:
            states.remove_weights()  # of an epoch that a training from the start does not have yet
        return [], []
    own, record = state.path.parent == states.folder, state.record
    if not own:
        check_fits(training, state)
    training.restore(dict(state.tensors), record["numbers"])
    if not own:
        check_epoch(training, state)
    states.resumed = [*record["resumed"]]
    if differing := differences(state.identity, states.identity):
        states.resumed.append(f"at step {state.step}: {', '.join(differing)}")
    if ranks.rank == 0:
        if not own:
            states.take_over(state.path.parent)
        log.info("resumed from step %d, in epoch %d", training.steps_taken, len(record["history"]) + 1)
        if differing:
            log.warning("resumed although %s", listed(differing))
    ranks.wait()  # until the folder is as it stays
    return record["history"], record["cosines"]


def shared(ranks: Ranks, states: States, chosen: State | None) -> State | None:
    """The state that rank 0 chose, on every rank, or None. Raises UserError, on all, where a rank does not see it."""
    words = [str(chosen.path.relative_to(states.root)), chosen.sha256] if chosen else []
    words = json.loads(ranks.from_first(json.dumps(words)))
    if not words:
        return None
    state = chosen or states.awaited(*words, APPEARS)
    if without := ranks.which(state is None):
        raise UserError(
            f"{states.root / words[0]}: rank 0 resumes from it, and rank {without[0]} did not see it within "
            f"{APPEARS:.0f} s; give all of them the same folder, on a file system that they share"
        )
    return state


def _chosen(training: Training, states: States) -> State | None:
    """The training's own newest state; with `resume_anyway` that of another training if it went further."""
    states.forget()
    own = states.newest()
    step = own.step if own else 0
    further = [folder for folder in states.others() if step_of(states.files(folder)[0]) > step]
    if not training.options.resume_anyway:
        for folder in further:
            _explain(states, folder)
        return own
    return next((state for folder in further if (state := states.newest(folder)) and state.step > step), own)


def _explain(states: States, folder: Path) -> None:
    """Say why the states of another training are not resumed from, and what would."""
    newest = states.files(folder)[0]
    try:
        differing = listed(differences(read_identity(newest), states.identity))
    except DAMAGED as error:
        differing = f"it is damaged ({error})"
    log.warning(
        "%s is not resumed from: %s. It would be with those as they were, or in spite of them with train.resume_anyway "
        "(--resume_anyway true); it is kept until this training has ended", newest, differing,
    )  # fmt: skip


def check_fits(training: Training, state: State) -> None:
    """Raises UserError for a state of another training that has other tensors, numbers or columns, or went too far."""
    tensors, numbers = training.state()
    history, epochs = state.record["history"], training.options.epochs
    columns = {*HISTORY, *training.defence.telemetry_columns}
    if fault := misfit(_without_losses(state.tensors), _without_losses(_with_moments(training, state.tensors) | tensors)):
        raise _unfit(state, fault)
    if numbers.keys() != state.record["numbers"].keys() or any(columns - row.keys() for row in history):
        raise _unfit(state, "it is of another defence")
    if len(history) > epochs:
        raise _unfit(state, f"it has {counted(len(history), 'epoch')}, and train.epochs is {epochs}")
    kinds = [training.defence.kind(epoch) for epoch in range(1, epochs + 1)]
    for epoch, kind in enumerate(kinds[: len(history)], 1):
        path = state.path.with_name(f"last_{kind}.safetensors")
        judged = training.defence.is_judged(kind, kinds[epoch:])
        if judged and not (path.exists() and read_record(path)["epoch"] == epoch):
            raise _unfit(state, f"the weights after epoch {epoch}, now the last of the kind {kind}, were not kept")


def check_epoch(training: Training, state: State) -> None:
    """Raises UserError for a state of another training in the middle of an epoch that now has more or fewer steps."""
    had = len(training.losses)
    if 0 < training.step < had != (has := len(training.passes(len(state.record["history"]) + 1))):
        raise _unfit(state, f"it is in an epoch of {had} steps, which now has {has}")


def _unfit(state: State, fault: str) -> UserError:
    return UserError(f"{state.path}: cannot be resumed from: {fault}; start without resume_anyway to train from the start")


def _with_moments(training: Training, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the optimiser's tensors in a state must be shaped as: AdamW has moments only after its first step."""
    parameters = [parameter for group in training.optimizer.param_groups for parameter in group["params"]]
    wanted = {}
    for name, tensor in found.items():
        owner, _, rest = name.partition("/")
        number = int(rest.partition("/")[0]) if owner == "optimizer" else len(parameters)
        if number < len(parameters):
            wanted[name] = parameters[number] if tensor.ndim else tensor
    return wanted


def _without_losses(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those are as many as the steps of an epoch."""
    return {name: tensor for name, tensor in tensors.items() if name != "losses"}
