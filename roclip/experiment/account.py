"""What Snakemake takes for granted before it reads a Snakefile, and ends in a traceback without: a user's name, and a HOME."""

import getpass
import os
from pathlib import Path

CACHE = Path(".snakemake/cache")  # of the folder in which the workflow runs


def complete_the_account() -> None:
    """Set, for this process and those that it starts, what the account that it runs under lacks.

    Where nobody has the number of the user, as in containers, USER is that number. Where nothing can be written to the cache
    of HOME, or to that of XDG_CACHE_HOME, it is CACHE.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):  # KeyError before Python 3.13
        os.environ["USER"] = str(os.getuid())
    try:
        usual = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
        usual.mkdir(parents=True, exist_ok=True)
        usable = os.access(usual, os.W_OK | os.X_OK)
    except (OSError, RuntimeError):  # RuntimeError: a user without a home
        usable = False
    if not usable:
        os.environ["XDG_CACHE_HOME"] = str(CACHE.resolve())
