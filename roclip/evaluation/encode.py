"""Stage: encode every image list and the prompts with both checkpoints of a model, each image once.

Writes `features.npz`, all that the measures read: for each exam `EXAM/labels` (n,) class numbers; and for each
checkpoint `CHECKPOINT/class_features` (c, d) and `CHECKPOINT/EXAM` (n, d), un-normalised. Exams are `test`, `probe` and
the name of every attack that has an exam. The images that were left out are listed in a CSV.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from roclip.core.atomic import atomic
from roclip.core.files import read_lines, read_table
from roclip.core.options import Stage, option
from roclip.data.images import Intake
from roclip.evaluation.zero_shot_classifier import class_features, labels_of, prompts
from roclip.model import towers
from roclip.model.captions import Captions

log = logging.getLogger(__name__)

HELD = 10_000  # images that are held at a time, 1.5 GB at 224 pixels; a multiple of the batches in which they are encoded


@dataclass(frozen=True)
class EncodeOptions:
    weights: Path = option("folder with the checkpoints of a model")
    exams: tuple[str, ...] = option("NAME=TABLE of each list of labelled images (path, label)", role="files")
    classes: Path = option("file with one class name a line")
    templates: Path = option("file with one prompt template a line")
    out: Path = option("the .npz file to write", role="output")
    quarantine: Path = option("the CSV of the images that were left out, to write", role="setting")
    roots: tuple[str, ...] = option("folders in which images may lie; none outside them is opened")
    max_bad_fraction: float = option("share of images that may be missing or broken")
    precision: str = option("arithmetic of the towers", choices=("bf16", "float32"))
    threads: int = option("CPU threads", default=1)


def run(options: EncodeOptions) -> None:
    """Raises UserError as `towers.load_all`, for a label that is no class, and for too many bad images."""
    runtime = towers.Runtime.choose(options.precision, options.threads)
    classes = read_lines(options.classes)
    models = towers.load_all(options.weights)
    config = next(iter(models.values()))[1]["model_config"]
    intake, arrays = Intake(options.roots, options.max_bad_fraction), {}
    prompt_tokens = Captions(prompts(classes, read_lines(options.templates)), towers.tokenizer(config)).tokens()
    for checkpoint, (model, _) in models.items():
        model.to(runtime.device)
        features = towers.encode_tokens(model, prompt_tokens, runtime).numpy()
        arrays[f"{checkpoint}/class_features"] = class_features(features, len(classes))
    for exam in options.exams:
        name, _, table = exam.partition("=")
        rows = read_table(Path(table), ("path", "label"))
        size = config["vision_cfg"]["image_size"]
        paths, labels = [r["path"] for r in rows], labels_of(Path(table), rows, classes)
        kept, parts = [], {checkpoint: [] for checkpoint in models}
        for first in range(0, max(1, len(paths)), HELD):
            part = paths[first : first + HELD]
            images, good = intake.load(Path(table), part, size, options.threads, range(first, first + len(part)))
            kept.append(labels[first + good])
            for checkpoint, (model, _) in models.items():
                parts[checkpoint].append(towers.encode_images(model, images, runtime).numpy())
        arrays[f"{name}/labels"] = np.concatenate(kept)
        arrays |= {f"{checkpoint}/{name}": np.concatenate(features) for checkpoint, features in parts.items()}
        log.info("encoded %d images of %s with %s", len(arrays[f"{name}/labels"]), name, " and ".join(models))
    with atomic(options.out) as temporary:
        np.savez(temporary, **arrays)
    intake.write(options.quarantine)


STAGE = Stage(EncodeOptions, run)
