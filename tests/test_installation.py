"""What the two commands install: everything is pinned with hashes, and a file that has another hash is refused."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from install.lock import BUILD, CONDA, LICENCES, PINS, is_for_here, licence, name_of, pinned
from tests.conftest import ROOT

ENTRY = re.compile(
    r"[a-z0-9-]+==[^\s;]+( ; [^\\]+)? \\\n( {4}--hash=sha256:[0-9a-f]{64} \\\n)* {4}--hash=sha256:[0-9a-f]{64}\n"
)
FILES = ("Makefile", "pyproject.toml", "README.md", "roclip_command.py")


def wheel(folder: Path, name: str) -> str:
    """A wheel of nothing; its hash."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        file.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def install(tmp_path):
    """`make` in a copy that asks for two wheels in a folder; each file of pins names one, with its hash or the one given."""
    found = {name: wheel(tmp_path / "wheels", name) for name in ("builds", "stands")}
    environment = os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "wheels"), "PIP_EXTRA_INDEX_URL": ""}

    def run(**hashes: str) -> tuple[subprocess.CompletedProcess, Path]:
        project = tmp_path / "project"
        (project / "install").mkdir(parents=True)
        for name in FILES:
            shutil.copy(ROOT / name, project / name)
        for name, file in {"builds": BUILD, "stands": PINS}.items():
            line = f"{name}==1.0 \\\n    --hash=sha256:{hashes.get(name, found[name])}\n"
            (project / file.relative_to(ROOT)).write_text(line)
        command = ["make", ".venv/installed", f"PYTHON={sys.executable}"]
        return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=300), project

    return run


def test_every_distribution_has_one_version_and_hashes():
    text = PINS.read_text()
    pins = pinned(text)
    assert "".join(pins.values()) == text
    assert [entry for entry in pins.values() if not ENTRY.fullmatch(entry)] == []
    assert len({name_of(pin) for pin in pins}) == len(pins) > 100


def test_what_the_project_asks_for_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["dev"]]
    names = {re.match(r"[\w-]+", line)[0].lower().replace("_", "-") for line in [*asked, *project["build-system"]["requires"]]}
    assert names <= {name_of(pin) for pin in pinned(PINS.read_text())}


def test_what_builds_the_rest_has_the_same_pin():
    pins = pinned(PINS.read_text())
    assert pinned(BUILD.read_text()).items() <= pins.items()
    assert [name_of(pin) for pin in pinned(BUILD.read_text())] == ["setuptools"]


def test_the_environment_of_conda_has_the_same_pins():
    (pip,) = [entry["pip"] for entry in yaml.safe_load(CONDA.read_text())["dependencies"] if isinstance(entry, dict)]
    assert pip == list(pinned(PINS.read_text()))


def test_the_licence_of_each_is_listed():
    listed = set(re.findall(r"^\| ([a-z0-9-]+) \| \w", LICENCES.read_text(), re.MULTILINE)) - {"distribution"}
    pins = list(pinned(PINS.read_text()))
    assert listed <= {name_of(pin) for pin in pins}
    assert {name_of(pin) for pin in pins if ";" not in pin} <= listed
    assert not is_for_here("wanted==1 ; sys_platform == 'of nobody'")


class Said:
    """A distribution that says this of its licence."""

    def __init__(self, files: list[Path], **said: str | list[str]) -> None:
        self.files, self.metadata = files, self
        self.said = {key.replace("_", "-"): value for key, value in said.items()}

    def get(self, key: str) -> str | None:
        return self.said.get(key)

    get_all = get


def test_a_licence_is_the_expression_else_the_classifiers_else_the_first_words():
    classifiers = ["Topic :: Text", "License :: OSI Approved :: MIT License"]
    assert licence(Said([], License_Expression="MIT", Classifier=classifiers, License="text")) == "MIT"
    assert licence(Said([], Classifier=classifiers, License="text")) == "MIT License"
    assert licence(Said([], License="\n  BSD 3-Clause\nlong text")) == "BSD 3-Clause"
    assert licence(Said([])) == "not said"


@pytest.mark.slow
def test_the_right_hashes_are_installed(install):
    done, project = install()
    assert done.returncode
    assert "no such option" not in done.stderr
    installed = {path.name for path in project.glob(".venv/lib/*/site-packages/*-1.0.dist-info")}
    assert installed == {"builds-1.0.dist-info", "stands-1.0.dist-info"}, done.stderr
    assert "setuptools" in done.stderr, "the last step needs the real one, which is not among the wheels"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["builds", "stands"])
def test_another_hash_stops_the_installation(install, name):
    done, project = install(**{name: "0" * 64})
    assert done.returncode
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
    assert not list(project.glob(f".venv/lib/*/site-packages/{name}*"))
    assert not (project / ".venv/installed").exists()
