"""A JSON file is read an entry at a time as json reads it whole, wherever a block of it ends."""

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roclip.core.errors import UserError
from roclip.data import json_stream
from roclip.data.json_stream import count_keys, entries

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def flat(whole) -> list:
    if isinstance(whole, list):
        return [("", member) for member in whole]
    return [pair for k, v in whole.items() for pair in ([(k, member) for member in v] if isinstance(v, list) else [(k, v)])]


@settings(max_examples=60, deadline=None)
@given(whole=st.lists(VALUES, max_size=4) | st.dictionaries(st.text(max_size=4), VALUES, max_size=4), block=st.integers(1, 40))
def test_it_gives_what_json_gives(tmp_path_factory, whole, block):
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(whole, ensure_ascii=block % 2 == 0, indent=block % 3 or None), encoding="utf-8")
    before = json_stream.BLOCK
    json_stream.BLOCK = block
    try:
        assert list(entries(path)) == flat(whole)
    finally:
        json_stream.BLOCK = before


@pytest.mark.parametrize(
    "text", ["", "{", "[1", "[1,", "[1 2]", '{"a" 1}', '{"a": [1}', "3", '{"a": nul}', "[" * 100_000, "[NaN]", '{"a": 1,}']
    + ["{1: 2}", "[1x]"],
)  # fmt: skip
def test_what_is_no_json_is_one_line(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=r"a\.json: not JSON that can be read") as caught:
        list(entries(tmp_path / "a.json"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ['{"a": [1], "b": 2, "a": [3]}', '[{"b": 1}, {"a": 1, "a": 1}]', '{"b": [{"c": {"a": 1, "b": 2, "a": 3}}]}']
)
def test_a_duplicate_key_is_named(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=r"a\.json: .*duplicate key 'a' in an object; mend"):
        list(entries(tmp_path / "a.json"))


def test_latin_1_and_endless_entries_are_one_line(tmp_path):
    (tmp_path / "a.json").write_bytes(b'["a",\n"\xe9"]')
    with pytest.raises(UserError, match=r"a\.json, line 2: not UTF-8; save it as UTF-8"):
        list(entries(tmp_path / "a.json"))
    (tmp_path / "a.json").write_text('["' + "a" * 20_000_000)
    tracemalloc.start()
    with pytest.raises(UserError, match="not JSON"):
        list(entries(tmp_path / "a.json"))
    assert tracemalloc.get_traced_memory()[1] < 4e7
    tracemalloc.stop()


def test_a_long_list_does_not_fill_the_memory_and_its_keys_are_counted(tmp_path):
    with open(tmp_path / "a.json", "w") as file:
        rows = (json.dumps({"caption": f'the "caption" {n}', "image_id": n}) for n in range(50_000))
        file.write('{"annotations": [' + ", ".join(rows) + "]}")
    tracemalloc.start()
    assert sum(entry["image_id"] for _, entry in entries(tmp_path / "a.json")) == 50_000 * 49_999 // 2
    assert tracemalloc.get_traced_memory()[1] < 2e7
    tracemalloc.stop()
    assert count_keys(tmp_path / "a.json", "caption") == 50_000


def test_json_lines_are_called_so(tmp_path):
    (tmp_path / "a.json").write_text('{"image": "1.jpg"}\n{"image": "2.jpg"}\n')
    with pytest.raises(
        UserError, match=r"found \{, a second value, as in JSON lines, which are to be written as one list; mend"
    ):
        list(entries(tmp_path / "a.json"))
