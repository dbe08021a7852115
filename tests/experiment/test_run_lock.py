"""An experiment is held until its holder ends; what a killed run left half-written goes, and nothing else."""

import errno
import os
import re
import subprocess
import sys

import pytest

from roclip.core.errors import UserError
from roclip.core.files import read_json, write_json
from roclip.experiment.plan import read_plan
from roclip.experiment.run_lock import claim, folder_of, write_down
from tests.conftest import ROOT
from tests.fixtures.plans import planned

HOLD = "import sys, time; from pathlib import Path; from roclip.experiment.run_lock import claim; claim(Path(sys.argv[1])); "
HOLD += "print(flush=True); time.sleep(60)"


def refused(results) -> str:
    """The message, which is one line that begins with the folder."""
    with pytest.raises(UserError) as caught:
        claim(results)
    assert str(caught.value).startswith(str(results))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_experiment_has_one_holder_until_that_is_killed(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        message = refused(tmp_path)
        assert re.search(rf"another snakemake runs this experiment \(process {holder.pid} on .*\); wait", message)
        holder.kill()
    claim(tmp_path)
    assert f"process {os.getpid()} on" in refused(tmp_path)


GONE = (
    "tables/.measures.17.part.md", "attacks/patch/seed10/poisons/.000001.17.part.png", "benchmarks/report.tsv",
    "filters/a/b/seed1/.kept.3.part.csv", "measures/a/b/seed1/own/.features.3.part.npz", ".plan.17.part.json",
)  # fmt: skip
KEPT = (
    "models/a/b/seed10/state/.step9.17.part.safetensors", "data/images/.0.17.part.png", "data/urls.tsv", "config.yaml",
    "tables/.notes.partial.txt", ".notes.partial.txt", "tables/.draft.part2.md", "notes/.mine.17.part.txt", "notes/empty.tsv",
)  # fmt: skip


def test_what_a_kill_left_half_written_is_removed_and_a_users_files_are_not(tmp_path):
    elsewhere = tmp_path / "elsewhere/.table.17.part.csv"
    results = tmp_path / "results"
    for path in (elsewhere, *(results / name for name in GONE + KEPT)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("" if path.suffix == ".tsv" and "urls" not in path.name else "begun")
    (results / "tables/linked").symlink_to(elsewhere.parent)
    (results / "benchmarks/linked.tsv").symlink_to(results / "notes/empty.tsv")
    claim(results)
    assert not [name for name in GONE if (results / name).exists()]
    assert all((results / name).exists() for name in KEPT)
    assert elsewhere.exists()
    assert (results / "benchmarks/linked.tsv").is_symlink()


@pytest.mark.parametrize("how", ["link", "dangling link", "hard link", "text", "folder", "pipe"])
def test_a_lock_that_is_not_ours_is_refused_and_stays_as_it_is(tmp_path, how):
    results, other, lock = tmp_path / "results", tmp_path / "other", tmp_path / "results/.lock"
    text = "process 1 on elsewhere" if how == "hard link" else "of great value"  # the first is as of a lock of ours
    results.mkdir()
    if how != "dangling link":
        other.write_text(text)
    match how:
        case "link" | "dangling link":
            lock.symlink_to(other)
        case "hard link":
            lock.hardlink_to(other)
        case "text":
            lock.write_text("of great value")
        case "folder":
            lock.mkdir()
        case "pipe":
            os.mkfifo(lock)
    assert ".lock: is " in refused(results)
    assert other.exists() == (how != "dangling link")
    assert not other.exists() or other.read_text() == text
    if how == "text":
        assert lock.read_text() == "of great value"


def test_what_cannot_be_a_folder_of_results_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be made (File exists)" in refused(tmp_path / "file")
    assert "cannot be made (Not a directory)" in refused(tmp_path / "file/results")
    (tmp_path / "read_only").symlink_to("/sys")  # where root may not write either
    assert "cannot be written to (" in refused(tmp_path / "read_only")


def test_something_else_in_place_of_the_folder_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert folder_of("mine") == "results/mine"
    (tmp_path / "results").mkdir()
    (tmp_path / "results/file").write_text("")
    (tmp_path / "results/dangling").symlink_to(tmp_path / "nowhere")
    for name, kind in (("file", "no folder"), ("dangling", "a link to nothing")):
        with pytest.raises(UserError, match=rf"^results/{name}: is {kind}; remove it, or name the experiment otherwise$"):
            folder_of(name)
    for name in ("data", "logs"):
        (tmp_path / f"results/mine/{name}").mkdir(parents=True)
        assert folder_of("mine")
        (tmp_path / f"results/mine/{name}").rmdir()
        (tmp_path / f"results/mine/{name}").write_text("")
        with pytest.raises(UserError, match=rf"^results/mine/{name}: is no folder; remove it$"):
            folder_of("mine")
        (tmp_path / f"results/mine/{name}").unlink()
    (tmp_path / "results").rename(tmp_path / "aside")
    (tmp_path / "results").write_text("")
    with pytest.raises(UserError, match=r"^results: is no folder"):
        folder_of("mine")


def test_a_link_to_a_folder_is_a_folder(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "results").symlink_to(tmp_path / "scratch")
    claim(tmp_path / "results")
    assert "another snakemake" in refused(tmp_path / "scratch")


@pytest.mark.parametrize("name", ["config.yaml", "plan.json"])
def test_a_folder_in_the_place_of_config_or_plan_is_one_line(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=f"{name}: cannot be written"):
        write_down(tmp_path, {}, planned([("patch", "clip", 1)]))


def test_config_and_plan_are_written_only_when_they_say_something_else(tmp_path):
    plan = planned([("patch", "clip", 1)])
    files = [tmp_path / "config.yaml", tmp_path / "plan.json"]
    write_down(tmp_path, {"b": "ü", "a": [1]}, plan)
    for path in files:
        os.utime(path, (1, 1))
    write_down(tmp_path, {"b": "ü", "a": [1]}, plan)
    assert [path.stat().st_mtime for path in files] == [1, 1]
    write_down(tmp_path, {"b": "ü", "a": [2]}, plan)
    assert [path.stat().st_mtime == 1 for path in files] == [False, True]
    assert files[0].read_text(encoding="utf-8") == "b: ü\na:\n- 2\n"
    write_down(tmp_path, {"b": "ü", "a": [2]}, planned([("patch", "clip", 2)]))
    assert read_plan(files[1]).runs == [("patch", "clip", 2)]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
@pytest.mark.parametrize("of_files", [False, True])
def test_a_file_system_that_does_not_flush_is_written_to(tmp_path, monkeypatch, number, of_files):
    flush = os.fsync

    def fsync(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}") or of_files:  # noqa: PTH112
            raise OSError(number, os.strerror(number))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_json(tmp_path / "a.json", {})
    assert read_json(tmp_path / "a.json") == {}
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
    with pytest.raises(OSError, match="broken"):
        write_json(tmp_path / "b.json", {})
    assert not (tmp_path / "b.json").exists()


def test_a_folder_that_was_copied_or_renamed_is_one_line_that_says_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("mine", "copy"):
        (tmp_path / "results" / folder).mkdir(parents=True)
        write_down(tmp_path / "results" / folder, {"experiment": "mine"}, planned([("patch", "clip", 1)]))
    assert folder_of("mine") == "results/mine"
    with pytest.raises(UserError, match=r"^results/copy: was copied or renamed: its config\.yaml is of the experiment mine; "):
        folder_of("copy")
    (tmp_path / "results/copy/config.yaml").write_text("{")
    assert folder_of("copy") == "results/copy"
