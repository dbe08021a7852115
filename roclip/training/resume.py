"""The states of a training on disk, so that one that was stopped resumes where it was.

A state is one safetensors file: tensors, and in its metadata a record in JSON and the identity of the training, which is all
that decides how it goes on. States of each identity have a folder of their own in `state/`, so those of other options, data or
code are kept beside the training's own. None is a declared output of the workflow, which removes those before it starts a job
again.
"""

import hashlib
import json
import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from roclip.core.atomic import atomic, remove_unfinished
from roclip.core.errors import UserError
from roclip.core.locks import lock, open_lock
from roclip.model.towers import EPOCH
from roclip.training.identity import Identity, fingerprint_of

log = logging.getLogger(__name__)

KEPT = 2  # states; should the newest be damaged, the one before it is there
OTHERS = 3  # trainings of another identity whose states are kept, those that went furthest
PATIENCE = 60.0  # seconds that a training that was told to stop has to save, before the next one gives up
DAMAGED = (SafetensorError, OSError, KeyError, TypeError, ValueError)  # what reading a damaged state may raise


@dataclass(frozen=True)
class State:
    """Where a training was: the steps taken, tensors and record as they were saved, and of which training they are."""

    path: Path
    sha256: str  # of all below
    identity: Identity
    tensors: Mapping[str, Tensor]
    record: Mapping[str, Any]

    @property
    def step(self) -> int:
        return step_of(self.path)


def step_of(path: Path) -> int:
    """The steps that were taken when a state was saved, by its name."""
    return int(path.stem.removeprefix("step"))


class States:
    """The states of the trainings of one model in `root`; in `folder` those of one identity, `stepN.safetensors`, N being the
    steps taken, and the weights of finished epochs that are to be kept, `last_KIND.safetensors` and `epoch_N.safetensors`.

    resumed: from which states of another identity this training was resumed, in words.
    """

    def __init__(self, root: Path, identity: Identity) -> None:
        self.root, self.identity = root, identity
        self.fingerprint = fingerprint_of(identity)
        self.folder = root / self.fingerprint[:12]
        self.resumed: list[str] = []

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the root. The lock of a dead process is gone with it; a living one is waited for, it may be about to end.

        Raises UserError when it did not end in time.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            self.root.mkdir(parents=True, exist_ok=True)
            path = self.root / "lock"
            with os.fdopen(open_lock(path)) as file:  # opened each time: who is done removes the folder
                if lock(file.fileno(), self.root):
                    if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                        for folder in self.folders():
                            remove_unfinished(folder)
                        yield
                        return
                elif time.monotonic() > deadline:
                    raise UserError(f"{self.root}: another process is training this model; wait for it or stop it")
            time.sleep(0.2)

    def folders(self) -> list[Path]:
        """That of this training, which need not be there, and those of others."""
        return [self.folder, *sorted(path for path in self.root.glob("*") if path.is_dir() and path != self.folder)]

    def files(self, folder: Path | None = None) -> list[Path]:
        """The states, newest first; of this training unless a folder is given."""
        return sorted((folder or self.folder).glob("step*.safetensors"), reverse=True)

    def others(self) -> list[Path]:
        """The folders of other trainings that have states, the one that went furthest first."""
        found = [folder for folder in self.folders()[1:] if self.files(folder)]
        return sorted(found, key=lambda folder: step_of(self.files(folder)[0]), reverse=True)

    def bytes_of_others(self) -> int:
        """Bytes that stay on the disk as long as the training runs."""
        return sum(path.stat().st_size for folder in self.folders()[1:] for path in folder.iterdir())

    def forget(self) -> None:
        """Remove the states of other trainings but for the OTHERS that went furthest."""
        for folder in set(self.folders()[1:]) - set(self.others()[:OTHERS]):
            log.info("%s is removed: of other settings, data or code, and %d others that went further are kept", folder, OTHERS)
            shutil.rmtree(folder)

    def save(self, step: int, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        """Write a state in one piece, and remove all but the newest ones."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        names = Counter(tensor.untyped_storage().data_ptr() for tensor in tensors.values())  # safetensors takes one of each
        shared = [name for name, tensor in tensors.items() if names[tensor.untyped_storage().data_ptr()] > 1]
        tensors |= {name: tensors[name].clone() for name in shared}
        metadata = {"identity": json.dumps(dict(self.identity)), "record": json.dumps(record)}
        metadata["sha256"] = _digest(tensors, metadata)
        size = sum(tensor.nbytes for tensor in tensors.values())
        with atomic(self.folder / f"step{step:09d}.safetensors", size) as temporary:
            save_file(tensors, temporary, metadata=metadata)
        for path in self.files()[KEPT:]:
            path.unlink()

    def newest(self, folder: Path | None = None) -> State | None:
        """The newest state of a folder that is whole; None where there is none.

        Damaged ones are passed over, and removed where they are this training's own.
        """
        for path in self.files(folder):
            try:
                return read_state(path)
            except DAMAGED as error:
                log.warning("%s is passed over: %s", path, error)
                if path.parent == self.folder:
                    path.unlink()
        return None

    def awaited(self, name: str, sha256: str, seconds: float) -> State | None:
        """The state that another rank read, once it is here too, or None: what a network file system shows may be old."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                state = read_state(self.root / name)
                if state.sha256 == sha256:
                    return state
            except DAMAGED:  # or not there
                pass
            time.sleep(0.5)
        return None

    def weights(self, folder: Path | None = None) -> list[Path]:
        """The weights of finished epochs that are to be kept; of this training unless a folder is given."""
        found = (folder or self.folder).glob("*.safetensors")
        return sorted(path for path in found if path.name.startswith(("last_", EPOCH)))

    def remove_weights(self) -> None:
        """Remove them, where a training starts anew."""
        for path in self.weights():
            path.unlink()

    def take_over(self, folder: Path) -> None:
        """Have the weights of another training, from whose state this one resumes, in place of its own states and weights.

        The states first: after a kill in here, one that is left would be resumed with the weights of the other.
        """
        for path in self.files():
            path.unlink()
        self.remove_weights()
        for path in self.weights(folder):
            with atomic(self.folder / path.name, path.stat().st_size) as temporary:
                shutil.copyfile(path, temporary)

    def remove(self) -> None:
        """Remove all states, those of other trainings too, once the training is done.

        Its own states first: after a kill in here, one that outlived the weights beside it would be resumed without them.
        """
        for path in self.files():
            path.unlink()
        shutil.rmtree(self.root)


def read_state(path: Path) -> State:
    """A state. Raises one of DAMAGED for one that is not whole."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    if _digest(tensors, metadata) != metadata["sha256"]:
        raise ValueError("its sha256 differs from its content")
    return State(path, metadata["sha256"], json.loads(metadata["identity"]), tensors, json.loads(metadata["record"]))


def read_identity(path: Path) -> Identity:
    """The identity of a state, without its tensors. Raises one of DAMAGED."""
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["identity"])


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """The sha256 of identity and record, and of the tensors' names and bytes."""
    digest = hashlib.sha256(f"{metadata['identity']}{metadata['record']}".encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
