"""Records: what a stage was given and what it wrote, the same in every run, and refused when it is no longer true."""

import dataclasses
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from roclip.core import provenance
from roclip.core.atomic import atomic, completed
from roclip.core.errors import UserError
from roclip.core.files import sha256
from roclip.core.options import option
from roclip.core.provenance import PACKAGES, read_record, recorded, write_record
from roclip_command import STAGES
from tests.conftest import ROOT
from tests.fixtures.experiments import RECORD

MODULES = {name: module for group in STAGES.values() for name, module in group.items()}
WITHOUT = ("report",)  # a page that shows how long all took


@dataclass(frozen=True)
class Options:
    table: Path = option("a file")
    others: tuple[str, ...] = option("NAME=FILE", role="files")
    kind: str = option("a word")
    root: Path = option("a folder that is only looked into", role="setting")
    threads: int = option("workers", role="neutral")
    out: Path = option("what is written", role="output")


def work(stage: str, options: Options, *names: str) -> None:
    """Write files as a stage would, each with the stage's name in it."""
    with recorded(stage, options):
        for name in names:
            with atomic(options.out / name) as temporary:
                temporary.write_text(stage)


@pytest.fixture(autouse=True)
def fresh():
    """As in a process of its own."""
    completed.clear()
    read_record.cache_clear()
    provenance._records.cache_clear()


@pytest.fixture
def there(tmp_path, monkeypatch) -> Options:
    """Options with files behind them; paths are relative to the folder in which the test then is."""
    monkeypatch.chdir(tmp_path)
    for name in ("in/a.csv", "in/b.csv", "set/1.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(name)
    return Options(Path("in/a.csv"), ("b=in/b.csv", "none=in/none.csv", "RN50"), "word", Path("set"), 2, Path("results/out"))


def test_a_record_says_what_a_file_was_made_with(there):
    work("stage", there, "made.csv", "weights/w.bin")
    record = json.loads(Path("results/out/stage.record.json").read_text())
    assert record.pop("stage") == "stage"
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", record.pop("commit"))
    assert record.pop("versions").keys() == {"python", *PACKAGES}
    assert record.pop("options") == {
        "table": "in/a.csv", "others": ["b=in/b.csv", "none=in/none.csv", "RN50"], "kind": "word", "root": "set",
        "out": "results/out",
    }  # fmt: skip
    assert record.pop("inputs") == {f"../../in/{name}": sha256(Path("in") / name) for name in ("a.csv", "b.csv")}
    assert record.pop("outputs") == {n: sha256(there.out / n) for n in ("made.csv", "weights/w.bin")}
    assert list(record) == ["sha256"]


def test_it_is_the_same_in_another_folder_and_whatever_leaves_the_results_as_they_are(there, monkeypatch):
    work("stage", there, "made.csv")
    first = Path("results/out/stage.record.json").read_bytes()
    other = Path("somewhere/else")
    other.mkdir(parents=True)
    Path("in").rename(other / "in")
    monkeypatch.chdir(other)
    completed.clear()
    work("stage", dataclasses.replace(there, threads=7), "made.csv")
    assert Path("results/out/stage.record.json").read_bytes() == first


def test_a_record_lies_beside_a_single_file(there):
    Path("results").mkdir()
    options = dataclasses.replace(there, out=Path("results/made.csv"))
    with recorded("stage", options), atomic(options.out) as temporary:
        temporary.write_text("x")
    assert list(read_record(Path("results/made.record.json"))["outputs"]) == ["made.csv"]


def test_the_records_of_the_inputs_are_inputs_and_a_changed_input_is_refused(there):
    work("parent", there, "weights/w.bin")
    completed.clear()
    weights = there.out / "weights"
    child = dataclasses.replace(there, table=weights, out=Path("results/child"))
    work("child", child, "made.csv")
    record = read_record(Path("results/child/child.record.json"))
    assert list(record["inputs"]) == ["../../in/b.csv", "../out/parent.record.json", "../out/weights/w.bin"]

    (weights / "w.bin").write_text("other")
    message = r"results/out/weights/w\.bin: changed after parent wrote it, says results/out/parent\.record\.json; remove"
    with pytest.raises(UserError, match=message):
        work("child", child, "made.csv")
    (there.out / "parent.record.json").unlink()
    provenance._records.cache_clear()
    work("child", child, "made.csv")  # used as it is


def test_of_a_folder_that_is_searched_only_what_was_written_is_read(there):
    """A record goes with what it tells of: one that no file found here is in is no input."""
    work("parent", there, "found.json", "x.csv")
    completed.clear()
    write_record(there.out / "other.record.json", RECORD | {"stage": "other"})

    @dataclass(frozen=True)
    class Searching:
        folder: Path = option("a folder", glob="*.json")
        out: Path = option("what is written", role="output")

    found = provenance.read_inputs(Searching(there.out, there.out))
    assert [path.name for path in found] == ["found.json", "parent.record.json"]


def test_a_record_that_was_changed_is_refused(there):
    work("parent", there, "made.csv")
    place = there.out / "parent.record.json"
    place.write_text(place.read_text().replace('"kind": "word"', '"kind": "worm"'))
    with pytest.raises(UserError, match=r"parent\.record\.json: this record was changed"):
        work("child", dataclasses.replace(there, table=there.out / "made.csv", out=Path("results/child")), "a.csv")
    with pytest.raises(UserError, match=r"none\.record\.json: no such file"):
        read_record(there.out / "none.record.json")


def test_a_stage_that_fails_or_writes_nothing_leaves_no_record(there):
    with pytest.raises(ValueError, match="x"), recorded("stage", there):
        raise ValueError("x")
    with recorded("stage", there):
        pass
    assert not list(Path().rglob("*.record.json"))


COMMIT = "from roclip.core.provenance import commit; print(commit())"


def git(folder: Path, *command: str) -> str:
    who = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command, environment = ["git", *command], os.environ | who
    return subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout


def test_the_commit_is_of_this_repository_and_of_no_other_around_it(tmp_path):
    inner = tmp_path / "outer/archive"
    shutil.copytree(ROOT / "roclip/core", inner / "roclip/core", ignore=shutil.ignore_patterns("__pycache__"))
    (inner / "roclip/__init__.py").touch()
    (inner / ".gitignore").write_text("__pycache__\n")
    (inner / "results").mkdir()
    (inner / "results/entry.csv").touch()

    def told(**variables: str) -> str:
        command, environment = [sys.executable, "-P", "-B", "-c", COMMIT], os.environ | {"PYTHONPATH": str(inner)} | variables
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert told() == "unknown"
    for folder in (tmp_path / "outer", inner):
        git(folder, "init", "-q")
        git(folder, "add", ".")
        git(folder, "commit", "-qm", "x")
        if folder != inner:
            assert told() == told(GIT_DIR=str(folder / ".git")) == "unknown"
    assert told() == git(inner, "rev-parse", "HEAD").strip()
    assert told(GIT_DIR=str(tmp_path / "outer/.git"), GIT_WORK_TREE=str(inner)) == told()
    assert told(GIT_INDEX_FILE=str(tmp_path / "another"), GIT_PREFIX="roclip/") == told()  # as in a hook
    (inner / "results/entry.csv").write_text("a run was added")
    assert told() == git(inner, "rev-parse", "HEAD").strip()
    (inner / "roclip/__init__.py").write_text("x = 1\n")
    assert told() == git(inner, "rev-parse", "HEAD").strip() + "-dirty"


def test_times_are_in_no_record(there):
    work("train", there, "history.csv", "pace.csv")
    assert list(read_record(there.out / "train.record.json")["outputs"]) == ["history.csv"]


@pytest.mark.parametrize("name", MODULES)
def test_every_stage_has_one_output(name):
    stage = importlib.import_module(MODULES[name]).STAGE
    for kind in stage.kinds or (None,):
        roles = [field.metadata["role"] for field in dataclasses.fields(stage.options_of(kind))]
        assert roles.count("output") == (name not in WITHOUT)
