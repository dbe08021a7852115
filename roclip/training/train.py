"""Stage: train a model on a table of pairs, with a defence that acts in training or without.

Writes `history.csv` (a row an epoch), `pace.csv` (how fast each was), `cosines.csv` (after every epoch the cosine of some
pairs), `quarantine.csv` (the images that were left out), `tables/` (the defence's own, such as RoCLIP's `matches.csv`) and in
`weights/` those after the last epoch of each kind, such as `last_clip.safetensors`; with `keep_weights: every_epoch` all others
too, such as `epoch_1.safetensors`.

Until then `state/` holds states. A training that was stopped resumes from them when it is started again with the same
options, and ends with the same weights; SIGTERM and Ctrl-C write one and end with exit status 75. Under `torchrun` it runs on
several GPUs (training/distributed.py).
"""

from pathlib import Path

import numpy as np

from roclip.core.columns import HISTORY, QUARANTINE
from roclip.core.files import sha256, write_rows
from roclip.core.options import Stage
from roclip.data.pairs import read_pairs
from roclip.defences import TRAININGS
from roclip.model import towers
from roclip.model.start_weights import read_weights, refuse_small_file, weights_of
from roclip.training.monitor import read_truth
from roclip.training.pairs import Pairs, kept_rows
from roclip.training.run import clear, weights_record, write_tables
from roclip.training.run import run as run_training
from roclip.training.settings import TrainOptions


def read(options: TrainOptions) -> Pairs:
    """The pairs that a filter kept, or all. Raises UserError for rows that the table does not have."""
    pairs = read_pairs(options.pairs)
    count = len(pairs["path"])
    every = Pairs(pairs["path"], pairs["caption"], read_truth(options.truth, options.pairs, count), np.arange(count))
    return every.chosen(kept_rows(options.kept, options.pairs, count)) if options.kept else every


def take_over(options: TrainOptions) -> list[dict]:
    """Publish weights that are given, as a training would its own, and no epochs.

    Raises UserError for weights that do not fit the model.
    """
    config = towers.model_config(options.model, options.pixels)
    path = Path(options.weights)
    refuse_small_file(path, config)
    model = towers.create(config)
    model.load_state_dict(read_weights(path, model))
    path = weights_of(path)
    clear(options.out)
    towers.save(model, options.out / "weights/given.safetensors", weights_record(options, config, 0, {str(path): sha256(path)}))
    write_tables(options.out, tuple(HISTORY), [], [])
    write_rows(options.out / "quarantine.csv", tuple(QUARANTINE), [])
    (options.out / "tables").mkdir(exist_ok=True)
    return []


def run(options: TrainOptions) -> list[dict]:
    """The rows of the history."""
    defence = TRAININGS[options.kind]
    return run_training(options, defence, lambda: read(options)) if defence.trains else take_over(options)


STAGE = Stage(TrainOptions, run, kinds=TRAININGS)
