"""Reading the features that `roclip.evaluation.encode` wrote, without importing torch."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from roclip.core.errors import UserError
from roclip.core.options import option

NOT_ATTACKS = ("test", "probe")


@dataclass(frozen=True)
class MeasureOptions:
    features: Path = option("features.npz of a model")
    out: Path = option("the JSON file to write", role="output")


@dataclass(frozen=True)
class AccuracyOptions(MeasureOptions):
    exam: str = option("what the test images are called in the rows, such as the name of a downstream set", default="test")


class Features:
    """The features of one model: its checkpoints, and the images and labels of every exam."""

    def __init__(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as archive:
                self._arrays = dict(archive)
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; run the encode stage first") from None
        except (ValueError, OSError, EOFError, TypeError, BadZipFile) as error:
            raise UserError(f"{path}: not a feature file ({error})") from None
        self.checkpoints = sorted(key.split("/")[0] for key in self._arrays if key.endswith("/class_features"))
        if not self.checkpoints:
            raise UserError(f"{path}: not a feature file (no checkpoint in it)")
        self.exams = sorted(key.removesuffix("/labels") for key in self._arrays if key.endswith("/labels"))

    def class_features(self, checkpoint: str) -> np.ndarray:
        """(classes, dimension), normalised."""
        return self._arrays[f"{checkpoint}/class_features"]

    def images(self, checkpoint: str, exam: str) -> np.ndarray:
        """(images, dimension), un-normalised."""
        return self._arrays[f"{checkpoint}/{exam}"]

    def labels(self, exam: str) -> np.ndarray:
        """(images,) class numbers."""
        return self._arrays[f"{exam}/labels"]

    def attacks(self) -> Iterator[str]:
        """The exams that an attack wrote and that have images."""
        return (exam for exam in self.exams if exam not in NOT_ATTACKS and len(self.labels(exam)))
