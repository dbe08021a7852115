"""A frozen dataclass of options, as command-line flags, as a section of the config, and in the documentation.

An option is written once, on its field: type, bounds, legal words, default and meaning. `flags` is what the rules call to turn
config values into flags, `parse` is what a stage calls to read them, and `experiment/schema.py` makes the config's schema.
"""

import argparse
import dataclasses
import logging
import os
import shlex
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

from roclip.core.atomic import is_disk_full
from roclip.core.errors import ComeBack, UserError
from roclip.core.orphan import end_with_starter
from roclip.core.provenance import recorded


def option(
    meaning: str,
    default: Any = MISSING,
    *,
    choices: Sequence[str] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    fewest: int | None = None,
    pattern: str | None = None,
    role: str | None = None,
    glob: str | None = None,
    schema: Mapping[str, Any] | None = None,
) -> Any:
    """A field of an options dataclass: what it means, its default, and what is legal.

    choices: legal words. minimum, maximum: bounds that are legal themselves; above, below: bounds that are not. Of a tuple they
    hold for each item, and `fewest` is how many items it must have. pattern: of words in the config, matched as a whole.
    schema: the JSON schema of a config value that has no simple type.

    Paths are a stage's inputs; its record holds their hashes. glob: of a folder, the files in it that are read. role: `output`,
    where the stage writes; `files`, words that are inputs too, FILE or NAME=FILE; `setting`, a path that is no input; `neutral`,
    what leaves the results as they are; `config`, what stands in the config alone and is no flag.
    """
    bounds = {"minimum": minimum, "maximum": maximum, "above": above, "below": below}
    metadata = {
        "help": meaning, "choices": choices, "bounds": {name: bound for name, bound in bounds.items() if bound is not None},
        "fewest": fewest, "pattern": pattern, "role": role, "glob": glob, "schema": schema,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


def same_option(owner: type, name: str, role: str | None = None) -> Any:
    """The option of another dataclass, for a stage that takes a setting of the config as a flag."""
    field = owner.__dataclass_fields__[name]
    return dataclasses.field(default=field.default, metadata={**field.metadata, "role": role or field.metadata["role"]})


@dataclass(frozen=True)
class Stage:
    """A command of the console: its options, what it runs, and, for stages of several kinds, the classes by their names.

    The class of a kind has a dataclass `Settings`, whose options stand beside those of the stage.
    """

    options: type
    run: Callable[[Any], Any]
    kinds: Mapping[str, type] | None = None

    def options_of(self, kind: str | None) -> type:
        """The options with those of a kind, and `kind` itself."""
        if self.kinds is None or kind is None:
            return self.options
        named = ("kind", str, option("which of them", kind, choices=tuple(self.kinds)))
        bases = (self.kinds[kind].Settings, self.options)
        return dataclasses.make_dataclass(self.options.__name__, [named], bases=bases, frozen=True, kw_only=True)


def faults(meta: Mapping[str, Any], value: Any) -> Iterator[str]:
    """What is wrong with a value, or with the items of a tuple: `0 must be at least 1`."""
    words = {"minimum": "at least", "maximum": "at most", "above": "above", "below": "below"}
    holds = {"minimum": float.__ge__, "maximum": float.__le__, "above": float.__gt__, "below": float.__lt__}
    for item in value if isinstance(value, tuple) else [value]:
        for name, bound in meta["bounds"].items():
            if not holds[name](float(item), float(bound)):
                yield f"{item} must be {words[name]} {bound}"
    if meta["fewest"] and len(value) < meta["fewest"]:
        yield f"at least {meta['fewest']} needed"


def flags(values: Mapping[str, Any]) -> str:
    """Config values as shell-quoted flags; None is left out. Numbers must not be negative, nor words begin with `-`.

    >>> flags({"pool_size": 800, "augment_images": True, "captions": None, "seeds": [0, 1]})
    '--pool_size 800 --augment_images true --seeds 0 1'
    """
    words = []
    for name, value in values.items():
        if value is None:
            continue
        items = value if isinstance(value, (list, tuple)) else [value]
        words += [f"--{name}", *(str(v).lower() if isinstance(v, bool) else shlex.quote(str(v)) for v in items)]
    return " ".join(words)


def _truth(word: str) -> bool:
    if word not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"'{word}' is neither true nor false")
    return word == "true"


def kind_and_item(hint: Any) -> tuple[type, str]:
    """The type of a field's values or of their items, and `one`, `optional` or `many`."""
    if isinstance(hint, types.UnionType):  # X | None
        inner = next(part for part in typing.get_args(hint) if part is not type(None))
        return kind_and_item(inner)[0], "many" if typing.get_origin(inner) is tuple else "optional"
    if typing.get_origin(hint) is tuple:  # tuple[X, ...]
        return typing.get_args(hint)[0], "many"
    return hint, "one"


def parser_of(options_class: type, command: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of a stage's flags, a flag for each option."""
    parser = argparse.ArgumentParser(command, description=description, allow_abbrev=False)
    hints = typing.get_type_hints(options_class)
    for field in dataclasses.fields(options_class):
        if field.metadata["role"] == "config":
            continue
        kind, number = kind_and_item(hints[field.name])
        meta, required = field.metadata, field.default is MISSING
        bounds = [f"{name} {bound}" for name, bound in meta["bounds"].items()]
        notes = bounds + ([] if required or field.default is None else [f"default: {field.default}"])
        parser.add_argument(
            f"--{field.name}",
            type=_truth if kind is bool else kind,
            nargs="*" if number == "many" else None,
            required=required,
            choices=meta["choices"],
            default=None if required else field.default,
            metavar=None if meta["choices"] else {Path: "PATH", int: "N", float: "X", bool: "true|false", str: "WORD"}[kind],
            help=meta["help"].replace("%", "%%") + (f" ({'; '.join(notes)})" if notes else ""),
        )
    return parser


def parse(options_class: type, argv: Sequence[str], command: str = "roclip", description: str | None = None) -> Any:
    """Read flags into an options object. A wrong flag ends the program with a usage line and exit status 2."""
    parser = parser_of(options_class, command, description)
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in vars(parser.parse_args(argv)).items()}
    for field in dataclasses.fields(options_class):
        if values.get(field.name) is not None:
            for fault in faults(field.metadata, values[field.name]):
                parser.error(f"argument --{field.name}: {fault}")
    return options_class(**values)


def _kind(stage: Stage, command: str, argv: Sequence[str]) -> str | None:
    """The kind that the flags name; None for a stage without kinds, or where only help is asked for."""
    if stage.kinds is None:
        return None
    first = argparse.ArgumentParser(command, add_help=False, allow_abbrev=False)
    first.add_argument("--kind", choices=tuple(stage.kinds), required="-h" not in argv and "--help" not in argv)
    return first.parse_known_args(argv)[0].kind


def run_stage(name: str, stage: Stage, description: str | None, argv: Sequence[str]) -> None:
    """Run a stage by its flags, and leave a record.

    A user's mistake, and a full disk, are shown as one line, with exit status 1.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    end_with_starter()
    command = f"roclip {name}"
    kind = _kind(stage, command, argv)
    if stage.kinds and kind is None:
        description = f"{description}\n--kind is one of {', '.join(stage.kinds)}; with it, --help shows its options too."
    try:
        options = parse(stage.options_of(kind), argv, command, description)
        with recorded(name, options):
            stage.run(options)
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:  # of what is not written by `atomic`, such as thousands of images
        if not is_disk_full(error):
            raise
        sys.exit(f"error: {error.filename or 'what this stage writes'}: the disk is full; make room and start again")
    except ComeBack as reason:
        print(reason, file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)
    except KeyboardInterrupt:
        sys.exit(130)
