"""The shards that img2dataset writes: which are whole, and what is in them.

A shard is three files: `00000.tar` with the images, `00000.parquet` with a row for each URL, and, once both are closed,
`00000_stats.json`.
"""

import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as parquet
from PIL import Image

from roclip.core.errors import one_line
from roclip.data.image_paths import member_path

COLUMNS = ["key", "row", "url", "caption", "status", "error_message"]
UNFINISHED = "not finished"
MARK = "fingerprint.json"  # beside the lists, what they were made from
TAR_END = bytes(1024)


def are_whole(lists: Path, splits: Iterable[str], identity: Mapping[str, Any]) -> bool:
    """Whether the lists that img2dataset was given are there, of these splits, and what they were made from is this."""
    try:
        for split in splits:
            parquet.read_metadata(lists / f"{split}.parquet")
        return json.loads((lists / MARK).read_text()) == identity
    except (OSError, ValueError, RecursionError, pyarrow.ArrowException):  # a run that was stopped left half of one
        return False


@dataclass(frozen=True)
class Shard:
    """A shard that img2dataset was asked for: `rows` URLs of one split, which are the group `group` of its list."""

    folder: Path
    number: int
    split: str
    rows: int
    group: int = 0

    @property
    def tar(self) -> Path:
        return self.folder / f"{self.number:05d}.tar"

    @property
    def table(self) -> Path:
        return self.folder / f"{self.number:05d}.parquet"

    @property
    def stats(self) -> Path:
        return self.folder / f"{self.number:05d}_stats.json"

    def remove(self) -> None:
        """Remove it, its mark of completion first, so that a kill on the way leaves no shard that looks whole."""
        for path in (self.stats, self.tar, self.table):
            path.unlink(missing_ok=True)

    def outcomes(self) -> list[dict]:
        """What became of each URL, a dict of COLUMNS, in the order of the list."""
        table = parquet.read_table(self.table, columns=COLUMNS)
        return sorted(table.to_pylist(), key=lambda outcome: outcome["key"])

    def _are_of_its_list(self, outcomes: list[dict]) -> bool:
        """Whether each outcome is of another row of the list, and has its URL and its text."""
        columns = COLUMNS[1:4]  # row, url and caption
        listed = parquet.ParquetFile(self.folder / f"list/{self.split}.parquet").read_row_group(self.group, columns)
        wanted = {tuple(row[name] for name in columns) for row in listed.to_pylist()}
        return len(wanted & {tuple(outcome[name] for name in columns) for outcome in outcomes}) == len(outcomes)

    def failed(self) -> Iterator[tuple[int, str, str]]:
        """Row, URL and reason of those that gave no image, in the order of the list."""
        for outcome in self.outcomes():
            if outcome["status"] != "success":
                message = outcome["error_message"] or "no reason given"  # such as of Python's MemoryError
                yield outcome["row"], outcome["url"], one_line(message.splitlines()[0])

    def failures(self) -> int:
        """How many of its URLs gave no image."""
        return self.rows - sum(outcome["status"] == "success" for outcome in self.outcomes())

    def images(self) -> Iterator[tuple[str, str, bytes]]:
        """(key, suffix, content) of each image, in the order in which they came."""
        with tarfile.open(self.tar) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                if suffix not in ("json", "txt"):
                    yield key, suffix, tar.extractfile(member).read()

    def paths(self) -> dict[str, str]:
        """The path of each image by its key, as `roclip.data.images` reads it."""
        with tarfile.open(self.tar) as tar:
            members = [member for member in tar if not member.name.endswith((".json", ".txt"))]
        return {member.name.partition(".")[0]: member_path(self.tar, member) for member in members}

    def fault(self) -> str | None:
        """What is wrong with it, or None: it is complete, and every image that its table promises is there and opens."""
        if not self.stats.exists():
            return UNFINISHED
        try:
            if json.loads(self.stats.read_text())["count"] != self.rows:
                return f"made of another list than one of {self.rows} URLs"
            outcomes = self.outcomes()
            keys = {outcome["key"] for outcome in outcomes}
            if len(keys) < len(outcomes):
                return "duplicate keys in its table"
            if not self._are_of_its_list(outcomes):
                return "its table is of other URLs, rows or texts than the list"
            promised = {outcome["key"] for outcome in outcomes if outcome["status"] == "success"}
            for key, _, content in self.images():
                if key not in promised:
                    return f"image {key} is a duplicate, or not in its table"
                promised.remove(key)
                with Image.open(io.BytesIO(content)) as image:
                    if 0 in image.size:
                        return f"image {key} is empty"
            if promised:
                return f"{len(promised)} images are missing"
            with open(self.tar, "rb") as tar:  # tarfile does not mind when the end is missing, and the last captions with it
                tar.seek(-len(TAR_END), os.SEEK_END)
                return None if tar.read() == TAR_END else "its tar has no end"
        except Exception as error:  # what others' files may raise is of many kinds, and each of them is a fault
            return f"{type(error).__name__}: {' '.join(str(error).split())}"
