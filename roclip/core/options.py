"""A frozen dataclass of options, as command-line flags and back.

Every stage has one dataclass; a config key, its field, its flag and its schema property carry one name. `flags` is what the
rules call to turn a section of the config into flags, `parse` is what the stage calls to read them.
"""

import argparse
import dataclasses
import logging
import os
import shlex
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from roclip.core.atomic import is_disk_full
from roclip.core.errors import ComeBack, UserError
from roclip.core.orphan import end_with_starter
from roclip.core.provenance import recorded

Options = TypeVar("Options")


def option(
    meaning: str, default: Any = dataclasses.MISSING, choices: Sequence[str] | None = None, role: str | None = None
) -> Any:
    """A field of an options dataclass, with what it means and, for words, the legal ones.

    Paths are a stage's inputs; its record holds their hashes. role: `output`, where the stage writes; `files`, words that are
    inputs too, FILE or NAME=FILE; `setting`, a path that is no input; `neutral`, what leaves the results as they are.
    """
    return dataclasses.field(default=default, metadata={"help": meaning, "choices": choices, "role": role})


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


def parse(options_class: type[Options], argv: Sequence[str] | None = None, description: str | None = None) -> Options:
    """Read flags into an options object. A wrong flag ends the program with a usage line and exit status 2."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    hints = typing.get_type_hints(options_class)
    for field in dataclasses.fields(options_class):
        kind, nargs = hints[field.name], None
        if isinstance(kind, types.UnionType):  # X | None
            kind = next(part for part in typing.get_args(kind) if part is not type(None))
        if typing.get_origin(kind) is tuple:  # tuple[X, ...]
            kind, nargs = typing.get_args(kind)[0], "*"
        required = field.default is dataclasses.MISSING
        parser.add_argument(
            f"--{field.name}",
            type=_truth if kind is bool else kind,
            nargs=nargs,
            required=required,
            choices=field.metadata["choices"],
            default=None if required else field.default,
            metavar={Path: "PATH", int: "N", float: "X", bool: "true|false", str: "WORD"}[kind],
            help=field.metadata["help"] + ("" if required or field.default is None else f" (default: {field.default})"),
        )
    values = vars(parser.parse_args(argv))
    return options_class(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def run_stage(options_class: type[Options], run: Callable[[Options], None]) -> None:
    """The main program of a stage: parse the flags, run, leave a record.

    A user's mistake, and a full disk, are shown as one line, with exit status 1.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    end_with_starter()
    try:
        main = sys.modules["__main__"]
        options = parse(options_class, description=main.__doc__)
        with recorded(main.__spec__.name, options):
            run(options)
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
