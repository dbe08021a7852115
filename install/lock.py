"""Pins what is installed: `make lock` writes constraints.txt, install/build.txt, environment.yml and docs/licences.md.

Versions that are pinned already are kept where pyproject.toml allows them; `make lock UPGRADE=--upgrade` takes the newest.
constraints.txt has every distribution, for every platform and every Python of the project, with the hashes of its files, so
that pip refuses a file that is not the one that was pinned. install/build.txt is of what builds the rest.
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.markers import Marker

ROOT = Path(__file__).parents[1]
PINS, BUILD, CONDA, LICENCES = (
    ROOT / name for name in ("constraints.txt", "install/build.txt", "environment.yml", "docs/licences.md")
)
COMPILE = (
    "uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url "
    "--extra dev pyproject.toml --output-file constraints.txt"
)
BUILDS = "setuptools"  # [build-system] of pyproject.toml
ENVIRONMENT = """# Written by `make lock`. For conda users: Python, then the pins of constraints.txt, without their hashes
name: roclip
channels:
  - conda-forge
dependencies:
  - python=3.11
  - pip
  - pip:
"""
TABLE = """# Licences of what is installed

Written by `make lock` from what each distribution says of itself; versions are in `constraints.txt`. The licences of this
project, of its artwork and of its word lists are in README.md and `LICENSES/`.

| distribution | licence |
| --- | --- |
"""


def pinned(text: str) -> dict[str, str]:
    """The entries of a file of pins: NAME==VERSION, with its marker if it has one -> all of its lines, with the hashes."""
    entries = re.findall(r"^\S.*\n(?:[ \t].*\n)*", text, re.MULTILINE)
    return {entry.partition("\\")[0].strip(): entry for entry in entries if not entry.startswith("#")}


def name_of(pin: str) -> str:
    return pin.partition("==")[0]


def is_for_here(pin: str) -> bool:
    """Whether a pin's marker, if it has one, names this platform."""
    marker = pin.partition(";")[2]
    return not marker or Marker(marker).evaluate()


def licence(found: Distribution) -> str:
    """What a distribution says its licence is: an SPDX expression, else its classifiers, its own words, its licence's title."""
    said = found.metadata
    classified = [c.rpartition(" :: ")[2] for c in said.get_all("Classifier") or [] if c.startswith("License ::")]
    texts = [path for path in found.files or [] if path.name.upper().startswith("LICEN") and path.suffix in ("", ".md", ".txt")]
    files = [path.locate().read_text(encoding="utf-8", errors="replace") for path in texts]
    titles = [line.strip() for text in [said.get("License") or "", *files] for line in text.splitlines() if line.strip()]
    return said.get("License-Expression") or ", ".join(classified) or (titles or ["not said"])[0][:60]


def licences(names: Iterable[str]) -> Iterator[str]:
    """A line of the table for each distribution. Raises SystemExit where one is not installed here."""
    for name in names:
        try:
            yield f"| {name} | {licence(distribution(name))} |\n"
        except PackageNotFoundError:
            sys.exit(f"error: {name} is not installed; remove .venv and run make lock again, which installs all that is pinned")


def main(arguments: list[str]) -> None:
    subprocess.run([*COMPILE.split(), *arguments], cwd=ROOT, check=True)
    pins = pinned(PINS.read_text(encoding="utf-8"))
    BUILD.write_text("".join(entry for pin, entry in pins.items() if name_of(pin) == BUILDS), encoding="utf-8")
    CONDA.write_text(ENVIRONMENT + "".join(f'      - "{pin}"\n' for pin in pins), encoding="utf-8")
    LICENCES.write_text(TABLE + "".join(licences(map(name_of, filter(is_for_here, pins)))), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
