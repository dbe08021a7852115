"""Reading the features that the stage encode wrote, without importing torch."""

from __future__ import annotations

import io
import os
from pathlib import Path
from zipfile import ZipFile

from roclip.core.deferred import Deferred
from roclip.core.errors import UserError
from roclip.core.files import open_file

np = Deferred("numpy")
PARTS = ("test", "probe")
CAPTIONS = ("captions", "plain")  # with the trigger of an attack and without; of pairs the first alone
SMALLEST, LARGEST = 1e-15, 1e15  # largest number of a row: beyond, squares and products of float32 would be 0 or infinite


def check_features(features: np.ndarray) -> None:
    """Raises ValueError for features (n, d) that scores cannot be computed from; a row of zeros may be among them."""
    if features.dtype.kind != "f" or features.dtype.itemsize not in (4, 8):  # whole numbers wrap, and 16 bits overflow
        raise ValueError(f"are {features.dtype} and must be float32 or float64")
    if features.ndim != 2 or not features.shape[1]:
        raise ValueError(f"have the shape {features.shape} and must be rows of at least one number")
    sizes = np.maximum(features.max(axis=1), -features.min(axis=1))
    if not np.isfinite(sizes).all():  # NaN would count as a hit
        raise ValueError("are NaN or infinite")
    if not ((sizes == 0) | ((sizes >= SMALLEST) & (sizes <= LARGEST))).all():
        raise ValueError(f"have a row whose largest number is not from {SMALLEST:g} to {LARGEST:g}")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz file by their names, as `numpy.savez` writes them; numbers only. The file may be untrusted.

    It takes as much memory as the file is long: arrays must not be compressed, and shapes must fit what is there. Raises
    UserError for a file that is missing, and for any other file.
    """
    try:
        with open_file(path) as file, ZipFile(file) as archive:
            if sum(member.file_size for member in archive.infolist()) > os.fstat(file.fileno()).st_size:
                raise ValueError("its arrays are compressed")
            return {name.removesuffix(".npy"): _array(archive.read(name)) for name in archive.namelist()}
    except UserError:
        raise
    except Exception as error:  # zipfile and numpy raise many kinds for what is broken
        raise UserError(f"{path}: not a feature file ({error}); run the encode stage again") from None


def _array(content: bytes) -> np.ndarray:
    """An array from the bytes of a .npy file of version 1.0. Raises ValueError and others for what is none."""
    stream = io.BytesIO(content)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an array of another version than 1.0")
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.kind not in "iuf":
        raise ValueError(f"an array of {dtype}, not of numbers")
    return np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape, order="F" if by_columns else "C")


def _check_all(checkpoint: str, *arrays: np.ndarray) -> None:
    """Raises ValueError as `check_features`."""
    for features in arrays:
        try:
            check_features(features)
        except ValueError as error:
            raise ValueError(f"features of {checkpoint} {error}") from None


class Features:
    """The features of one model on one evaluation set: of its test images, and of probe images where the set has some."""

    def __init__(self, path: Path) -> None:
        """Raises UserError for a file that is missing, or not as the stage encode writes it."""
        self.path, self._arrays = path, read_arrays(path)
        self.checkpoints = sorted(key.split("/")[0] for key in self._arrays if key.endswith("/class_features"))
        self.has_probe, self.has_captions = (f"{part}/labels" in self._arrays for part in ("probe", "captions"))
        try:
            if not self.checkpoints:
                raise ValueError("no checkpoint in it")
            for checkpoint in self.checkpoints:
                for part in PARTS[: 1 + self.has_probe]:
                    self._check(checkpoint, part)
                if self.has_captions:
                    self._check_captions(checkpoint)
        except KeyError as error:
            raise UserError(f"{path}: not a feature file (no array {error}); run the encode stage again") from None
        except ValueError as error:
            raise UserError(f"{path}: not a feature file ({error}); run the encode stage again") from None

    def _check(self, checkpoint: str, part: str) -> None:
        """Raises KeyError for an array that is not there, and ValueError for arrays that do not fit each other."""
        classes, images, labels = self.class_features(checkpoint), self.images(checkpoint, part), self.labels(part)
        if (classes.ndim, labels.ndim) != (2, 1) or images.shape != (len(labels), classes.shape[1]):
            raise ValueError(f"the shapes of {checkpoint}/{part}, its labels and the classes do not fit")
        # where captions are looked up, labels may be numbers of images
        most = np.inf if self.has_captions else len(classes)
        if not len(labels) or labels.dtype.kind == "f" or labels.min() < 0 or labels.max() >= most:
            raise ValueError(f"{part}/labels are no numbers of its {len(classes)} classes")
        _check_all(checkpoint, images, classes)

    def _check_captions(self, checkpoint: str) -> None:
        """Raises KeyError and ValueError as `_check`."""
        labels, shape = self.labels("captions"), self.images(checkpoint).shape
        for part in CAPTIONS[: 1 + (f"{checkpoint}/{CAPTIONS[1]}" in self._arrays)]:
            captions = self.captions(checkpoint, part)
            if captions.shape != (len(labels), shape[1]) or labels.ndim != 1 or not len(labels) or labels.dtype.kind == "f":
                raise ValueError(f"the shapes of {checkpoint}/{part}, its labels and the images do not fit")
            _check_all(checkpoint, captions)

    def class_features(self, checkpoint: str) -> np.ndarray:
        """(classes, dimension), normalised."""
        return self._arrays[f"{checkpoint}/class_features"]

    def images(self, checkpoint: str, part: str = "test") -> np.ndarray:
        """(images, dimension), un-normalised; `part` is test or probe."""
        return self._arrays[f"{checkpoint}/{part}"]

    def captions(self, checkpoint: str, part: str = "captions") -> np.ndarray:
        """(captions, dimension), normalised; `part` is one of CAPTIONS. Raises UserError where there are none."""
        try:
            return self._arrays[f"{checkpoint}/{part}"]
        except KeyError:
            raise UserError(f"{self.path}: no captions {checkpoint}/{part}; run the encode stage again") from None

    def labels(self, part: str = "test") -> np.ndarray:
        """(images,) class numbers; of an attack's evaluation set, of the adversary's classes.

        Of `captions` the labels of the images that they should find. In a set of pairs labels are numbers of images.
        """
        return self._arrays[f"{part}/labels"]
