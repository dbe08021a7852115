"""A run goes on when its terminal goes away, or what reads its messages: only those are lost."""

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class Forgiving:
    """A stream of text that may go away; from then on what is written to it is lost."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    @contextmanager
    def _may_fail(self) -> Iterator[None]:
        try:
            yield
        except OSError:  # what it holds back would fail again when Python ends
            with suppress(OSError), open(os.devnull, "wb") as nothing:
                os.dup2(nothing.fileno(), self.stream.fileno())

    def write(self, text: str) -> None:
        with self._may_fail():
            self.stream.write(text)

    def flush(self) -> None:
        with self._may_fail():
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def outlive_terminal(logger: logging.Logger) -> None:
    """SIGHUP is ignored, by all processes that are started from now on too, and the logger's messages may be lost.

    Snakemake ends, and removes what its jobs have made so far, when it cannot write a message to a pipe.
    """
    with suppress(ValueError):  # outside the main thread, where whoever started this sees to it
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is not None:
            handler.setStream(Forgiving(handler.stream))
