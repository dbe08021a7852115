"""Hostile lists and JSON: each is read to the letter or refused in one line."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roclip.core.errors import UserError
from roclip.core.files import read_json, read_lines
from roclip.experiment.plan import read_plan
from roclip.model.configs import model_config
from tests.fixtures.hostile_tables import one_line


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
        (b"\x80\x04K\x01.", "not UTF-8"), (b"[1e400]", "1e400 is too large a number"), (b"-1e999", "-1e999 is too large"),
        (b'{"a": {"b": 1, "c": 2, "b": 1}}', "duplicate key 'b' in an object; mend"),
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
        (b'[{"a": 1}, {"a": 1e308}]', [{"a": 1}, {"a": 1e308}]),
        (b"null", None),
    ):
        (tmp_path / "a.json").write_bytes(content)
        assert read_json(tmp_path / "a.json") == value


@given(st.binary(max_size=100) | st.text(alphabet='{}[]",:0123456789eE.-+ntfulrsai\\ud800 \n', max_size=60).map(str.encode))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_json_or_one_line_and_so_are_plans_and_models_of_them(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_bytes(content)
    for read in (read_json, read_plan, lambda path: model_config(str(path))):
        try:
            read(path)
        except UserError as error:
            message = str(error)
            assert message.isprintable()
            assert str(path) in message
