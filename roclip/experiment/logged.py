"""Run a command, show what it prints and keep it in a log, whatever becomes of the display.

`roclip logged LOG COMMAND...` is how every rule of the workflow starts its stage. When the terminal goes away or stdout is
closed, only the display is lost: the command runs on, and its log is complete. SIGHUP stops neither, SIGTERM is passed on to
the command, Ctrl-C reaches it from the terminal, and the status is the command's.

On a terminal the command has a terminal too, so that it draws progress bars. The log has whole lines only; of a bar that ends
as a line, its last state. `--label TEXT` puts [TEXT] before every line, to tell apart what runs side by side.
"""

import argparse
import errno
import os
import select
import signal
import subprocess
import termios
import tty
from collections.abc import Mapping, Sequence
from pathlib import Path

from roclip.core.errors import UserError

CLEAR = b"\r\x1b[K"  # removes what stands in the line of a terminal
SIZE = 1 << 16  # bytes that are read at a time


class Sink:
    """A file descriptor that is written to until that fails; from then on what is written is lost."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor, self.is_lost = descriptor, False

    def write(self, content: bytes) -> None:
        try:
            while content and not self.is_lost:
                content = content[os.write(self.descriptor, content) :]
        except OSError:
            self.is_lost = True


class Lines:
    """What a command prints, as whole lines and, on a terminal, the bar that it is drawing below them."""

    def __init__(self, log: Sink, display: Sink, label: str, on_terminal: bool) -> None:
        self.log, self.display, self.on_terminal = log, display, on_terminal
        self.label = f"[{label}] ".encode() if label else b""
        self.begun = b""  # of the line that has no end yet, what stands since its last carriage return but one

    def feed(self, printed: bytes) -> None:
        *lines, begun = (self.begun + printed).split(b"\n")
        for line in lines:
            whole = self.label + line.rstrip(b"\r").rpartition(b"\r")[2] + b"\n"
            self.log.write(whole)
            self.display.write(CLEAR + whole if self.on_terminal else whole)
        self.begun = begun[begun.rfind(b"\r", 0, -1) + 1 :]
        if self.on_terminal and self.begun:
            self._draw()

    def _draw(self) -> None:
        bar = self.begun.rstrip(b"\r")
        shown = (self.label + bar).decode(errors="replace") if bar.strip() else ""
        self.display.write(CLEAR + shown[: _size(self.display.descriptor)[0] - 1].encode())

    def end(self) -> None:
        """What has no end yet becomes a line."""
        if self.begun.strip():
            self.feed(b"\n")


def _size(terminal: int) -> tuple[int, int]:
    """Columns and rows of a terminal; as of most, where it does not say or is gone."""
    try:
        columns, rows = os.get_terminal_size(terminal)
    except OSError:
        columns, rows = 0, 0
    return columns or 80, rows or 24


def _open_standard_streams() -> None:
    """Where stdin, stdout or stderr is closed, the next file that is opened would have its number: it is /dev/null instead."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _channel(on_terminal: bool, margin: int) -> tuple[int, int]:
    """Two ends, to read from and to write to: a pipe or, on a terminal, another one, narrower by `margin` columns."""
    if not on_terminal:
        return os.pipe()
    reader, writer = os.openpty()
    tty.setraw(writer)  # line ends stay as they are
    columns, rows = _size(1)
    termios.tcsetwinsize(writer, (rows, max(20, columns - margin)))
    return reader, writer


def _start(command: Sequence[str], output: int, environment: Mapping[str, str]) -> subprocess.Popen:
    """Raises UserError for a command that cannot be started."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the command inherits it
    try:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    except OSError as error:
        raise UserError(f"{command[0]}: {error.strerror}") from None
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    signal.signal(signal.SIGINT, lambda *_: None)
    os.close(output)
    return process


def _printed(reader: int, process: subprocess.Popen) -> bytes:
    """The next that a command prints; nothing once it has ended, even where a process that it left behind could print more."""
    while True:
        ended = process.poll() is not None
        if select.select([reader], [], [], 0 if ended else 0.5)[0]:
            try:
                return os.read(reader, SIZE)
            except OSError:  # so a terminal ends
                return b""
        if ended:
            return b""


def run(command: Sequence[str], log: Path, label: str = "") -> int:
    """The status of the command, as a shell has it. Raises UserError for a log or a command that cannot be opened."""
    _open_standard_streams()
    on_terminal = os.isatty(1)
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        kept = Sink(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666))
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UserError(f"{log}: is a link, and what it leads to is not overwritten; remove it") from None
        raise UserError(f"{log}: {error.strerror}") from None
    reader, writer = _channel(on_terminal, len(label) + 3)
    # a bar a second is enough, and others may be drawn in the same line
    process = _start(command, writer, {"TQDM_MININTERVAL": "1", **os.environ} if on_terminal else os.environ)
    lines = Lines(kept, Sink(1), label, on_terminal)
    while printed := _printed(reader, process):
        lines.feed(printed)
    lines.end()
    status = process.wait()
    return status if status >= 0 else 128 - status


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("roclip logged", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--label", default="", metavar="TEXT", help="what is put before every line, in brackets")
    parser.add_argument("log", type=Path, metavar="LOG", help="file that is written anew")
    parser.add_argument("command", metavar="COMMAND", nargs=argparse.REMAINDER, help="command with its arguments")
    options = parser.parse_args(argv)
    if not options.command:
        raise UserError("usage: roclip logged [--label TEXT] LOG COMMAND...")
    return run(options.command, options.log, options.label)
