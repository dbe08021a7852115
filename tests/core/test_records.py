"""Records that somebody else wrote and sealed, and texts that would forge lines of a log or of `verify`."""

import json
import logging
import os

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
