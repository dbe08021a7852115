"""What a defence says must survive an interruption is looked at before anything is trained: a mistake in it is one line."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from roclip.core.errors import UserError
from roclip.defences.base import Defence


def checked_state(defence: Defence) -> tuple[dict[str, Tensor], dict[str, float]]:
    """What the defence's `state` gives. Raises UserError for anything but tensors by name and numbers by name."""
    found = defence.state()
    what = type(found).__name__
    if isinstance(found, tuple) and len(found) == 2:
        what = " and ".join(type(part).__name__ for part in found)
        if all(isinstance(part, dict) for part in found):
            what = next(_wrong(found[0], "tensors", Tensor), None) or next(_wrong(found[1], "numbers", (int, float)), None)
            if not what:
                return found
    raise UserError(
        f"{type(defence).__name__}.state gave {what}; it must give two dictionaries: tensors by name, and int or float by name"
    )


def _wrong(part: dict[Any, Any], what: str, kind: Any) -> Iterator[str]:
    """What is not of the kind, or has no name."""
    for name, value in part.items():
        if not isinstance(name, str) or not isinstance(value, kind):
            yield f"{type(value).__name__} by the name {name!r} among the {what}"
