"""Writing files so that nothing half-written ever stands under a final name."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

written: list[Path] = []  # the files, and folders of images, that this process has completed


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, it is flushed to disk and renamed to `path`.

    When the block raises, the temporary file is removed and `path` stays as it was. Parent folders are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # the suffix stays last, for writers that choose a format by it
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        written.append(path)
    finally:
        temporary.unlink(missing_ok=True)
