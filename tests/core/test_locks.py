"""Locks: one holder at a time, and one line where a file system has none, wherever they are asked for."""

import errno
import fcntl
import os
import subprocess
import sys

import pytest

from roclip.core.errors import UserError
from roclip.core.locks import alone, lock
from roclip.data import download
from roclip.data.download import DownloadOptions
from roclip.experiment.gpus import take
from roclip.experiment.run_lock import claim
from roclip.training.resume import States
from tests.fixtures.downloads import settings


def enter(context):
    with context:
        pass


HOLDERS = {
    "a run": claim,
    "a download": lambda folder: enter(alone(folder, ".lock", "another download")),
    "a training": lambda folder: enter(States(folder, {}).locked()),
    "a GPU": lambda folder: take(["GPU-a"], 1, folder),
}


FILES = {"a run": [".lock"], "a download": [".lock"], "a training": ["lock"], "a GPU": ["queue.lock", "GPU-a.lock"]}


@pytest.mark.parametrize("how", ["link", "dangling link", "folder", "pipe"])
@pytest.mark.parametrize(("holder", "name"), [(holder, name) for holder, names in FILES.items() for name in names])
def test_what_is_no_lock_is_refused_and_stays_as_it_is(tmp_path, holder, name, how):
    mine, path = tmp_path / "mine", tmp_path / "here" / name
    path.parent.mkdir()
    if how == "link":
        mine.write_text("of great value")
    make = {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path)}.get(how, lambda: path.symlink_to(mine))
    make()
    with pytest.raises(UserError, match=rf"^{path}: is .*, no lock of this workflow; remove it$"):
        HOLDERS[holder](path.parent)
    assert mine.read_text() == "of great value" if how == "link" else not mine.exists()


def test_locks_of_gpus_are_in_a_folder_of_this_user_s(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to("real")
    (tmp_path / "file").write_text("")
    names = ["linked", "file"]
    if os.getuid() == 0:  # who alone may give a folder away
        (tmp_path / "another_s").mkdir()
        os.chown(tmp_path / "another_s", 1, -1)
        names.append("another_s")
    for name in names:
        with pytest.raises(UserError, match=rf"{name}: is no folder of this user's; remove it"):
            take(["GPU-a"], 1, tmp_path / name)
    assert list((tmp_path / "real").iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
@pytest.mark.parametrize("holder", HOLDERS)
def test_a_file_system_without_locks_is_one_line_that_names_the_folder(tmp_path, monkeypatch, holder, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UserError) as caught:
        HOLDERS[holder](tmp_path / "here")
    assert str(caught.value).startswith(f"{tmp_path}/here: its file system has no locks (flock: {os.strerror(number)})")


def test_what_else_is_wrong_with_a_lock_is_no_mistake_of_the_user(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", flock)
    with open(tmp_path / "a", "w") as file, pytest.raises(OSError, match="broken"):
        lock(file.fileno(), tmp_path)


def test_one_process_holds_a_lock_and_it_ends_with_it(tmp_path):
    code = "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX); "
    code += "print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(tmp_path / "a")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other, open(tmp_path / "a", "a") as file:
        other.stdout.readline()
        assert not lock(file.fileno(), tmp_path)
        other.kill()
        assert lock(file.fileno(), tmp_path, wait=True)


def test_two_downloads_in_one_folder_are_one_line(tmp_path):
    options = DownloadOptions(**settings(tmp_path, url_list=()))
    (tmp_path / "data").mkdir(exist_ok=True)
    with (
        open(tmp_path / "data/.download.lock", "w") as other,
        pytest.raises(UserError, match=r"data: another download works in this folder; wait for it"),
    ):
        assert lock(other.fileno(), tmp_path)
        download.run(options)
    with pytest.raises(UserError, match="the split 'train' is neither in"):
        download.run(options)
