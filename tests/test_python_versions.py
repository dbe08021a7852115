"""Pythons on which the project cannot run are refused in one line, before anything is installed."""

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import ROOT

PRETENDED = '#!/bin/sh\nexec {python} -c "import sys; sys.version_info = {version}; exec(sys.argv[1])" "$2"\n'


def install(tmp_path, version: tuple[int, int]) -> tuple[list[str], bool]:
    """What `make` says on standard error under a Python of a version, and whether it went on to the installation."""
    (tmp_path / "install").mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "install/build.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / "python"
    python.write_text(PRETENDED.format(python=sys.executable, version=version))
    python.chmod(0o755)
    command = ["make", "reproduce", f"PYTHON={python}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode
    return done.stderr.splitlines(), "-m venv" in done.stdout


@pytest.mark.parametrize(
    ("version", "why"),
    [
        ((3, 10), "Python 3.10 is too old"),
        ((3, 13), "Python 3.13 is too new: img2dataset imports imghdr, which Python 3.13 removed"),
        ((4, 0), "Python 4.0 is too new: img2dataset imports imghdr, which Python 3.13 removed"),
    ],
)
def test_others_are_refused(tmp_path, version, why):
    (line, _make), installed = install(tmp_path, version)
    assert line == f"error: {why}; use 3.11 or 3.12, as in: make reproduce PYTHON=python3.12"
    assert not installed
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("version", [(3, 11), (3, 12)])
def test_these_are_taken(tmp_path, version):
    _, installed = install(tmp_path, version)
    assert installed


def test_they_are_those_that_pip_takes():
    assert re.findall(r'requires-python = "(.*)"', (ROOT / "pyproject.toml").read_text()) == [">=3.11,<3.13"]


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="there is no imghdr")
def test_the_reason_still_holds():
    """A release of img2dataset that does without imghdr would make room for newer Pythons."""
    package = Path(find_spec("img2dataset").origin)
    assert "import imghdr" in package.with_name("resizer.py").read_text()
