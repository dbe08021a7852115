"""What a result was made with: commit, versions, hashes."""

import hashlib
import json
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from roclip.tables import sha256


@cache
def commit() -> str:
    """The git commit of the code, with `-dirty` after it when files differ from it; `unknown` outside a repository."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"],
            cwd=here,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def fingerprint(*parts: Any) -> str:
    """The sha256 of values that JSON can hold; paths and the like are taken as text."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def provenance(*inputs: Path) -> dict[str, Any]:
    """Commit, version of torch and sha256 of the inputs."""
    return {"commit": commit(), "torch": version("torch"), "inputs": {str(path): sha256(path) for path in inputs}}
