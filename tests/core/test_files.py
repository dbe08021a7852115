"""Tables keep their cells to the letter, and a mistake is one line with file and row."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roclip.core.atomic import atomic
from roclip.core.errors import UserError
from roclip.core.files import read_json, read_lines, read_table, write_json, write_table

TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters=""), max_size=30)


@given(st.lists(st.tuples(TEXT, TEXT), max_size=8))
@settings(deadline=None)
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".TSV"])
def test_what_is_written_is_read(tmp_path_factory, suffix, rows):
    path = tmp_path_factory.mktemp("tables") / f"table{suffix}"
    write_table(path, ("path", "caption"), [{"path": a, "caption": b} for a, b in rows])
    assert [(row["path"], row["caption"]) for row in read_table(path, ("path", "caption"))] == rows


@pytest.mark.parametrize("caption", ["NA", "null", "nan", "", "None", "1e5", "TRUE"])
def test_words_that_other_readers_swallow_stay(tmp_path, caption):
    (tmp_path / "t.csv").write_text(f"path,caption\na.png,{caption}\n")
    assert read_table(tmp_path / "t.csv", ("path", "caption")) == [{"path": "a.png", "caption": caption}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,title\na,b\n", "no column 'caption'"),
        (b"path,caption\na,b,c\n", "line 2: expected 2 cells"),
        (b"path,caption\na,b\nc\n", "line 3: expected 2 cells"),
        (b"path,caption\na,\xff\n", "not UTF-8"),
        (b'path,caption\na,"b\n', "line"),
        (b"", "no column 'path'"),
    ],
)
def test_mistakes_name_file_and_line(tmp_path, content, message):
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_table(path, ("path", "caption"))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [lambda p: read_table(p, ("path",)), read_lines, read_json])
def test_a_missing_file_is_the_users_mistake(tmp_path, read):
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / "absent")


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfpath,caption\na,b\n")
    assert read_table(tmp_path / "t.csv", ("path",)) == [{"path": "a", "caption": "b"}]


def test_in_a_table_of_one_column_a_row_of_blanks_is_a_value(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"path\na\n \n\nb\n\x1a")
    assert [row["path"] for row in read_table(tmp_path / "t.csv", ("path",))] == ["a", " ", "b", "\x1a"]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "t.csv"
    write_table(path, ("a",), [{"a": 1}])
    with pytest.raises(ValueError, match="a row has the keys"):
        write_table(path, ("a",), [{"a": 2}, {"b": 3}])
    assert path.read_text() == "a\n1\n"
    with pytest.raises(KeyboardInterrupt), atomic(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_a_cell_that_utf_8_cannot_write_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"t\.csv: a row cannot be written as UTF-8: b,a cat \\ud83d") as caught:
        write_table(tmp_path / "t.csv", ("a", "b"), [{"a": "a", "b": "a cat"}, {"a": "b", "b": "a cat \ud83d"}])
    assert str(caught.value).isprintable()
    assert not (tmp_path / "t.csv").exists()


def test_broken_json_names_its_line(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1]})
    assert read_json(tmp_path / "a.json") == {"b": [1]}
    (tmp_path / "a.json").write_text('{\n"b": }')
    with pytest.raises(UserError, match="line 2"):
        read_json(tmp_path / "a.json")
