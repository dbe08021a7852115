"""SIGTERM and Ctrl-C, for a stage that saves before it ends."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from roclip.core.errors import ComeBack


class StopSignals:
    """SIGTERM and Ctrl-C end the stage at once, or, while they are held, come to be noted in `came`."""

    def __init__(self) -> None:
        self.came = False
        self.are_held = False

    def _take(self, number: int, _) -> None:
        self.came = True
        if not self.are_held:
            raise ComeBack("stopped; start it again to resume")

    @contextmanager
    def taken(self) -> Iterator["StopSignals"]:
        """In place of what they do otherwise."""
        before = {number: signal.signal(number, self._take) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """While steps are taken and files written."""
        self.are_held = True
        try:
            yield
        finally:
            self.are_held = False
