"""Are the results that a run keeps those that its config asks for?

Snakemake knows what settings a file was made with from its notes in .snakemake/, by path. A folder of results that was copied,
renamed or brought from another machine has none, and a file of another model, or an older list in place of the one that was
read, shows in no time of change. The records that stages leave say what they were told and what they read.
"""

import os
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from roclip.core.errors import UserError
from roclip.core.files import sha256
from roclip.core.options import shown
from roclip.core.provenance import SUFFIX, read_record, record_of

COMMANDS = ("roclip", "roclip_command")  # what stands before the name of a stage or tool
AROUND = ("logged", "gpus")  # tools that run a stage
LARGE = 1 << 24  # bytes of records that are not read: that of a million images takes seconds and 1 GB
SMALL = 1 << 20  # bytes of the files that are compared: class names, templates; of larger ones their times have to do


def check_kept(dag: Any) -> None:
    """Raises UserError for the first results that were made otherwise, and says of how many more that is so.

    dag: Snakemake's; looked at are its jobs that have a command and are not run again.
    """
    kept = (job for job in dag.jobs if job.shellcmd and job.output and not dag.needrun(job))
    wrong = [fault for job in kept for fault in _faults(job.shellcmd, Path(job.output[0]), {*job.input})]
    if wrong:
        place, fault = wrong[0]
        others = len({each for each, _ in wrong} - {place})
        more = f" (the first of {others + 1} such files)" if others else ""
        raise UserError(f"{place}: {fault}{more}; remove it, and it is made again, or put back what it was made with")


def _faults(command: str, written: Path, read: set[str]) -> Iterator[tuple[Path, str]]:
    stage, told = _told(command)
    large = any(path.stat().st_size > LARGE for path in written.parent.glob(f"*{SUFFIX}"))
    place = record_of(written) if stage and not large else None
    if place is None:
        return
    record = read_record(place)
    if record["stage"] != stage:
        yield written, f"is of the stage {record['stage']}, and not of {stage}"
    for name, value in record["options"].items():
        words = [shown(item) for item in (value if isinstance(value, list) else [] if value is None else [value])]
        if name in told and not _same(words, told[name]):
            yield written, f"made with {name} {' '.join(words) or 'none'}, and this run has {' '.join(told[name])}"
    for name, digest in record["inputs"].items():
        path = Path(os.path.normpath(place.parent / name))
        if str(path) in read and _digest(path) not in (digest, None):
            yield written, f"made with another {path} than the one that is there now"


def _told(command: str) -> tuple[str, dict[str, list[str]]]:
    """The stage that a rule's command runs, and its flags, each with its words; no stage in the command of another workflow."""
    words = shlex.split(command, comments=True)
    stages = (number for number, (word, tool) in enumerate(pairwise(words), 1) if word in COMMANDS and tool not in AROUND)
    place = next(stages, len(words))
    told: dict[str, list[str]] = {}
    name = ""
    for word in words[place + 1 :]:
        if word.startswith("--"):
            name, given, value = word[2:].partition("=")
            told.setdefault(name, []).extend([value] if given else [])
        elif name:
            told[name].append(word)
    return "".join(words[place : place + 1]), told


def _same(recorded: list[str], told: list[str]) -> bool:
    return len(recorded) == len(told) and all(map(_same_word, recorded, told))


def _same_word(one: str, two: str) -> bool:
    if one == two or os.path.normpath(one) == os.path.normpath(two):
        return True
    try:
        return float(one) == float(two)
    except ValueError:
        return False


@cache
def _digest(path: Path) -> str | None:
    """Of a small file that is there."""
    return sha256(path) if path.is_file() and path.stat().st_size <= SMALL else None
