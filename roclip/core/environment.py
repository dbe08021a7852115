"""Numbers that whoever starts a process puts into its environment, such as torchrun."""

import os

from roclip.core.errors import UserError


def environment_number(name: str, usual: int | None = None) -> int:
    """A whole number of 0 or more; usual: where the variable is not set. Raises UserError for anything else."""
    written = os.environ.get(name)
    if written is None and usual is not None:
        return usual
    if written is None:
        raise odd_environment(f"{name} is not set")
    if not (written.isascii() and written.isdecimal() and len(written) < 10):
        raise odd_environment(f"{name} '{written[:100]}' is no whole number")
    return int(written)


def odd_environment(fault: str) -> UserError:
    return UserError(f"the environment's {fault}; start with torchrun, or unset WORLD_SIZE, RANK and LOCAL_RANK")
