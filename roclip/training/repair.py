"""Stage: repair a trained model by a further training on clean pairs.

Reads the latest of the model's weights, and draws its clean pairs from those of the data set of which no training has seen the
image. Writes what `roclip train` writes; the weights are `weights/last_repair.safetensors`.
"""

import numpy as np
import torch

from roclip.core.columns import TRUTH
from roclip.core.errors import UserError
from roclip.core.options import Stage
from roclip.core.randomness import generator
from roclip.data.image_paths import RealPaths
from roclip.data.pairs import read_pairs
from roclip.defences.repair import REPAIRS
from roclip.training.monitor import read_truth
from roclip.training.pairs import Pairs
from roclip.training.run import run as run_training
from roclip.training.settings import RUN, RepairOptions


def read(options: RepairOptions) -> Pairs:
    """Random pairs that the model was not trained on, and as many of its poisoned ones as are asked for.

    The rows of poisoned pairs follow those of the data set: they count on from its last one, as in the attack's table.
    Raises UserError where there are too few of either.
    """
    pairs, attacked = read_pairs(options.pairs), read_pairs(options.attacked)
    truth = read_truth(options.truth, options.attacked, len(attacked["path"]))
    count, real = len(pairs["path"]), RealPaths()
    trained_on = set(map(real, attacked["path"]))
    unseen = [row for row, path in enumerate(pairs["path"]) if real(path) not in trained_on]
    poisoned = [row for row, cell in enumerate(truth["is_poison"]) if cell == "1"]
    wanted = options.clean_pairs - options.poisoned_pairs
    if wanted > len(unseen):
        raise UserError(
            f"repair.clean_pairs: {wanted} is more than the {len(unseen)} pairs of {options.pairs} on whose images nothing was "
            "trained; raise data.held_out"
        )
    if options.poisoned_pairs > len(poisoned):
        told = f"{options.poisoned_pairs} is more than the {len(poisoned)} poisoned pairs of {options.attacked}"
        raise UserError(f"repair.poisoned_pairs: {told}")
    clean = _drawn(unseen, wanted, generator("clean_pairs", options.seed))
    known = {column: ["0" if column == "is_poison" else ""] * count for column in TRUTH}
    every = Pairs(
        [*pairs["path"], *attacked["path"]],
        [*pairs["caption"], *attacked["caption"]],
        {column: known[column] + truth[column] for column in TRUTH},
        np.arange(count + len(attacked["path"])),
    )
    among = [count + row for row in _drawn(poisoned, options.poisoned_pairs, generator("poisoned_pairs", options.seed))]
    return every.chosen(np.array(clean + among))


def _drawn(rows: list[int], wanted: int, rng: torch.Generator) -> list[int]:
    """Some of the rows, in their order."""
    return sorted(rows[place] for place in torch.randperm(len(rows), generator=rng)[:wanted])


def run(options: RepairOptions) -> list[dict]:
    """The rows of the history."""
    return run_training(options, REPAIRS[options.kind], lambda: read(options))


STAGE = Stage(RepairOptions, run, kinds=REPAIRS, own=RUN)
