"""The config's files: how they are put together, and what YAML would drop or misread in them without a word."""

import argparse
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from roclip.core.errors import UserError, first_line
from roclip.core.files import read_json
from roclip.core.yaml_files import BYTES, read_mapping, read_tree
from roclip.data.settings import DataSettings
from roclip.experiment.validation import check_size
from roclip.training.settings import TrainSettings

PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "null")}  # what is no text
STRAY = r"(?<![0-9a-fA-F])_|_(?![0-9a-fA-F])"  # an underscore that stands between no two digits
# settings whose values may be files of the workflow's own
OWN_FILES = {"data": (DataSettings, ("classes", "templates", "captions")), "train": (TrainSettings, ("model",))}


def _nodes(tree: yaml.Node | None) -> Iterator[yaml.Node]:
    """Every node of a tree once, though aliases may lead to it from many places."""
    waiting, seen = [tree] if tree else [], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in reversed(node.value) for part in reversed(pair)]
        elif isinstance(node, yaml.SequenceNode):
            waiting += reversed(node.value)


def _duplicates(node: yaml.MappingNode) -> Iterator[yaml.Node]:
    """The duplicate keys of a mapping. The merge key may come again: each `<<` adds to the others."""
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                yield key
            seen.add(key.value)


def _all_duplicates(tree: yaml.Node | None) -> Iterator[yaml.Node]:
    for node in _nodes(tree):
        if isinstance(node, yaml.MappingNode):
            yield from _duplicates(node)


def _value(where: str, node: yaml.ScalarNode) -> Any:
    """What YAML makes of a scalar. Raises UserError where it makes nothing of it, as of a number of thousands of digits."""
    try:
        return yaml.SafeLoader("").construct_document(node)
    except Exception as error:  # of many kinds
        raise UserError(f"{where}: not YAML that can be read: {first_line(error)}") from None


def _check_number(where: str, node: yaml.ScalarNode) -> None:
    """Raises UserError for a number that YAML reads as another than stands there: 010 as 8, 1:30 as 90, and 1.0e-400 as 0.

    And for underscores that Python's own numbers may not have: 1_000 is as it looks, 1__0 may be short of a digit.
    """
    if node.tag not in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
        return
    said = f"{where}: YAML reads {node.value[:100]} as"
    if re.fullmatch(r"[-+]?0[0-7_]+|.*:.*", node.value) or re.search(STRAY, node.value):
        plainly = "write the number without a leading 0, a colon or an underscore that stands between no two digits"
        raise UserError(f"{said} {_value(where, node)}; {plainly}")
    if re.search("[1-9]", re.split("[eE]", node.value)[0]) and _value(where, node) == 0:
        raise UserError(f"{said} 0, for it is too small for a number; write a larger one")


def check_files(paths: Iterable[str | Path]) -> None:
    """Raises UserError with file, line and key for a duplicate key, of which YAML drops all but the last, and for numbers that
    YAML reads as others than stand there; and as `read_tree` for files that would keep everything after this busy."""
    for path in map(Path, paths):
        for node in _nodes(read_tree(path)) if path.suffix != ".json" else ():
            line = f"{path}, line {node.start_mark.line + 1}"
            if isinstance(node, yaml.ScalarNode):
                _check_number(line, node)
            for key in _duplicates(node) if isinstance(node, yaml.MappingNode) else ():
                raise UserError(
                    f"{path}, line {key.start_mark.line + 1}: duplicate key '{key.value}' in one mapping; rename one"
                )


def check_arguments(words: Sequence[str]) -> None:
    """Look at the config files that Snakemake's command line names, before Snakemake reads them.

    It would end in a traceback that does not name the file, follow aliases without end, and run the code of templates. Raises
    UserError as `check_files`, and for a file that is no mapping, or asks to be taken for a template, or that is not there: a
    target, maybe, for the option takes all words that follow it.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", action="extend", default=[], type=Path, dest="files")
    parser.add_argument("--config", "-C", nargs="*", action="extend", default=[], dest="values")
    given = parser.parse_known_args(words)[0]
    files = given.files
    for key, _, text in (word.partition("=") for word in given.values):
        with suppress(yaml.YAMLError, RecursionError):  # of which Snakemake says what is wrong
            for double in _all_duplicates(yaml.compose(text, Loader=yaml.SafeLoader)):
                raise UserError(f"--config: duplicate key '{double.value}' in {key}; rename one")
    if absent := [path for path in files if not os.path.isfile(path)]:  # noqa: PTH113
        raise UserError(f"{absent[0]}: no such config file; if it is a target, name it before --configfile")
    together(files)


def together(paths: Iterable[str | Path]) -> dict[str, Any]:
    """What config files hold, as Snakemake puts them together. Raises UserError as `check_arguments`."""
    given: dict[str, Any] = {}
    for path in map(Path, paths):
        check_files([path])
        content = read_json(path, BYTES) if path.suffix == ".json" else read_mapping(path)
        if not isinstance(content, Mapping):
            raise UserError(f"{path}: holds no keys with values at its top level")
        if "__use_yte__" in content:
            raise UserError(f"{path}: a template with code in it (__use_yte__), which is not run; write out what it gives")
        given = merged(given, content)
    return given


def _typed(value: Any, inside: bool = False) -> Any:
    """A value of Snakemake's `--config`, which leaves all that stands in lists and mappings as text: [20] there is ["20"]."""
    if isinstance(value, Mapping):
        return {key: _typed(inner, inside=True) for key, inner in value.items()}
    if isinstance(value, list):
        return [_typed(inner, inside=True) for inner in value]
    if not (inside and isinstance(value, str)):
        return value
    tag = yaml.SafeLoader("").resolve(yaml.ScalarNode, value, (True, False))
    if not value or tag not in PLAIN:  # a text may hold what means something in YAML
        return value
    node = yaml.ScalarNode(tag, value)
    _check_number("--config", node)
    return _value("--config", node)


def read_config(
    home: Path, given: Mapping[str, Any], files: Iterable[str], arguments: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The workflow's config.yaml with what is given in its place: mappings key by key, all else as a whole.

    home: the workflow's own folder; its files are found there unless they are in the one that it runs in. files: those that
    `given` was read from. arguments: what of it Snakemake's `--config` gave. Raises UserError for files that YAML misreads, and
    for a folder whose name Snakemake would.
    """
    check_size(arguments or {})
    given = merged(given, _typed(arguments or {}))
    if set("{}:") & set(str(home.resolve())):
        raise UserError(f"{home.resolve()}: the folder of this workflow may hold no braces and no colon; rename it")
    defaults = home / "config/config.yaml"
    check_files([defaults, *files])
    config = merged(yaml.safe_load(defaults.read_text(encoding="utf-8")), given)
    for section, (settings, keys) in OWN_FILES.items():
        found = config.get(section, {})
        if isinstance(found, Mapping):
            named = {key: str(found.get(key, settings.__dataclass_fields__[key].default)) for key in keys}
            if own := {key: str(home / file) for key, file in named.items() if _lies_in(home, file)}:
                config[section] = {**found, **own}
    return config


def _lies_in(home: Path, file: str) -> bool:
    """Whether a file is there and not here; Path's methods raise for a name that is too long."""
    return not os.path.exists(file) and os.path.isfile(home / file)  # noqa: PTH110, PTH113


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """The first mapping with the second's values in place of its own; mappings in both are merged in turn."""
    inner = (key for key, value in second.items() if isinstance(value, Mapping) and isinstance(first.get(key), Mapping))
    return {**first, **second, **{key: merged(first[key], second[key]) for key in inner}}
