"""Stage: repair a trained model by a further training on clean pairs.

Reads the latest of the model's weights, and draws its clean pairs from the data set's own. Writes what `roclip train` writes;
the weights are `weights/last_repair.safetensors`.
"""

import numpy as np
import torch

from roclip.core.columns import TRUTH
from roclip.core.errors import UserError
from roclip.core.options import Stage
from roclip.core.randomness import generator
from roclip.data.pairs import read_pairs
from roclip.defences.repair import REPAIRS
from roclip.training.pairs import Pairs
from roclip.training.run import run as run_training
from roclip.training.settings import RepairOptions


def read(options: RepairOptions) -> Pairs:
    """Random clean pairs. Raises UserError where there are fewer than `clean_pairs`."""
    pairs = read_pairs(options.pairs)
    count, wanted = len(pairs["path"]), options.clean_pairs
    if wanted > count:
        raise UserError(f"repair.clean_pairs: {wanted} is more than the {count} pairs of {options.pairs}")
    every = Pairs(pairs["path"], pairs["caption"], {column: [""] * count for column in TRUTH}, np.arange(count))
    chosen = torch.randperm(count, generator=generator("clean_pairs", options.seed))[:wanted]
    return every.chosen(chosen.sort().values.numpy())


def run(options: RepairOptions) -> list[dict]:
    """The rows of the history."""
    return run_training(options, REPAIRS[options.kind], lambda: read(options))


STAGE = Stage(RepairOptions, run, kinds=REPAIRS)
