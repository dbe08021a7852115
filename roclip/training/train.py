"""Stage: train CLIP or RoCLIP on a table of pairs.

Writes `history.csv` (a row an epoch), `pace.csv` (how fast each was), `matches.csv` (for every row of the data, the row whose
caption it was last matched with), `cosines.csv` (after every epoch the cosine of some pairs), `quarantine.csv` (the images that
were left out) and the weights that the schedule has, `weights/last_clip.safetensors`, `weights/last_matching.safetensors`.

Until then `state/` holds checkpoints. A training that was stopped goes on from them when it is started again with the same
options, and ends with the same weights; SIGTERM and Ctrl-C write one and end with exit status 75. Under `torchrun` it runs on
several GPUs (ranks.py).
"""

import dataclasses
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch

from roclip.core.atomic import atomic
from roclip.core.errors import ComeBack
from roclip.core.files import sha256, write_rows, write_table
from roclip.core.options import Stage
from roclip.core.provenance import fingerprint, read_inputs, versions
from roclip.model import towers
from roclip.training.distributed import Ranks
from roclip.training.estimate import check_disk, project
from roclip.training.resume import Checkpoints
from roclip.training.schedule import COSINES, HISTORY, PACE
from roclip.training.trainer import Training, TrainOptions

log = logging.getLogger(__name__)

STEPS_BETWEEN_SIGNALS = 20  # of several processes, which have to agree to stop


def identity(options: TrainOptions, device: torch.device) -> str:
    """The fingerprint of what decides the weights and the history: options, files, code, libraries, device, processes.

    Of files that stages wrote, their records count too, and so the images that a table names.
    """
    files = ("pairs", "targets", "validation", "classes", "templates")
    settings = dataclasses.asdict(options)
    for key in ("out", "checkpoint_minutes", "workers", *files):
        del settings[key]
    modules = [module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "roclip" and module.__file__]
    code = sorted(sha256(Path(file)) for file in modules)
    inputs = list(read_inputs(options).values())
    machine = device.type, os.environ.get("WORLD_SIZE", "1")
    return fingerprint(settings, inputs, towers.model_config(options.model), code, versions(), machine)


class StopSignals:
    """SIGTERM and Ctrl-C end the stage at once, or, while they are held, come to be noted in `came`."""

    def __init__(self) -> None:
        self.came = False
        self.are_held = False

    def _take(self, number: int, _) -> None:
        self.came = True
        if not self.are_held:
            raise ComeBack("stopped; start it again to go on")

    @contextmanager
    def taken(self) -> Iterator["StopSignals"]:
        """In place of what they do otherwise."""
        before = {number: signal.signal(number, self._take) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """While steps are taken and files written."""
        self.are_held = True
        try:
            yield
        finally:
            self.are_held = False


def run(options: TrainOptions) -> list[dict]:
    """Train, or go on; the rows of the history.

    Raises UserError for data that does not fit the options, and ComeBack when it was told to stop and has saved.
    """
    if options.deterministic:
        towers.repeat_to_the_bit()
    device = towers.Runtime.choose(options.precision, options.threads, options.device).device
    checkpoints = Checkpoints(options.out / "state", identity(options, device))
    with StopSignals().taken() as signals, Ranks.joined(device) as ranks:
        ranks.agree("what is trained on, or how,", checkpoints.fingerprint)
        with checkpoints.locked() if ranks.rank == 0 else nullcontext():
            ranks.wait()  # for the lock: until then another process may write states
            history = _run(Training(options, ranks), checkpoints, signals)
            ranks.wait()
    return history


def _run(training: Training, checkpoints: Checkpoints, signals: StopSignals) -> list[dict]:
    options, ranks = training.options, training.ranks
    history, cosines = [], []
    if state := checkpoints.newest(remove=ranks.rank == 0):
        tensors, record = state
        training.restore(tensors, record["numbers"])
        history, cosines = record["history"], record["cosines"]
        log.info("went on from step %d, in epoch %d", training.steps_taken, len(history) + 1)
    elif ranks.rank == 0:
        checkpoints.remove_weights()
    disk = check_disk(training)
    if projection := project(training, len(history) + 1):
        gpu = f", {projection.gpu_memory / 1e9:.1f} GB of GPU memory" if projection.gpu_memory else ""
        log.info(
            "about %d h %.1f min of training ahead; at its peak %.2f GB of memory%s and %.2f GB of disk",
            projection.seconds // 3600, projection.seconds % 3600 / 60, projection.memory / 1e9, gpu, disk / 1e9,
        )  # fmt: skip
    saved = time.monotonic()

    def checkpoint() -> None:
        nonlocal saved
        training.finite.check()  # the states that are there are good ones
        if ranks.rank == 0:
            tensors, numbers = training.state()
            checkpoints.save(training.steps_taken, tensors, {"numbers": numbers, "history": history, "cosines": cosines})
        saved = time.monotonic()

    def after_step() -> None:
        last = training.step == training.steps_per_epoch  # what is measured then can be stopped at once
        if ranks.count > 1 and training.steps_taken % STEPS_BETWEEN_SIGNALS and not last:
            return
        told = ranks.any(signals.came)
        if told or last or time.monotonic() - saved > 60 * options.checkpoint_minutes:
            checkpoint()
        if told:
            ranks.wait()
            raise ComeBack(f"stopped at step {training.steps_taken} and saved; start it again to go on")

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
                training.save(epoch, checkpoints.folder)
            history.append(row)
            ranks.wait()
            checkpoint()
        if ranks.any(signals.came):  # whoever goes on publishes: a workflow that was killed removes what is published after it
            raise ComeBack(f"stopped after epoch {epoch} and saved; start it again to go on")
    if ranks.rank == 0:
        with signals.held():
            publish(training, checkpoints, history, cosines)
    return history


def publish(training: Training, checkpoints: Checkpoints, history: list[dict], cosines: list[dict]) -> None:
    """Put what the training gave under its final names, and remove the checkpoints."""
    out, rows = training.options.out, training.rows
    for path in checkpoints.weights():
        with atomic(out / "weights" / path.name) as temporary:  # a copy: after a kill in here, all of it is written again
            shutil.copyfile(path, temporary)
    for name, columns in (("history.csv", HISTORY), ("pace.csv", PACE)):
        write_rows(out / name, columns, ([row[column] for column in columns] for row in history))
    matches = [
        {"row": int(row), "caption_row": int(rows[match])}
        for row, match in zip(rows, training.matches.tolist(), strict=True)
        if match >= 0
    ]
    write_table(out / "matches.csv", ("row", "caption_row"), matches)
    write_table(out / "cosines.csv", COSINES, cosines)
    training.intake.write(out / "quarantine.csv")
    checkpoints.remove()


STAGE = Stage(TrainOptions, run)
