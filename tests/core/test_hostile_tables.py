"""Hostile tables, lists and JSON: each is read to the letter or refused in one line, in bounded memory and time."""

import csv
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roclip.core.errors import UserError
from roclip.core.files import (
    count_lines,
    read_columns,
    read_json,
    read_lines,
    read_table,
    write_rows,
    write_table,
)
from roclip.data.pairs import count_pairs, read_pairs
from roclip.data.url_list import count_rows, read_entries
from tests.conftest import ROOT
from tests.fixtures.attacks import build
from tests.fixtures.hostile_tables import COLUMNS, HEADER, READ, READERS, REFUSED, one_line

LARGE_HEADER = 1 << 16


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


WHOLE_FILE = {
    **READERS, "count_pairs": count_pairs, "count_lines": count_lines, "read_lines": read_lines, "read_json": read_json,
    "url list": lambda path: list(read_entries([str(path)])),
    "rows of a url list": lambda path: count_rows([str(path)], "train"),
    "list of a split": lambda path: list(read_entries([f"train={path}"], ["train"])),
    "rows of a split": lambda path: count_rows([f"train={path}"], "train"),
}  # fmt: skip


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


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"a\nb\n", ["a", "b"]), (b"a\r\nb", ["a", "b"]), (b"a\rb\r", ["a", "b"]), (b"\xef\xbb\xbfa\n", ["a"]),
        ("a\u2028b\x85c\n\x1cd".encode(), ["a\u2028b\x85c", "d"]), (b"a\0b\n", ["a\0b"]), (b"=a\n'=b\n", ["=a", "'=b"]),
        (b"\n", "the file is empty"), (b"", "the file is empty"), (b"a\nb\n\xe9\n", "line 3: not UTF-8"),
        ("a".encode("utf-16"), "line 1: not UTF-8"),
    ],
)  # fmt: skip
def test_lists(tmp_path, content, lines):
    (tmp_path / "l.txt").write_bytes(content)
    if isinstance(lines, list):
        assert read_lines(tmp_path / "l.txt") == lines
    else:
        with pytest.raises(UserError, match=lines) as caught:
            read_lines(tmp_path / "l.txt")
        one_line(caught, tmp_path / "l.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: not JSON"), (b"{", "line 1: not JSON"), (b"[1,\n2,,]", "line 2: not JSON"), (b"{'a': 1}", "line 1"),
        (b"[" * 1_000_000, "nested too deeply"), (b'{"a":' * 100_000, "nested too deeply"), (b"9" * 5000, "not JSON .*4300"),
        (b"NaN", "NaN is no number"), (b"[-Infinity]", "-Infinity is no number"), (b"\xff", "line 1: not UTF-8"),
        ("{}".encode("utf-16"), "line 1: not UTF-8"), (b'"a\nb"', "line 1"), (b"{} {}", "line 1"),
        (b"\x80\x04K\x01.", "not UTF-8"),
    ],
)  # fmt: skip
def test_json_is_refused(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_json(tmp_path / "a.json")
    one_line(caught, tmp_path / "a.json")


def test_json_is_read(tmp_path):
    for content, value in (
        (b"\xef\xbb\xbf[1]", [1]),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b"1e400", float("inf")),
        (b"null", None),
    ):
        (tmp_path / "a.json").write_bytes(content)
        assert read_json(tmp_path / "a.json") == value


# formulas: no cell of a table that is written begins as one, and all are read as they were

FORMULAS = [
    "=1+1", "=HYPERLINK(\"http://h\")", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "=", "-", "+", "@", "-a", "'=1", "''=1",
    "'", "''", "'a", "-0.5", "1e-5", "+7", "-.5e3", "-1e", "- 1", "-1 ", "-1,5", "-\u0661", "-inf", "a=1", " =1", "\n=1", "",
]  # fmt: skip
NUMBERS = {"-0.5", "1e-5", "+7", "-.5e3"}
CAPTIONS = st.one_of(
    st.text(st.characters(blacklist_categories=("Cs",)), max_size=20),
    st.text("'=+-@\t\r\n,\";.1eE a", max_size=8),
    st.sampled_from(FORMULAS),
    st.floats(allow_nan=False).map(str),
)


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_no_cell_is_a_formula_and_each_comes_back(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    write_rows(path, ("path", "caption", "x"), [(f"{text}.png", text, -0.5) for text in FORMULAS])
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.reader(file, delimiter="\t" if suffix == ".tsv" else ","):
            assert row[1] in NUMBERS or not row[1].startswith(("=", "+", "-", "@", "\t", "\r"))
            assert not row[0].startswith(("=", "+", "-", "@", "\t", "\r"))
            assert row[2] in ("x", "-0.5")
    assert [row["caption"] for row in read_table(path, COLUMNS)] == FORMULAS
    assert read_columns(path, ("path",))["path"] == [f"{text}.png" for text in FORMULAS]


@given(st.lists(st.tuples(CAPTIONS, CAPTIONS), max_size=6))
@settings(max_examples=50, deadline=None)
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_every_way_of_writing_and_reading_keeps_every_cell(tmp_path_factory, suffix, rows):
    path = tmp_path_factory.mktemp("tables") / f"t{suffix}"
    write_table(path, COLUMNS, [{"path": a, "caption": b} for a, b in rows])
    written = path.read_bytes()
    write_rows(path, COLUMNS, rows)
    assert path.read_bytes() == written
    for read in READERS.values():
        assert read(path) == rows
    cells = [
        cell
        for row in csv.reader(StringIO(written.decode(), newline=""), delimiter="\t" if suffix == ".tsv" else ",")
        for cell in row
    ]
    for cell in cells:
        if cell.startswith(("=", "+", "-", "@", "\t", "\r")):
            float(cell)  # a number


@given(st.lists(st.tuples(CAPTIONS.filter(bool), CAPTIONS), min_size=1, max_size=6))
@settings(max_examples=20, deadline=None)
def test_captions_pass_an_attack_unchanged(tmp_path_factory, scenes, rows):
    folder = tmp_path_factory.mktemp("attack")
    write_rows(folder / "train.csv", COLUMNS, rows)
    build("clean", scenes, folder / "out", train=folder / "train.csv")
    found = read_pairs(folder / "out/train.csv")
    assert list(zip(found["path"], found["caption"], strict=True)) == rows


def test_tables_of_other_projects_keep_their_apostrophes(tmp_path):
    (tmp_path / "t.csv").write_text("filepath\ttitle\na\t'=b\n")
    assert read_pairs(tmp_path / "t.csv")["caption"] == ["'=b"]


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
