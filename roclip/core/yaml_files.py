"""Reading YAML that somebody else may have written, in bounded time and memory, as plain values and never as objects."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from roclip.core.errors import UserError, first_line
from roclip.core.files import read_text

BYTES = 1 << 18  # of the longest file, which takes a second or two to read
LARGEST, DEEPEST = 100_000, 20  # values of a file, aliases counted as what they stand for; mappings and lists in one another


def read_tree(path: Path) -> yaml.Node | None:
    """The nodes of a YAML file, None where it is empty.

    Raises UserError in one line for what is no YAML, for aliases of aliases, and for one that holds itself.
    """
    text = read_text(path, BYTES)
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UserError(f"{path}: not YAML that can be read: it is nested too deeply") from None
    values, depth = _measured(tree, path, {}) if tree else (0, 0)
    if depth > DEEPEST:
        raise UserError(f"{path}: more than {DEEPEST} mappings or lists in one another")
    if values > LARGEST:
        raise UserError(f"{path}: more than {LARGEST} values; are there aliases of aliases in it?")
    return tree


def _measured(node: yaml.Node, path: Path, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """How many values a node stands for, and how many mappings and lists are in one another; of each node once.

    What an alias names stands before it, and is known, but where the alias is in it.
    """
    if id(node) in known:
        if (size := known[id(node)]) is None:
            line = node.start_mark.line + 1
            raise UserError(f"{path}, line {line}: an alias holds itself; write out what it stands for")
        return size
    known[id(node)] = None
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        inner = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        inner = node.value
    sizes = [_measured(part, path, known) for part in inner]
    deeper = isinstance(node, yaml.CollectionNode)
    size = 1 + sum(values for values, _ in sizes), deeper + max((depth for _, depth in sizes), default=0)
    known[id(node)] = size
    return size


def read_yaml(path: Path) -> Any:
    """The content of a YAML file as plain values. Raises UserError as `read_tree`, and for values that cannot be made."""
    tree = read_tree(path)
    try:
        return yaml.SafeLoader("").construct_document(tree) if tree else None
    except yaml.YAMLError as error:  # a tag that is not of YAML, a mapping as a key
        raise UserError(f"{path}: not YAML that can be read: {' '.join(str(error).split())}") from None
    except Exception as error:  # of a date that is none, a number of thousands of digits
        raise UserError(f"{path}: not YAML that can be read: {first_line(error)}") from None


def read_mapping(path: Path) -> dict[str, Any]:
    """As `read_yaml`, of a file that holds keys with values."""
    content = read_yaml(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: holds no keys with values at its top level")
    return dict(content)
