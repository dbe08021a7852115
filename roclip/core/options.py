"""A frozen dataclass of options, as command-line flags, as a section of the config, and in the documentation.

An option is written once, on its field: type, bounds, legal words, default and meaning. `flags` is what the rules call to turn
config values into flags, `parse` is what a stage calls to read them, and `experiment/schema.py` makes the config's schema.
"""

import argparse
import dataclasses
import math
import operator
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
from roclip.core.errors import ComeBack, UserError, is_no_place, is_out_of_memory, lacks_semaphores, log_lines, one_line
from roclip.core.orphan import end_with_starter
from roclip.core.provenance import recorded

CONTROL = r"\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"  # what a terminal acts on, or writes in another order
# A path in the config: it is put into rules and on command lines, where a brace would be a wildcard and a dash a flag.
PATH = rf"[^-{{}}{CONTROL}][^{{}}{CONTROL}]*"
SEEDS = {"minimum": 0, "maximum": 2**32 - 1}  # of any seed; PyTorch takes none of more than 64 bits
BOUNDS = {  # what a bound is called in messages, and the comparison that it stands for
    "minimum": ("at least", operator.ge),
    "maximum": ("at most", operator.le),
    "above": ("above", operator.gt),
    "below": ("below", operator.lt),
}


def whole(pattern: str) -> str:
    """A pattern that must match all of a text, a line break at its end included, for Python and for editors alike."""
    return rf"^(?:{pattern})(?![\s\S])"


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
    schema: the JSON schema of a config value that has no simple type; a mapping is no flag. A default may be a mapping too.

    Paths are a stage's inputs; its record holds their hashes. glob: of a folder, the files in it that are read. role: `output`,
    where the stage writes; `files`, words that are inputs too, FILE or NAME=FILE; `setting`, a path that is no input;
    `neutral`, what leaves the results as they are; `removal`, what a filter removes by its scores, no option of a detector.
    """
    bounds = {"minimum": minimum, "maximum": maximum, "above": above, "below": below}
    metadata = {
        "help": meaning, "choices": choices, "bounds": {name: bound for name, bound in bounds.items() if bound is not None},
        "fewest": fewest, "pattern": pattern, "role": role, "glob": glob, "schema": schema,
    }  # fmt: skip
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def same_option(owner: type, name: str, role: str | None = None, default: Any = None) -> Any:
    """The option of another dataclass, for a stage that takes a setting of the config as a flag.

    role and default: those of the flag, where they differ.
    """
    field = owner.__dataclass_fields__[name]
    return dataclasses.field(
        default=default_of(field) if default is None else default,
        metadata={**field.metadata, "role": role or field.metadata["role"]},
    )


def without_role(owner: type, role: str) -> type:
    """A dataclass with the options of another but for those of a role."""
    hints = typing.get_type_hints(owner)
    kept = [field.name for field in dataclasses.fields(owner) if field.metadata["role"] != role]
    options = [(name, hints[name], same_option(owner, name)) for name in kept]
    return dataclasses.make_dataclass(owner.__name__, options, frozen=True, kw_only=True)


def default_of(field: dataclasses.Field) -> Any:
    """The default of an option; MISSING for one that must be given."""
    return field.default if field.default_factory is MISSING else field.default_factory()


@dataclass(frozen=True)
class Stage:
    """A command of the console: its options, what it runs, and, for stages of several kinds, the classes by their names.

    The class of a kind has a dataclass `Settings`, whose options stand beside those of the stage. own: options of the stage
    that a kind may have in their place.
    """

    options: type
    run: Callable[[Any], Any]
    kinds: Mapping[str, type] | None = None
    own: tuple[str, ...] = ()

    def options_of(self, kind: str | None) -> type:
        """The options with those of a kind, and `kind` itself. Raises UserError for a name that both have."""
        if self.kinds is None or kind is None:
            return self.options
        owner = self.kinds[kind]
        taken = {"kind", *(field.name for field in dataclasses.fields(self.options))}.difference(self.own)
        if clash := next((field.name for field in dataclasses.fields(owner.Settings) if field.name in taken), None):
            where = f"{owner.__module__}.{owner.__qualname__}.Settings.{clash}"
            raise UserError(f"{where}: the stage has an option of that name; call this one otherwise")
        named = ("kind", str, option("which of them", kind, choices=tuple(self.kinds)))
        bases = (owner.Settings, self.options)
        return dataclasses.make_dataclass(self.options.__name__, [named], bases=bases, frozen=True, kw_only=True)


def part_of(options: Any, owner: type) -> Any:
    """The options of a dataclass among those of an object that has others beside them."""
    return owner(**{field.name: getattr(options, field.name) for field in dataclasses.fields(owner)})


def faults(meta: Mapping[str, Any], value: Any) -> Iterator[str]:
    """What is wrong with a value, or with the items of a tuple: `0 must be at least 1`."""
    for item in value if isinstance(value, tuple) else [value]:
        for name, bound in meta["bounds"].items():
            words, holds = BOUNDS[name]
            if not holds(item, bound):
                yield f"{item} must be {words} {bound}"
    if meta["fewest"] and len(value) < meta["fewest"]:
        yield f"at least {meta['fewest']} needed"


def legal(meta: Mapping[str, Any]) -> list[str]:
    """The bounds of an option in words: `at least 1`."""
    found = [f"{BOUNDS[name][0]} {bound}" for name, bound in meta["bounds"].items()]
    return [*found, f"{meta['fewest']} or more of them"] if meta["fewest"] else found


def shown(value: Any) -> str:
    """A value as flags and config write it: `true`; the words of a list side by side; `none` for nothing."""
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return " ".join(map(shown, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def flags(values: Mapping[str, Any]) -> str:
    """Config values as shell-quoted flags; None is left out. Raises UserError for the word `--`, which argparse takes away.

    >>> flags({"pool_size": 800, "augment_images": True, "captions": None, "seeds": [0, 1], "names": ["-x", "y"]})
    '--pool_size 800 --augment_images true --seeds 0 1 --names=-x --names=y'
    """
    words = []
    for name, value in values.items():
        if value is None:
            continue
        items = [shown(item) for item in (value if isinstance(value, (list, tuple)) else [value])]
        if "--" in items:
            raise UserError(f"{name}: the word '--' cannot be given to a stage; call it something else")
        if any(item.startswith("-") for item in items):  # such a word would be taken for a flag if it stood alone
            words += [f"--{name}={shlex.quote(item)}" for item in items]
        else:
            words += [f"--{name}", *map(shlex.quote, items)]
    return " ".join(words)


def _number(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"'{word}' is NaN or infinite")
    return number


def _truth(word: str) -> bool:
    if word not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"'{word}' is neither true nor false")
    return word == "true"


def kind_and_item(hint: Any) -> tuple[Any, str]:
    """The type of a field's values or of their items, and `one`, `optional` or `many`."""
    if isinstance(hint, types.UnionType):  # X | None
        inner = next(part for part in typing.get_args(hint) if part is not type(None))
        return kind_and_item(inner)[0], "many" if typing.get_origin(inner) is tuple else "optional"
    if typing.get_origin(hint) is tuple:  # tuple[X, ...]
        return typing.get_args(hint)[0], "many"
    return hint, "one"


# by the type of an option: what reads its word, and what stands for it in the help
WORDS = {Path: (Path, "PATH"), int: (int, "N"), float: (_number, "X"), bool: (_truth, "true|false"), str: (str, "WORD")}


def flag_fields(options_class: type) -> Iterator[tuple[dataclasses.Field, Any, str]]:
    """The options that are flags, each with type and number as `kind_and_item` gives them; all but mappings are."""
    hints = typing.get_type_hints(options_class)
    for field in dataclasses.fields(options_class):
        kind, number = kind_and_item(hints[field.name])
        if kind in WORDS:
            yield field, kind, number


def parser_of(options_class: type, command: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of a stage's flags, a flag for each option. Of a flag with many values, several add up."""
    parser = argparse.ArgumentParser(command, description=description, allow_abbrev=False)
    for field, kind, number in flag_fields(options_class):
        meta, default = field.metadata, default_of(field)
        notes = legal(meta) + ([] if default in (MISSING, None) else [f"default: {shown(default)}"])
        read, metavar = WORDS[kind]
        parser.add_argument(
            f"--{field.name}",
            type=read,
            required=default is MISSING,
            choices=meta["choices"],
            metavar=None if meta["choices"] else metavar,
            help=meta["help"].replace("%", "%%") + (f" ({'; '.join(notes)})" if notes else ""),
            **({"nargs": "*", "action": "extend"} if number == "many" else {}),
        )
    return parser


def parse(options_class: type, argv: Sequence[str], command: str = "roclip", description: str | None = None) -> Any:
    """Read flags into an options object. A wrong flag ends the program with a usage line and exit status 2."""
    parser = parser_of(options_class, command, description)
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in vars(parser.parse_args(argv)).items() if v is not None}
    values = {}
    for field in dataclasses.fields(options_class):
        default = default_of(field)
        values[field.name] = given.get(field.name, None if default is MISSING else default)
        if field.name in given:
            for fault in faults(field.metadata, given[field.name]):
                parser.error(f"argument --{field.name}: {fault}")
    return options_class(**values)


def _kind(stage: Stage, command: str, argv: Sequence[str]) -> str | None:
    """The kind that the flags name; None for a stage without kinds, or where only help is asked for."""
    if stage.kinds is None:
        return None
    first = argparse.ArgumentParser(command, add_help=False, allow_abbrev=False)
    first.add_argument("--kind", choices=tuple(stage.kinds), required="-h" not in argv and "--help" not in argv)
    return first.parse_known_args(argv)[0].kind


def plain(error: Exception) -> str | None:
    """What is said of an error that is no mistake of this program: of places, disks, memory; None for any other."""
    if isinstance(error, UserError):
        return str(error)
    if is_no_place(error):
        return one_line(f"{error.filename}: {error.strerror}; is it a file in place of a folder, a link, or another's?")
    if is_disk_full(error):  # of what is not written by `atomic`, such as thousands of images
        return one_line(f"{error.filename or 'what is written'}: the disk is full; make room and start again")
    if is_out_of_memory(error):
        what = ". ".join((str(error) or "none is left").splitlines()[0].split(". ")[:3])
        return f"out of memory: {what}; use a machine or GPU that has more of it free"
    if lacks_semaphores(error):
        return "processes can share no locks: /dev/shm is not there or cannot be written to; mount it"
    return None


def run_stage(name: str, stage: Stage, description: str | None, argv: Sequence[str]) -> None:
    """Run a stage by its flags, and leave a record.

    A user's mistake, a full disk and memory that does not suffice are shown as one line, with exit status 1.
    """
    log_lines("%(asctime)s %(message)s", "%H:%M:%S")
    end_with_starter()
    command = f"roclip {name}"
    kind = _kind(stage, command, argv)
    if stage.kinds and kind is None:
        description = f"{description}\n--kind is one of {', '.join(stage.kinds)}; with it, --help shows its options too."
    try:
        options = parse(stage.options_of(kind), argv, command, description)
        with recorded(name, options):
            stage.run(options)
    except Exception as error:
        if said := plain(error):
            sys.exit(f"error: {said}")
        raise
    except ComeBack as reason:
        print(reason, file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)
    except KeyboardInterrupt:
        sys.exit(130)
