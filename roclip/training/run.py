"""A training from its start, or from its last state, to the files that it publishes; what the stages train and repair share."""

import logging
import re
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch

from roclip.core.atomic import atomic
from roclip.core.columns import COSINES, HISTORY, PACE
from roclip.core.errors import ComeBack, UserError
from roclip.core.files import sha256, write_rows, write_table
from roclip.core.provenance import SUFFIX, provenance
from roclip.defences.base import Defence
from roclip.model import towers
from roclip.training import batch_norms, memory
from roclip.training.distributed import Ranks
from roclip.training.estimate import check_disk, project
from roclip.training.identity import identity
from roclip.training.pairs import Pairs
from roclip.training.restart import restart
from roclip.training.resume import States
from roclip.training.settings import LoopOptions
from roclip.training.signals import StopSignals
from roclip.training.trainer import Training

log = logging.getLogger(__name__)

FILE_NAME = "[a-z0-9_]{1,60}"  # of what a defence names, without its suffix
STEPS_BETWEEN_SIGNALS = 20  # of several processes, which have to agree to stop


def run(options: LoopOptions, defence: type[Defence], read: Callable[[], Pairs]) -> list[dict]:
    """Train, or resume; the rows of the history. read: gives the pairs to train on.

    Raises UserError for data that does not fit the options and for names of the defence that are none of files, and ComeBack
    when it was told to stop and has saved.
    """
    if options.deterministic:
        towers.repeat_to_the_bit()
    runtime = towers.Runtime.choose(options.precision, options.threads, options.device)
    states = States(options.out / "state", identity(options, runtime, defence.__module__, read.__module__))
    with StopSignals().taken() as signals, Ranks.joined(runtime.device) as ranks:
        ranks.agree("what is trained on, or how,", states.fingerprint)
        with states.locked() if ranks.rank == 0 else nullcontext():
            ranks.wait()  # for the lock: until then another process may write states
            training = Training(options, defence, read(), ranks)
            with memory.explained(training):
                history = _run(training, states, signals)
            ranks.wait()
    return history


def _run(training: Training, states: States, signals: StopSignals) -> list[dict]:
    options, ranks = training.options, training.ranks
    check_kinds(training)
    history, cosines = restart(training, states)
    disk = check_disk(training, states.bytes_of_others())
    if projection := project(training, len(history) + 1):
        gpu = f", {projection.gpu_memory / 1e9:.1f} GB of GPU memory" if projection.gpu_memory else ""
        log.info(
            "about %d h %.1f min of training ahead in %s; at its peak %.2f GB of memory%s and %.2f GB of disk",
            projection.seconds // 3600, projection.seconds % 3600 / 60, training.runtime.arithmetic,
            projection.memory / 1e9, gpu, disk / 1e9,
        )  # fmt: skip
        memory.warn(training, projection.gpu_memory or projection.memory)
    saved = time.monotonic()

    def save_state() -> None:
        nonlocal saved
        training.finite.check()  # or a state with NaN would replace a good one
        if ranks.rank == 0:
            tensors, numbers = training.state()
            record = {"numbers": numbers, "history": history, "cosines": cosines, "resumed": states.resumed}
            states.save(training.steps_taken, tensors, record)
        saved = time.monotonic()

    def after_step() -> None:
        last = training.step == len(training.losses)  # of the epoch: the measuring that follows may be stopped at any time
        if ranks.count > 1 and training.steps_taken % STEPS_BETWEEN_SIGNALS and not last:
            return
        told = ranks.any(signals.came)
        if told or last or time.monotonic() - saved > 60 * options.checkpoint_minutes:
            save_state()
        if told:
            ranks.wait()
            raise ComeBack(f"stopped at step {training.steps_taken} and saved; start it again to resume")

    for epoch in range(len(history) + 1, options.epochs + 1):
        with signals.held():
            row = training.epoch(epoch, after_step)
        if ranks.rank == 0:
            measures, pairs = training.measurement.measure(training.model, training.runtime)
            row |= measures
            cosines += [{**pair, "epoch": epoch, "row": int(training.rows[pair["row"]])} for pair in pairs]
            log.info(
                "epoch %d/%d %-8s loss %.3f  attack success %.3f  zero-shot %.3f  %.0f pairs/s  %.0f s left",
                epoch, options.epochs, row["kind"], row["loss"], row["attack_success"], row["zero_shot"],
                row["pairs_per_second"], (options.epochs - epoch) * np.mean([r["seconds"] for r in [*history, row]]),
            )  # fmt: skip
        with signals.held():
            if ranks.rank == 0:
                save(training, epoch, states)
            history.append(row)
            ranks.wait()
            save_state()
        if ranks.any(signals.came):  # published once resumed: a killed workflow removes later outputs
            raise ComeBack(f"stopped after epoch {epoch} and saved; start it again to resume")
    if ranks.rank == 0:
        with signals.held():
            publish(training, states, history, cosines)
    return history


def check_kinds(training: Training) -> None:
    """Raises UserError for kinds of epochs that name no files of weights, and where none of the weights would be judged."""
    defence, name = training.defence, type(training.defence).__name__
    kinds = [defence.kind(epoch) for epoch in range(1, training.options.epochs + 1)]
    for epoch, kind in enumerate(kinds, 1):
        if not re.fullmatch(FILE_NAME, str(kind)):
            raise UserError(f"{name}.kind gave '{kind}' for epoch {epoch}; it must be small letters, digits and _")
    # the last first, for it is judged in all likelihood
    if not any(defence.is_judged(kinds[place], kinds[place + 1 :]) for place in reversed(range(len(kinds)))):
        raise UserError(f"{name}.is_judged says no of every epoch, so there would be no weights; let it say yes of one")


def save(training: Training, epoch: int, states: States) -> None:
    """Keep the weights, if they are to be kept; they say if they were resumed from another training."""
    options = training.options
    kind, *later = (training.defence.kind(e) for e in range(epoch, options.epochs + 1))
    judged = training.defence.is_judged(kind, later)
    if judged or options.keep_weights == "every_epoch":
        name = f"last_{kind}" if judged else f"{towers.EPOCH}{epoch}"
        record = weights_record(options, training.config, epoch, {str(options.pairs): sha256(options.pairs)})
        record["arithmetic"] = training.runtime.arithmetic
        if training.ranks.count > 1 and batch_norms.depend_on_ranks(options):
            record["ranks"] = training.ranks.count
        if states.resumed:
            record["resumed"] = states.resumed
        towers.save(training.model, states.folder / f"{name}.safetensors", record)


def weights_record(options: LoopOptions, config: dict, epoch: int, inputs: dict[str, str]) -> dict:
    """What a file of weights says of itself."""
    tokenizer = towers.fingerprint_of(towers.tokenizer(config))
    return {"model_config": config, "tokenizer": tokenizer, "epoch": epoch, "inputs": inputs, **provenance(options)}


def clear(out: Path) -> None:
    """Remove what another step left in the folder of a model: weights, tables, and the records of them."""
    for folder in ("weights", "tables"):
        shutil.rmtree(out / folder, ignore_errors=True)
    for record in out.glob(f"*{SUFFIX}"):
        record.unlink()


def publish(training: Training, states: States, history: list[dict], cosines: list[dict]) -> None:
    """Put what the training gave under its final names, and remove the states. Raises UserError for names that are none."""
    out, tables = training.options.out, training.defence.tables()
    for name in tables:  # nothing is lost: the states stay until all is written
        if not re.fullmatch(rf"{FILE_NAME}\.csv", str(name)):
            said = f"{type(training.defence).__name__}.tables gave '{name}'"
            raise UserError(f"{said}; it must be small letters, digits and _ with .csv after them")
    clear(out)
    for path in states.weights():
        with atomic(out / "weights" / path.name) as temporary:  # a copy: after a kill in here, all of it is written again
            shutil.copyfile(path, temporary)
    columns = *HISTORY, *training.defence.telemetry_columns
    write_tables(out, columns, history, cosines)
    for name, table in tables.items():
        cells = {column: in_rows(training, column, ids) for column, ids in table.items()}
        write_rows(out / "tables" / name, tuple(cells), sorted(zip(*cells.values(), strict=True)))
    (out / "tables").mkdir(exist_ok=True)
    training.intake.write(out / "quarantine.csv")
    states.remove()


def write_tables(out: Path, columns: tuple[str, ...], history: list[dict], cosines: list[dict]) -> None:
    """history.csv, pace.csv and cosines.csv."""
    for name, header in (("history.csv", columns), ("pace.csv", tuple(PACE))):
        write_rows(out / name, header, ([row[column] for column in header] for row in history))
    write_table(out / "cosines.csv", tuple(COSINES), cosines)


def in_rows(training: Training, column: str, cells: torch.Tensor) -> list:
    """The cells of a defence's table; ids, in columns that end in `row`, as rows of the table of pairs."""
    if not column.endswith("row"):
        return cells.tolist()
    return training.rows[training.places[cells.cpu()].numpy()].tolist()
