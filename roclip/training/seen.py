"""The pairs of a table as filters and detectors see them: in a random order, without paths and rows, by a model's features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch.nn.functional import normalize

from roclip.core.errors import UserError, first_line
from roclip.core.options import SEEDS, option, same_option
from roclip.core.randomness import numpy_generator
from roclip.data.images import Intake
from roclip.data.settings import DataSettings
from roclip.defences.filters.base import Filter, Shuffled
from roclip.model import towers
from roclip.model.captions import Captions
from roclip.model.choices import MOST_THREADS
from roclip.training.settings import TrainSettings

HELD = 10_000  # images that are held at a time; a multiple of the batches in which they are encoded


@dataclass(frozen=True, kw_only=True)
class SeenOptions:
    pairs: Path = option("table of training pairs (path, caption)")
    seed: int = option("seed of the order in which pairs are seen, and of the draws of what scores them", **SEEDS)
    roots: tuple[str, ...] = same_option(DataSettings, "roots")
    max_bad_fraction: float = same_option(DataSettings, "max_bad_fraction")
    precision: str = same_option(TrainSettings, "precision")
    device: str = same_option(TrainSettings, "device")
    threads: int = option("CPU threads", 1, minimum=1, maximum=MOST_THREADS)


class InOrder(NamedTuple):
    """Pairs in a random order, and the row of each in the table (n,)."""

    paths: Sequence[str]
    captions: Sequence[str]
    rows: np.ndarray


def in_order(options: SeenOptions, table: Mapping[str, Sequence[str]], rows: np.ndarray) -> InOrder:
    """Some rows of a table of pairs in the order of the seed."""
    order = rows[numpy_generator("filter order", options.seed).permutation(len(rows))]
    return InOrder(*([table[column][row] for row in order] for column in ("path", "caption")), order)


def draws(options: SeenOptions) -> np.random.Generator:
    """Of what scores pairs: anew for each."""
    return numpy_generator("filter", options.seed)


def plain(options: SeenOptions, pairs: InOrder) -> tuple[Shuffled, np.ndarray]:
    """Pairs without features, and their rows."""
    return Shuffled(pairs.captions, None, None, draws(options)), pairs.rows


def encoded(options: SeenOptions, pairs: InOrder, weights: Path, intake: Intake) -> tuple[Shuffled, np.ndarray]:
    """Pairs by normalised features, those whose image can be read, and their rows. Raises UserError as `towers.load`."""
    runtime = towers.Runtime.choose(options.precision, options.threads, options.device)
    model, record = towers.load(weights)
    model.to(runtime.device)
    size, images, places = record["model_config"]["vision_cfg"]["image_size"], [], []
    for first in range(0, len(pairs.paths), HELD):
        part = slice(first, first + HELD)
        pixels, good = intake.load(options.pairs, pairs.paths[part], size, options.threads, pairs.rows[part])
        images.append(normalize(towers.encode_images(model, pixels, runtime), dim=-1).numpy())
        places.append(first + good)
    found = np.concatenate(places)
    captions = tuple(pairs.captions[place] for place in found)
    tokens = Captions(captions, towers.tokenizer(record["model_config"])).tokens()
    features = np.concatenate(images), towers.encode_tokens(model, tokens, runtime).numpy()
    for array in features:  # several detectors see them, one after the other
        array.setflags(write=False)
    return Shuffled(captions, *features, draws(options), device=runtime.device), pairs.rows[found]


def scores_of(name: str, scoring: Filter, pairs: Shuffled) -> np.ndarray:
    """How suspicious each pair is: (n,). name: such as `the filter 'slof'`.

    Raises UserError for scores that are no numbers, too few, too many, NaN or infinite, and for code that takes features which
    it did not ask for, or changes them.
    """
    count = len(pairs.captions)
    try:
        found = scoring.scores(pairs)
    except (AttributeError, TypeError) as error:
        if scoring.needs_model:
            raise
        raise UserError(f"{name} sees no features unless its class sets needs_model = True: {first_line(error)}") from error
    except ValueError as error:
        if "read-only" not in str(error):
            raise
        raise UserError(f"{name} changes features that others see too: {first_line(error)}; let it change a copy") from error
    try:
        scores = np.asarray(found, float)
    except (TypeError, ValueError):
        raise UserError(f"{name}: its scores are no numbers") from None
    if found is None or scores.shape != (count,):
        what = "None" if found is None else f"scores of shape {scores.shape}"
        raise UserError(f"{name} gave {what} for {count} pairs; it must give one score for each, of shape ({count},)")
    if bad := count - np.isfinite(scores).sum():
        raise UserError(f"{name}: {bad} of {count} scores are NaN or infinite")
    return scores
