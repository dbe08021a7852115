"""Stage: encode the images of evaluation sets, and the prompts of their classes, with every checkpoint of a model.

Writes `SET.npz` for each set, all that its measures read: `test/labels` (n,) class numbers, and where the set has probe images
`probe/labels`; and for each checkpoint `CHECKPOINT/class_features` (c, d), `CHECKPOINT/test` (n, d) and `CHECKPOINT/probe`,
un-normalised. Of captions that are looked up among the images, `captions/labels` (m,), equal to those of the images that they
should find, `CHECKPOINT/captions` (m, d) and, of an attack's, `CHECKPOINT/plain` without the trigger, normalised; where the
captions are of pairs, labels are numbers of images. `quarantine.csv` lists the images that are left out of any set.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from roclip.core.atomic import atomic
from roclip.core.columns import LABELLED, PAIRS, QUERIES
from roclip.core.errors import UserError
from roclip.core.files import read_columns, read_lines, read_table
from roclip.core.options import Stage, option, same_option
from roclip.data.images import Intake
from roclip.data.settings import DataSettings
from roclip.evaluation.class_numbers import labels_of
from roclip.evaluation.class_tokens import class_tokens
from roclip.evaluation.features import CAPTIONS, check_features
from roclip.evaluation.zero_shot_classifier import class_features
from roclip.model import towers
from roclip.model.captions import Captions
from roclip.model.choices import DEVICES, MOST_THREADS, PRECISIONS

log = logging.getLogger(__name__)

NAME = re.compile(r"[a-z0-9_][a-z0-9_.~-]*")  # of a set, and of the file that is written of it
HELD = 10_000  # images that are held at a time, 1.5 GB at 224 pixels; a multiple of the batches in which they are encoded


@dataclass(frozen=True, kw_only=True)
class EncodeOptions:
    weights: Path = option("folder with the checkpoints of a model")
    test: tuple[str, ...] = option(
        "SET=FILE for each evaluation set: its test images (path, label), or an attack's evaluation set", fewest=1, role="files"
    )
    probe: tuple[str, ...] = option(
        "SET=FILE for sets that have some: images that a linear probe is trained on (path, label)", (), role="files"
    )
    captions: tuple[str, ...] = option(
        "SET=FILE for sets that have some: captions that are looked up among the test images, an attack's (caption, plain, "
        "label), or the table of pairs (path, caption) that `test` names too",
        (),
        role="files",
    )
    classes: Path = option("file with one class name a line, of all these sets")
    templates: Path = option("file with one prompt template a line")
    out: Path = option("folder to write, with a file for each set", role="output")
    roots: tuple[str, ...] = same_option(DataSettings, "roots")
    max_bad_fraction: float = same_option(DataSettings, "max_bad_fraction")
    precision: str = option("arithmetic of the towers", choices=PRECISIONS)
    device: str = option("where to encode; auto: on the GPU when there is one", "auto", choices=DEVICES)
    threads: int = option("CPU threads", 1, minimum=1, maximum=MOST_THREADS)


class Encoder:
    """The checkpoints of a model, and what they make of images and prompts."""

    def __init__(self, options: EncodeOptions) -> None:
        """Raises UserError as `towers.load_all`."""
        self.options = options
        self.runtime = towers.Runtime.choose(options.precision, options.threads, options.device)
        self.models = towers.load_all(options.weights)
        self.config = next(iter(self.models.values()))[1]["model_config"]
        for model, _ in self.models.values():
            model.to(self.runtime.device)
        self.classes = len(read_lines(options.classes))
        self.intake = Intake(options.roots, options.max_bad_fraction)
        self.encoded: dict[tuple[Path, str], dict[str, np.ndarray]] = {}  # tables of images, by the part that they are

    def encode_set(self, test: Path, probe: Path | None, captions: Path | None) -> dict[str, np.ndarray]:
        """All that is written of an evaluation set but for its classes. Raises UserError as the methods below."""
        if captions == test:
            return self.encode_pairs(test)
        arrays = self.encode_table(test, "test")
        if captions:
            arrays |= self.encode_queries(captions)
        if probe:
            arrays |= self.encode_table(probe, "probe")
        return arrays

    def encode_classes(self) -> dict[str, np.ndarray]:
        """The features of the classes by every checkpoint, by their keys in the .npz file."""
        options = self.options
        tokens = class_tokens(options.classes, options.templates, towers.tokenizer(self.config), refuse=False)
        found = self._encode_tokens(tokens, "class_features")
        return {key: class_features(features, self.classes) for key, features in found.items()}

    def _encode_texts(self, texts: Sequence[str], part: str) -> dict[str, np.ndarray]:
        """The features of texts by every checkpoint, by their keys in the .npz file."""
        return self._encode_tokens(Captions(texts, towers.tokenizer(self.config)).tokens(), part)

    def _encode_tokens(self, tokens: Tensor, part: str) -> dict[str, np.ndarray]:
        return {
            f"{name}/{part}": towers.encode_tokens(model, tokens, self.runtime).numpy()
            for name, (model, _) in self.models.items()
        }

    def encode_table(self, table: Path, part: str) -> dict[str, np.ndarray]:
        """The features and labels of a table's images, by their keys in the .npz file; of a table that two sets share, once.

        Raises UserError for a label that is no class, for too many bad images, and where no image is left.
        """
        if (table, part) not in self.encoded:
            self.encoded[table, part] = self._encode_table(table, part)
        return dict(self.encoded[table, part])

    def _encode_table(self, table: Path, part: str) -> dict[str, np.ndarray]:
        rows = read_table(table, tuple(LABELLED))
        return self._encode_images(table, [row["path"] for row in rows], labels_of(table, rows, self.options.classes), part)

    def encode_queries(self, table: Path) -> dict[str, np.ndarray]:
        """The features and labels of an attack's captions, with the trigger and without. Raises UserError as `labels_of`."""
        rows = read_table(table, tuple(QUERIES))
        if not rows:
            raise UserError(f"{table}: no caption to judge a model on")
        arrays = {"captions/labels": labels_of(table, rows, self.options.classes)}
        for part, column in zip(CAPTIONS, QUERIES, strict=False):
            arrays |= self._encode_texts([row[column] for row in rows], part)
        return arrays

    def encode_pairs(self, table: Path) -> dict[str, np.ndarray]:
        """The features of a table's images, copies once, and of its captions; the label is the first row of the image.

        Captions of images that are left out are left out too. Raises UserError as `encode_table`.
        """
        pairs, firsts = read_columns(table, tuple(PAIRS)), {}
        images = [self.intake.roots.content_name(path) for path in pairs["path"]]
        for row, image in enumerate(images):
            firsts.setdefault(image, row)
        rows = np.array(list(firsts.values()), np.int64)
        arrays = self._encode_images(table, [pairs["path"][row] for row in rows], rows, "test", rows.tolist())
        labels = np.array([firsts[image] for image in images], np.int64)
        kept = np.flatnonzero(np.isin(labels, arrays["test/labels"]))
        arrays["captions/labels"] = labels[kept]
        return arrays | self._encode_texts([pairs["caption"][row] for row in kept], CAPTIONS[0])

    def _encode_images(
        self, table: Path, paths: list[str], labels: np.ndarray, part: str, rows: Sequence[int] | None = None
    ) -> dict[str, np.ndarray]:
        """The features and labels of images, but for those that cannot be decoded; rows: where in the table each stands."""
        kept, features = [], {name: [] for name in self.models}
        for first, images, good in self._images(table, paths, range(len(paths)) if rows is None else rows):
            kept.append(labels[first + good])
            for name, (model, _) in self.models.items():
                features[name].append(towers.encode_images(model, images, self.runtime).numpy())
        if not sum(map(len, kept)):
            raise UserError(f"{table}: no image to judge a model on")
        found = {f"{name}/{part}": np.concatenate(parts) for name, parts in features.items()}
        return {f"{part}/labels": np.concatenate(kept), **found}

    def _images(self, table: Path, paths: list[str], rows: Sequence[int]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Parts of a table's images: the first place of the part, the images, and their places in the part."""
        size = self.config["vision_cfg"]["image_size"]
        for first in range(0, len(paths), HELD):
            part = paths[first : first + HELD]
            yield first, *self.intake.load(table, part, size, self.options.threads, rows[first : first + HELD])


def _by_set(words: Sequence[str], flag: str) -> dict[str, Path]:
    """The files of `SET=FILE` words. Raises UserError for other words, for a set twice, and for a name that is no file's."""
    files = {name: Path(file) for name, _, file in (word.partition("=") for word in words)}
    if len(files) < len(words) or not all("=" in word for word in words) or not all(map(NAME.fullmatch, files)):
        raise UserError(f"--{flag}: expected SET=FILE, each set once, its name of a-z, 0-9, _, ., ~ and -")
    return files


def run(options: EncodeOptions) -> None:
    """Raises UserError as `Encoder` and its methods, and for weights whose features are NaN, infinite or the like."""
    tests, probes, captions = (_by_set(getattr(options, flag), flag) for flag in ("test", "probe", "captions"))
    if unknown := {*probes, *captions}.difference(tests):
        raise UserError(f"--test names no file of the set {min(unknown)}")
    encoder = Encoder(options)
    classes = encoder.encode_classes()
    for name, table in tests.items():
        arrays = classes | encoder.encode_set(table, probes.get(name), captions.get(name))
        for key, array in arrays.items():
            try:
                if not key.endswith("/labels"):
                    check_features(array)
            except ValueError as error:
                raise UserError(f"{options.weights}: {key}: features {error}; train the model again") from None
        with atomic(options.out / f"{name}.npz") as temporary:
            np.savez(temporary, **arrays)
        log.info("encoded %d images of %s with %s", len(arrays["test/labels"]), table, " and ".join(encoder.models))
    encoder.intake.write(options.out / "quarantine.csv")


STAGE = Stage(EncodeOptions, run)
