"""Hostile tables: each is read to the letter or refused in one line, in bounded memory and time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roclip.core.errors import UserError
from tests.conftest import ROOT
from tests.fixtures.hostile_tables import HEADER, READ, READERS, REFUSED, WHOLE_FILE, one_line


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("case", READ)
def test_read_to_the_letter(tmp_path, case, reader):
    content, rows = READ[case]
    (tmp_path / "t.csv").write_bytes(content)
    assert READERS[reader](tmp_path / "t.csv") == rows


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_file_and_line(tmp_path, case, reader):
    content, message = REFUSED[case]
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        READERS[reader](tmp_path / "t.csv")
    one_line(caught, tmp_path / "t.csv")


@pytest.mark.parametrize("reader", WHOLE_FILE)
def test_what_is_no_file_is_refused_and_nothing_hangs(tmp_path, reader, monkeypatch):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    (tmp_path / "secret.csv").write_bytes(HEADER)
    read = WHOLE_FILE[reader]
    if reader not in ("read_pairs", "count_pairs"):  # which take folders for shards
        with pytest.raises(UserError, match="is a directory"):
            read(tmp_path)
    for path, message in (
        (tmp_path / "pipe.csv", "pipe or device"), (Path("/dev/zero"), "pipe or device"), (tmp_path / "absent", "no such file"),
        (tmp_path / "loop.csv", "symbolic links"), (tmp_path / f"{'a' * 300}.csv", "too long"),
        (tmp_path / "secret.csv/x", "not a directory"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message) as caught:
            read(path)
        one_line(caught, path)
    with pytest.raises(UserError, match="null"):
        read(Path("a\0b"))

    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", forbidden)
    with pytest.raises(UserError, match="permission denied"):
        read(tmp_path / "secret.csv")


def test_many_rows_and_long_rows_take_bounded_memory(tmp_path):
    """In a process of its own, which may not have more than 200 MB of addresses beyond what it starts with."""
    code = """
import resource, sys
from pathlib import Path
from roclip.core.errors import UserError
from roclip.core.files import *
from roclip.data.url_list import count_rows, read_entries
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000,) * 2)
folder = Path(sys.argv[1])
for name in ("line", "cells", "columns", "quote", "scattered"):
    for read in (
        lambda path: read_table(path, ("path",)), lambda path: sum(1 for _ in iterate_table(path, ("path", "caption"))),
        lambda path: read_columns(path, ("path",)), lambda path: sum(1 for _ in read_entries([f"train={path}"], ["train"])),
        read_lines, read_json,
    ):
        try:
            read(folder / f"{name}.csv")
            sys.exit(f"{name} was read")
        except UserError as error:
            assert len(str(error)) < 1000
assert count_lines(folder / "line.csv") == 2
assert sum(1 for _ in iterate_table(folder / "rows.csv", ("path", "caption"))) == 500_000
"""
    contents = {"line": b"x", "cells": b",", "columns": b"", "quote": b'a,"'}
    for name, start in contents.items():
        with open(tmp_path / f"{name}.csv", "wb") as file:
            file.write(b"" if name == "columns" else HEADER)
            file.write(start)
            file.truncate(600_000_000)  # mostly a hole, which reads as zeros
    with open(tmp_path / "scattered.csv", "wb") as file:
        file.write(HEADER)
        for _ in range(40):
            file.write(b'"\n",' * 200_000)
        file.truncate(600_000_000)
    with open(tmp_path / "rows.csv", "wb") as file:
        file.write(HEADER)
        file.writelines(b"data/%09d.jpg,a caption of some length\n" % n for n in range(500_000))
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


@given(st.binary(max_size=200), st.sampled_from([b"", HEADER, b'path,caption\n"', b"\xef\xbb\xbf" + HEADER]))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_table_or_refused_in_one_line(tmp_path_factory, content, start):
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    path.write_bytes(start + content)
    outcomes = []
    for name, read in WHOLE_FILE.items():
        try:
            outcome = read(path)
        except UserError as error:
            outcome, message = "refused", str(error)
            assert message.isprintable()
        if name in ("read_table", "read_columns", "iterate_table"):
            outcomes.append(outcome)
    assert outcomes[0] == outcomes[1] == outcomes[2]
