"""The state of a training on disk, so that one that was stopped resumes where it was.

A state is one safetensors file: tensors, and in its metadata a record in JSON and the fingerprint of all that decides how the
training goes on. It is no declared output of the workflow, which removes those before it starts a job again.
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from roclip.core.atomic import atomic, remove_unfinished
from roclip.core.errors import UserError

log = logging.getLogger(__name__)

KEPT = 2  # states; should the newest be damaged, the one before it is there
PATIENCE = 60.0  # seconds that a training that was told to stop has to save, before the next one gives up


class Checkpoints:
    """The states of one training in a folder of their own, `stepN.safetensors`, N being the steps taken."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder, self.fingerprint = folder, fingerprint

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder. The lock of a dead process is gone with it; a living one is waited for, it may be about to end.

        Raises UserError when it did not end in time.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / "lock"
            with open(path, "w") as file:  # opened each time: who is done removes the folder
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        busy = f"{self.folder}: another process is training this model; wait for it or stop it"
                        raise UserError(busy) from None
                else:
                    if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                        remove_unfinished(self.folder)
                        yield
                        return
            time.sleep(0.2)

    def files(self) -> list[Path]:
        """The states, newest first."""
        return sorted(self.folder.glob("step*.safetensors"), reverse=True)

    def save(self, step: int, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        """Write a state in one piece, and remove all but the newest ones."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        metadata = {"fingerprint": self.fingerprint, "record": json.dumps(record), "sha256": _digest(tensors)}
        size = sum(tensor.nbytes for tensor in tensors.values())
        with atomic(self.folder / f"step{step:09d}.safetensors", size) as temporary:
            save_file(tensors, temporary, metadata=metadata)
        for path in self.files()[KEPT:]:
            path.unlink()

    def newest(self, remove: bool = True) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and record of the newest state that is whole; None where there is none of this training.

        States of other options, data or code, and damaged ones, are passed over, and removed where `remove` says so.
        """
        for path in self.files():
            try:
                with safe_open(path, "pt") as file:
                    metadata = file.metadata()
                    if metadata["fingerprint"] != self.fingerprint:
                        raise ValueError("it is of other options, data or code")
                    tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
                if _digest(tensors) != metadata["sha256"]:
                    raise ValueError("its sha256 differs from its record")
                return tensors, json.loads(metadata["record"])
            except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
                log.warning("%s is passed over: %s", path, error)
                if remove:
                    path.unlink()
        return None

    def weights(self) -> list[Path]:
        """The weights of finished epochs that are to be kept."""
        return sorted(self.folder.glob("last_*.safetensors"))

    def remove_weights(self) -> None:
        """Remove them, where a training starts anew: those of other options may be of an epoch that it does not have."""
        for path in self.weights():
            path.unlink()

    def remove(self) -> None:
        """Remove all states, once the training is done.

        The states first: after a kill in here, one that outlived the weights beside it would be resumed without them.
        """
        for path in self.files():
            path.unlink()
        shutil.rmtree(self.folder)


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """The sha256 of names and bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
