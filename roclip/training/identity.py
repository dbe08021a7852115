"""What decides the weights and the history of a training, by name, so that a state can say what differs now."""

import ast
import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from roclip.core.options import shown
from roclip.core.provenance import fingerprint, read_inputs, versions
from roclip.model import towers
from roclip.training import batch_norms
from roclip.training.settings import LoopOptions, TrainSettings

PROCESSES = "the number of processes"  # changes results by rounding alone, and so is no part of the fingerprint
# what a training imports and its results do not depend on: what saves, resumes and publishes; options, whose values count
WITHOUT_EFFECT = ("roclip.training.run", "roclip.training.settings", "roclip.data.settings")
UNUSED = ("scikit-learn",)  # packages that only measures need
NAMED = 4  # differences in a message

Identity = Mapping[str, str]  # parts by name; of files and code, their sha256


def identity(options: LoopOptions, runtime: towers.Runtime, *modules: str) -> Identity:
    """Options, files, code, libraries, device, arithmetic and number of processes.

    Of files that stages wrote, their records count too, and so the images that a table names. modules: of the defence and of
    what reads the pairs, whose code counts with all that it imports.
    """
    parts = dict(_options(options))
    parts["the model's config"] = fingerprint(towers.model_config(options.model, options.pixels))
    for path, digest in read_inputs(options).items():  # by name, for a folder may be moved
        name = f"the content of {path.name}"
        parts[name] = f"{parts[name]} {digest}" if name in parts else digest
    parts |= {name: version for name, version in versions().items() if name not in UNUSED}
    parts["the device"], parts["the arithmetic"] = runtime.device.type, runtime.arithmetic
    if batch_norms.depend_on_ranks(options):
        parts[f"{PROCESSES}, on which batch norms depend,"] = os.environ.get("WORLD_SIZE", "1")
    parts[PROCESSES] = os.environ.get("WORLD_SIZE", "1")
    files = _imported(["roclip.training.trainer", *modules])
    return parts | {f"the code of {path.relative_to(towers.HOME)}": code(path) for path in files}


def fingerprint_of(parts: Identity) -> str:
    """Equal where the results are, but for rounding."""
    return fingerprint({name: value for name, value in parts.items() if name != PROCESSES})


def differences(before: Identity, now: Identity) -> list[str]:
    """What differs, in words: `train.learning_rate was 0.001, is 0.002`; code, of which one edit changes much, last."""
    names = [name for name in {**now, **before} if before.get(name) != now.get(name)]
    return [_difference(name, before.get(name), now.get(name)) for name in sorted(names, key=_is_code)]


def listed(faults: list[str]) -> str:
    """The first of some differences, and how many there are beside them."""
    return ", ".join(faults[:NAMED]) + (f" and {len(faults) - NAMED} more" if len(faults) > NAMED else "")


def _difference(name: str, before: str | None, now: str | None) -> str:
    if before is None or now is None:
        return f"{name} is {'new' if before is None else 'gone'}"
    if _is_code(name) or name.startswith("the content of ") or name == "the model's config":
        return f"{name} differs"
    return f"{name} was {before}, is {now}" + (" (equal up to rounding)" if name == PROCESSES else "")


def _is_code(name: str) -> bool:
    return name.startswith("the code of ")


def _options(options: LoopOptions) -> Iterator[tuple[str, str]]:
    """The options that are no files: of those the content counts, wherever they lie."""
    common = {field.name for field in dataclasses.fields(TrainSettings)}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.metadata["role"] not in ("output", "neutral", "files") and not isinstance(value, Path):
            yield f"train.{field.name}" if field.name in common else field.name, shown(value)


def _imported(modules: list[str]) -> list[Path]:
    """The files of some modules, and of those of this project that they import: no package, whose registry names all others."""
    found: dict[str, Path] = {}
    while modules:
        name = modules.pop()
        path = towers.HOME / f"{name.replace('.', '/')}.py"
        if name not in found and name not in WITHOUT_EFFECT and path.is_file():
            found[name] = path
            modules += _read(path)[1]
    return sorted(found.values())


def code(path: Path) -> str:
    """The sha256 of what a file does: of its syntax tree, without comments, layout and docstrings."""
    return _read(path)[0]


@cache
def _read(path: Path) -> tuple[str, list[str]]:
    """`code`, and what a file imports anywhere; of `from a import b` both a and a.b."""
    names: list[str] = []
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
            del node.body[0]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), names
