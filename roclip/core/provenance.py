"""What a result was made with. Every stage leaves a record of that: `STAGE.record.json` in the folder that it writes, or
`FILE.record.json` beside the file that it writes.

A record holds the stage, the commit, versions, options, and `inputs` and `outputs`, files by their paths from the record's
folder (or from the root, where they were given so) with their sha256. Among the inputs are the records of the stages that wrote
them, so that a record stands for all that its outputs were made of. Its last entry is the sha256 of all before it. Two runs of
the same code on the same data write the same record.
"""

import dataclasses
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from roclip.core.atomic import atomic, completed
from roclip.core.errors import UserError
from roclip.core.files import open_file, sha256

SUFFIX = ".record.json"
SEAL = b',\n  "sha256": "'
PACKAGES = ("torch", "torchvision", "numpy", "pillow", "open_clip_torch", "safetensors", "scikit-learn")
FILES = ("inputs", "outputs")
RECORD = {"stage": str, "commit": str, "versions": dict, "options": dict} | dict.fromkeys(FILES, dict)
LONGEST = 1 << 30  # bytes of a record that are read: of a million images 150 MB
OF_ONE_REPOSITORY = (  # variables that name it, or a part of it, as in one of its hooks (git rev-parse --local-env-vars)
    "GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_PREFIX", "GIT_NAMESPACE", "GIT_SHALLOW_FILE",
)  # fmt: skip
TIMES = "pace.csv"  # how long a training took; no two runs agree in it


@cache
def commit() -> str:
    """The git commit of the code, with `-dirty` after it when files differ from it; `unknown` where it has no repository.

    Tracked files of results, such as those of the leaderboard, are no code, and runs add to them.
    An archive that was unpacked inside another repository has none, though git would name the other's commit.
    """
    home = Path(__file__).resolve().parents[2]
    top = _git(home, "rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() != home:
        return "unknown"
    found = _git(home, "rev-parse", "HEAD")
    differs = _git(home, "diff", "--name-only", "HEAD", "--", ".", ":(exclude)results")
    return f"{found}-dirty" if found and differs else found or "unknown"


def _git(home: Path, *command: str) -> str:
    """What git says of the repository in which a folder lies, whatever its variables name; nothing where it fails."""
    environment = {name: value for name, value in os.environ.items() if name not in OF_ONE_REPOSITORY}
    try:
        done = subprocess.run(["git", *command], cwd=home, env=environment, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def fingerprint(*parts: Any) -> str:
    """The sha256 of values that JSON can hold; paths and the like are taken as text."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Of Python and of the packages that a result may depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def provenance(options: Any) -> dict[str, Any]:
    """Commit, versions, and the options of a stage but for those that leave its results as they are."""
    settings = {f.name: getattr(options, f.name) for f in dataclasses.fields(options) if f.metadata["role"] != "neutral"}
    return {
        "commit": commit(),
        "versions": versions(),
        "options": json.loads(json.dumps(settings, default=str)),
    }


def files(path: Path) -> list[Path]:
    """A file, or the files below a folder, but no records and no hidden ones; nothing where there is nothing."""
    if os.path.isdir(path):  # noqa: PTH112 (Path's raise for a long name)
        found = (file for file in below(path) if file.name[0] != "." and not file.name.endswith(SUFFIX))
        return sorted(file for file in found if os.path.isfile(file))  # noqa: PTH113
    return [path] if os.path.isfile(path) else []  # noqa: PTH113


def below(folder: Path) -> list[Path]:
    """All below a folder but folders, which links lead to none; nothing where there is no folder.

    Path.rglob goes no deeper than Python's calls. Raises UserError for folders that are nested too deeply to be named.
    """
    found, waiting = [], [str(folder)] if os.path.isdir(folder) else []  # noqa: PTH112
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    (waiting if entry.is_dir(follow_symlinks=False) else found).append(entry.path)
        except PermissionError:  # as of Path.rglob
            continue
        except OSError as error:
            raise UserError(f"{folder}: the folders below it cannot be read: {error.strerror.lower()}; take them out") from None
    return [Path(path) for path in found]


@cache
def read_record(place: Path) -> dict[str, Any]:
    """A record. Raises UserError for one that is missing or not as it was written."""
    with open_file(place) as file:
        content = file.read(LONGEST)
    if content != _sealed(content.rpartition(SEAL)[0]):
        raise UserError(f"{place}: this record was changed; remove it and what it belongs to, and make that again")
    try:
        record = json.loads(content)
        if all(isinstance(record[key], kind) for key, kind in RECORD.items()) and _are_files(record):
            return record
    except (ValueError, KeyError, TypeError, RecursionError):  # sealed by somebody else
        pass
    raise UserError(f"{place}: no record of this project; remove it and what it belongs to")


def _are_files(record: dict[str, Any]) -> bool:
    """Whether inputs and outputs are paths with hashes."""
    return all(isinstance(word, str) and "\0" not in word for part in FILES for pair in record[part].items() for word in pair)


def write_record(place: Path, record: dict[str, Any]) -> None:
    """Write a record, sealed with its own sha256."""
    with atomic(place) as temporary:
        temporary.write_bytes(_sealed(json.dumps(record, indent=2, sort_keys=True).removesuffix("\n}").encode()))


def _sealed(head: bytes) -> bytes:
    return head + SEAL + hashlib.sha256(head).hexdigest().encode() + b'"\n}\n'


@cache
def _records(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"))


def record_of(path: Path) -> Path | None:
    """The record that lists a file among its outputs. Raises UserError as `read_record`."""
    for folder in (path.parent, path.parent.parent):
        for place in _records(folder):
            if str(path.relative_to(folder)) in read_record(place)["outputs"]:
                return place
    return None


def is_ours(table: Path) -> bool:
    """Whether a stage wrote a table; what apostrophes mean in anybody else's is not known, and they stay."""
    return record_of(table) is not None


def read_inputs(options: Any) -> dict[Path, str]:
    """The sha256 of each file that the options name as an input, and of the records of those that have one.

    Raises UserError for a file that is not as the stage that wrote it left it.
    """
    named: list[Path] = []
    for field in dataclasses.fields(options):
        value, role = getattr(options, field.name), field.metadata["role"]
        values = value if isinstance(value, tuple) else () if value is None else (value,)
        if role == "files":
            named += [Path(word if os.path.exists(word) else word.partition("=")[2] or word) for word in values]  # noqa: PTH110
        elif field.metadata["glob"]:
            found_in = (path for folder in values for path in folder.rglob(field.metadata["glob"]))
            named += sorted(path for path in found_in if not path.name.endswith(SUFFIX))
        elif role is None:
            named += [value for value in values if isinstance(value, Path)]
    found = {}
    for path in [file for name in named for file in files(name)]:
        found[path] = sha256(path)
        if place := record_of(path):
            refuse_changed(path, place, found[path])
            found[place] = found.get(place) or sha256(place)
    return found


def refuse_changed(path: Path, place: Path, digest: str) -> None:
    """Raises UserError for a file of another content than the record at `place` says that a stage gave it."""
    record = read_record(place)
    if digest != record["outputs"][str(path.relative_to(place.parent))]:
        raise UserError(
            f"{path}: changed after {record['stage']} wrote it, says {place}; remove it and make it again, or remove "
            "that record to use it as it is"
        )


@contextmanager
def recorded(stage: str, options: Any) -> Iterator[None]:
    """Look at a stage's inputs before it runs, and when it has ended well, write its record.

    A stage without an option that is an output has none, nor has a process that wrote nothing, such as one of several that
    share a training. Raises UserError as `read_inputs`.
    """
    roles = {field.metadata["role"]: getattr(options, field.name) for field in dataclasses.fields(options)}
    inputs = read_inputs(options) if "output" in roles else {}
    yield
    if "output" not in roles or not completed:
        return
    out = roles["output"]
    place = out / f"{stage}{SUFFIX}" if out.is_dir() else out.with_name(f"{out.stem}{SUFFIX}")
    folder = place.parent
    made = [file for path in completed for file in files(path) if file.name != TIMES]
    record = {
        "stage": stage,
        **provenance(options),
        "inputs": {str(p) if p.is_absolute() else os.path.relpath(p, folder): digest for p, digest in inputs.items()},
        "outputs": {str(path.relative_to(folder)): sha256(path) for path in made},
    }
    write_record(place, record)
