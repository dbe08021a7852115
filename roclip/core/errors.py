"""What ends a stage with a line in place of a traceback."""

import errno
import logging
import traceback
from pathlib import Path

# what errors of PyTorch say that have no class of their own, of CUDA, cuBLAS and cuDNN, and of the CPU's memory
OUT_OF_MEMORY = ("out of memory", "_STATUS_ALLOC_FAILED", "can't allocate memory")
NO_PLACE = (
    errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG,
)  # fmt: skip


def one_line(text: str) -> str:
    """A text from data as it is shown: line breaks and what else a terminal would act on are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class OneLine(logging.Formatter):
    """A message of the log is one line: what stands in data forges none, and nothing that a terminal would act on."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return one_line(super().formatMessage(record))


def log_lines(form: str, clock: str | None = None) -> None:
    """From now on messages of the log are lines on stderr. form and clock: as of logging.Formatter."""
    shown = logging.StreamHandler()
    shown.setFormatter(OneLine(form, clock))
    logging.basicConfig(level=logging.INFO, handlers=[shown])


class UserError(Exception):
    """A mistake of the user's; its message is one line that names the key, file or row, and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class ComeBack(BaseException):
    """The stage was told to stop and has saved: started again, it resumes.

    No Exception, or what catches those would take it for the fault of an image.
    """


def first_line(error: BaseException) -> str:
    """What an error says, in a line that is not too long; its name where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was too little memory, of a GPU or of the machine."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(s in str(error) for s in OUT_OF_MEMORY))


def is_no_place(error: BaseException) -> bool:
    """Whether a file or a folder could not be made where it belongs: something else is there, or nothing may be."""
    return isinstance(error, OSError) and bool(error.filename) and error.errno in NO_PLACE


def lacks_semaphores(error: BaseException) -> bool:
    """Whether Python's processes could not be given the locks that they share, which Linux keeps in /dev/shm."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    return isinstance(error, OSError) and any(Path(frame.filename).name == "synchronize.py" for frame in last)
