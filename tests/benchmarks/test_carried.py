"""The wheels that are carried to a GPU machine: versions are the project's, and a call with others does not start."""

import os
import subprocess

import pytest

from benchmarks.carried import LIST, faults, versions
from install.lock import pinned
from tests.conftest import ROOT

WANTED = {"ftfy": "6.3.1", "open_clip_torch": "3.3.0"}


def folder(tmp_path, *wheels: str):
    (tmp_path / "whl").mkdir()
    for wheel in wheels:
        (tmp_path / "whl" / f"{wheel}-py3-none-any.whl").touch()
    return tmp_path


def test_versions_are_those_of_the_constraints():
    pins = dict(pin.partition(" ;")[0].split("==") for pin in pinned((ROOT / "constraints.txt").read_text()))
    carried = {name.lower().replace("_", "-"): version for name, version in versions(LIST.read_text().splitlines()).items()}
    assert carried.items() <= pins.items()


@pytest.mark.parametrize("name", ["gpu_carry.txt", "gpu_machine.txt"])
def test_every_line_names_one_version(name):
    lines = (ROOT / "benchmarks" / name).read_text().splitlines()
    assert all(line.startswith("#") or line.count("==") == 1 for line in lines)
    names = list(versions(lines))
    assert len(names) == len(set(names)) > 5


def test_all_there(tmp_path):
    assert faults(folder(tmp_path, "ftfy-6.3.1", "open_clip_torch-3.3.0"), WANTED) == []


def test_one_missing_one_of_another_version_and_one_too_many(tmp_path):
    found = faults(folder(tmp_path, "open_clip_torch-3.2.0", "emoji-2.16.0"), WANTED)
    assert found == [
        "no ftfy 6.3.1", "no open_clip_torch 3.3.0", "emoji 2.16.0, which is not listed",
        "open_clip_torch 3.2.0, which is not listed",
    ]  # fmt: skip
    assert faults(tmp_path / "nothing", {"ftfy": "6.3.1"}) == ["no ftfy 6.3.1"]


@pytest.mark.parametrize("script", ["gpu_call.sh", "gpu_photos.sh"])
def test_a_call_with_other_wheels_does_not_start(tmp_path, script):
    carry = folder(
        tmp_path, "ftfy-1.0", *(f"{n}-{v}" for n, v in versions(LIST.read_text().splitlines()).items() if n != "ftfy")
    )
    environment = os.environ | {"OUT": str(tmp_path / "out"), "CARRY": str(carry), "SCRATCH": str(tmp_path / "scratch")}
    done = subprocess.run(["bash", ROOT / "benchmarks" / script], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"error: {carry}/whl has no ftfy 6.3.1; ftfy 1.0, which is not listed; fetch anew what gpu_carry.txt lists: "
        "benchmarks/gpu_carry.sh FOLDER"
    ]
    assert not list((tmp_path / "out").iterdir())
