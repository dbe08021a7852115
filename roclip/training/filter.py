"""Stage: filter the pairs of a table before a training.

Writes `kept.csv` (the rows that are kept), `scores.csv` (how suspicious each pair is) and `quarantine.csv` (images that cannot
be read; they are not kept). The filter sees the pairs in a random order, without paths and rows.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch.nn.functional import normalize

from roclip.core.columns import KEPT, SCORES
from roclip.core.errors import UserError
from roclip.core.files import write_rows
from roclip.core.options import Stage, option, part_of, same_option
from roclip.core.randomness import numpy_generator
from roclip.data.images import Intake
from roclip.data.pairs import read_pairs
from roclip.data.settings import DataSettings
from roclip.defences.filters import FILTERS
from roclip.defences.filters.base import Shuffled
from roclip.model import towers
from roclip.model.captions import Captions
from roclip.model.start_weights import latest
from roclip.training.monitor import read_truth
from roclip.training.settings import TrainSettings

log = logging.getLogger(__name__)

HELD = 10_000  # images that are held at a time; a multiple of the batches in which they are encoded


@dataclass(frozen=True, kw_only=True)
class FilterOptions:
    pairs: Path = option("table of training pairs (path, caption)")
    weights: Path | None = option("folder with the weights of the model that scores; the latest are used", None)
    truth: Path | None = option("which pairs are poisoned; only for a filter that reads it, as no defender could", None)
    out: Path = option("folder of the filter", role="output")
    seed: int = option("seed of the order in which the filter sees the pairs, and of its draws", minimum=0)
    roots: tuple[str, ...] = same_option(DataSettings, "roots")
    max_bad_fraction: float = same_option(DataSettings, "max_bad_fraction")
    precision: str = same_option(TrainSettings, "precision")
    device: str = same_option(TrainSettings, "device")
    threads: int = option("CPU threads", 1, minimum=1)


def features(
    options: FilterOptions, runtime: towers.Runtime, paths: list[str], captions: list[str], order: np.ndarray, intake: Intake
) -> tuple[np.ndarray, ...]:
    """Normalised features of images and captions, and the places of the pairs whose image can be read: (n, d), (n, d), (n,).

    order: the row of each pair in the table.
    """
    model, record = towers.load(latest(options.weights))
    model.to(runtime.device)
    size, images, places = record["model_config"]["vision_cfg"]["image_size"], [], []
    for first in range(0, len(paths), HELD):
        part = slice(first, first + HELD)
        pixels, good = intake.load(options.pairs, paths[part], size, options.threads, order[part])
        images.append(normalize(towers.encode_images(model, pixels, runtime), dim=-1).numpy())
        places.append(first + good)
    found = np.concatenate(places)
    tokens = Captions([captions[place] for place in found], towers.tokenizer(record["model_config"])).tokens()
    return np.concatenate(images), towers.encode_tokens(model, tokens, runtime).numpy(), found


def run(options: FilterOptions) -> None:
    """Raises UserError for a filter that needs a model and has none, and for one that is told the truth and should not be."""
    chosen = FILTERS[options.kind]
    if chosen.needs_model and options.weights is None:
        raise UserError(f"--weights: the filter '{options.kind}' needs the weights of a model that scores")
    if chosen.reads_truth != (options.truth is not None):
        how = "needs to be told which pairs are poisoned" if chosen.reads_truth else "sees only what a defender sees"
        raise UserError(f"--truth: the filter '{options.kind}' {how}")
    pairs = read_pairs(options.pairs)
    order = numpy_generator("filter order", options.seed).permutation(len(pairs["path"]))
    paths, captions = ([pairs[column][row] for row in order] for column in ("path", "caption"))
    runtime = towers.Runtime.choose(options.precision, options.threads, options.device if chosen.needs_model else "cpu")
    intake, seen = Intake(options.roots, options.max_bad_fraction), (None, None, np.arange(len(order)))
    if chosen.needs_model:
        seen = features(options, runtime, paths, captions, order, intake)
    images, texts, places = seen
    rng = numpy_generator("filter", options.seed)
    shown = Shuffled([captions[place] for place in places], images, texts, rng, device=runtime.device)
    if chosen.reads_truth:
        is_poison = read_truth(options.truth, options.pairs, len(order))["is_poison"]
        shown = replace(shown, is_poison=np.array([is_poison[row] == "1" for row in order[places]]))
    filtering = chosen(part_of(options, chosen.Settings))
    scores = np.asarray(filtering.scores(shown), float)
    if scores.shape != places.shape or not np.isfinite(scores).all():
        raise UserError(
            f"the filter '{options.kind}' gave {scores.shape} scores, or NaN or infinite ones, for {len(places)} pairs"
        )
    kept = np.argsort(scores, kind="stable")[: filtering.count(scores)]
    rows = order[places]
    write_rows(options.out / "scores.csv", tuple(SCORES), sorted(zip(rows.tolist(), map("{:.6g}".format, scores), strict=True)))
    write_rows(options.out / "kept.csv", tuple(KEPT), ([row] for row in sorted(rows[kept].tolist())))
    intake.write(options.out / "quarantine.csv")
    log.info("kept %d of %d pairs", len(kept), len(order))


STAGE = Stage(FilterOptions, run, kinds=FILTERS)
