"""An account that lacks a name or a HOME gets what Snakemake takes for granted; any other stays as it is."""

import getpass
import os

import pytest

from roclip.experiment.account import CACHE, complete_the_account


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("USER", "somebody")


def test_a_complete_one_stays_as_it_is(tmp_path):
    before = dict(os.environ)
    complete_the_account()
    assert dict(os.environ) == before
    assert (tmp_path / "home/.cache").is_dir()


def test_a_home_that_is_a_file_is_replaced_by_a_folder_of_the_run(tmp_path):
    (tmp_path / "home").write_text("")
    complete_the_account()
    assert os.environ["XDG_CACHE_HOME"] == str(tmp_path / CACHE)


def test_a_cache_of_the_user_s_that_is_no_folder_too(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    complete_the_account()
    assert os.environ["XDG_CACHE_HOME"] == str(tmp_path / CACHE)


def test_a_user_without_a_name_is_called_by_the_number(monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4242)
    complete_the_account()
    assert getpass.getuser() == "4242"
