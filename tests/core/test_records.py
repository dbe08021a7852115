"""Records that somebody else wrote and sealed, and texts that would forge lines of a log or of `verify`."""

import json
import logging
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roclip.core import provenance
from roclip.core.errors import OneLine, UserError
from roclip.core.provenance import SUFFIX, _sealed, read_record, write_record
from roclip.core.verify import main
from tests.fixtures.experiments import RECORD as GOOD

ESCAPES = "a\x1b[31mred\x1b[0m\r\n12:00:00 all is well\u202e\x07\x9b"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("\0"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def sealed(path, content: bytes):
    """A file with a right seal, whatever it holds."""
    path.write_bytes(_sealed(content))
    read_record.cache_clear()
    provenance._records.cache_clear()
    return path


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[1", b'{"a": 1', b'{"stage": "train"', b'{"outputs": [], "inputs": {}' + b"[" * 100_000, b"\xff",
        *(json.dumps(GOOD | change).encode()[:-1] for change in (
            {"outputs": []}, {"outputs": None}, {"outputs": {"a": 1}}, {"outputs": {"a\0": "b"}}, {"inputs": {"a": None}},
            {"stage": 1}, {"commit": ["x"]}, {"options": "x"}, {"versions": 1},
        )),
    ],
)  # fmt: skip
def test_a_sealed_record_that_is_none_is_one_line_and_verify_goes_on(tmp_path, capsys, content):
    path = sealed(tmp_path / f"train{SUFFIX}", content)
    with pytest.raises(UserError, match="no record of this project"):
        read_record(path)
    assert main([str(tmp_path)]) == 1
    assert "what it says is not looked at" in capsys.readouterr().out


@given(st.dictionaries(st.sampled_from([*GOOD, "x"]), VALUES, max_size=4))
@settings(max_examples=200, deadline=None)
def test_any_sealed_record_is_read_or_one_line(tmp_path_factory, changes):
    path = sealed(tmp_path_factory.mktemp("records") / f"a{SUFFIX}", json.dumps(GOOD | changes).encode()[:-1])
    try:
        record = read_record(path)
        assert all(isinstance(word, str) for part in ("inputs", "outputs") for pair in record[part].items() for word in pair)
    except UserError as error:
        message = str(error)
        assert message.startswith(f"{path}: no record")
    main([str(path.parent)])


def test_a_record_that_is_no_file_is_one_line(tmp_path):
    os.mkfifo(tmp_path / f"a{SUFFIX}")
    (tmp_path / f"b{SUFFIX}").mkdir()
    for name, why in (("a", "pipe or device"), ("b", "directory"), ("c", "no such file")):
        with pytest.raises(UserError, match=why):
            read_record(tmp_path / f"{name}{SUFFIX}")


LONG, DEEP = "x" * 300, "x/" * 3000


@pytest.mark.parametrize("name", [LONG, DEEP, "", ".", "\ud800", "train.record.json/x"])
def test_a_record_of_what_no_file_is_called_is_a_line_each(tmp_path, capsys, name):
    read_record.cache_clear()
    write_record(tmp_path / f"train{SUFFIX}", GOOD | {"outputs": {name: "0"}, "inputs": {f"../{name}": "0"}})
    assert main([str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "; train wrote it" in lines[0]
    assert "train read other files than are there now: " in lines[1]


@pytest.mark.parametrize("place", ["/proc/self/mem", "/proc/kmsg", "/dev/zero", "/sys/kernel/notes", "pipe", "loop"])
def test_what_never_ends_is_not_read(tmp_path, capsys, place):
    read_record.cache_clear()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to(place)
    write_record(tmp_path / f"train{SUFFIX}", GOOD | {"outputs": {"link": "0"}, "inputs": {place: "0"}})
    assert main([str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{tmp_path}/link: {'missing' if place == 'loop' else 'cannot be read'}; train wrote it"
    assert lines[1].startswith(f"{tmp_path}/train{SUFFIX}: train read other files than are there now: ")


@pytest.fixture
def deep(tmp_path):
    """A folder that is taken away again, for pytest cannot."""
    yield tmp_path
    subprocess.run(["rm", "-rf", *map(str, tmp_path.iterdir())], check=True)


def test_folders_that_are_nested_deeply_or_have_a_long_name(deep, capsys, monkeypatch):
    read_record.cache_clear()
    write_record(deep / f"train{SUFFIX}", GOOD)
    monkeypatch.chdir(deep)
    for _ in range(1200):
        Path("d").mkdir()
        os.chdir("d")
    (deep / f"{'d/' * 1000}file").touch()
    assert main([str(deep)]) == 1
    assert capsys.readouterr().out.startswith(f"{deep}/{'d/' * 1000}file: no record knows it\n")
    for _ in range(20):
        Path("d" * 200).mkdir()
        os.chdir("d" * 200)
    with pytest.raises(UserError, match="the folders below it cannot be read: file name too long; take them out"):
        main([str(deep)])
    for name in ("x" * 5000, "\0"):
        with pytest.raises(UserError, match="no records"):
            main([name])


def test_names_forge_no_line_of_verify(tmp_path, capsys):
    read_record.cache_clear()
    write_record(tmp_path / f"train{SUFFIX}", GOOD | {"outputs": {ESCAPES: "0"}, "inputs": {ESCAPES + "2": "0"}})
    (tmp_path / "b\x1b[2Jc\r\nd").write_text("")
    assert main([str(tmp_path)]) == 1
    lines = capsys.readouterr().out.split("\n")
    assert lines.pop() == ""
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)
    assert any("\\x1b[31mred" in line for line in lines)


def test_a_message_of_the_log_is_one_line():
    record = logging.LogRecord("x", logging.INFO, "", 1, "no image from %s", (ESCAPES,), None)
    line = OneLine("%(asctime)s %(message)s", "%H:%M:%S").format(record)
    assert line.isprintable()
    assert "\\x1b[31mred\\x1b[0m\\r\\n12:00:00" in line
