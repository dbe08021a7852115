"""Hostile parquet files: each is read to the letter or refused in one line that names the file, and the row if there is one."""

import json
import os
import struct
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from roclip.core.errors import UserError
from roclip.data import parquet_images
from roclip.data.sources import Split, count_pairs, read_split
from tests.fixtures.published import image, numbers_of

IMAGE = pa.array([image(1)], pa.binary())
TEXT = pa.array(["a"])
NO_UTF_8 = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(struct.pack("<ii", 0, 2)), pa.py_buffer(b"\xff\xfe")])
IN_A_DICTIONARY = pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), NO_UTF_8)
IN_A_LIST = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), NO_UTF_8)


def put(folder, **columns) -> Split:
    parquet.write_table(pa.table(columns), folder / "x.parquet")
    return Split("train", folder / "x.parquet", folder / "store")


@pytest.mark.parametrize("caption", [NO_UTF_8, IN_A_DICTIONARY, IN_A_LIST, pa.array([2**30], pa.date32())])
def test_a_text_that_cannot_be_read_is_named_with_its_row(tmp_path, caption):
    with pytest.raises(UserError, match=r"x\.parquet, row 1: its caption cannot be read: ") as caught:
        list(read_split(put(tmp_path, image=IMAGE, caption=caption)))
    assert str(caught.value).isprintable()
    assert not list(tmp_path.glob("store/*"))


@pytest.mark.parametrize("content", ["abc", 5, [1, 2]])
def test_a_struct_whose_bytes_are_none_is_no_image(tmp_path, content):
    split = put(tmp_path, image=pa.array([{"bytes": content, "path": "x"}]), caption=TEXT)
    with pytest.raises(UserError, match=r"x\.parquet: no column of images; it has image, caption"):
        list(read_split(split))


@pytest.mark.parametrize("names", [("image", "image", "caption"), ("image", "caption", "caption")])
def test_a_duplicate_column_is_one_line(tmp_path, names):
    columns = [IMAGE if name == "image" else TEXT for name in names]
    parquet.write_table(pa.Table.from_arrays(columns, list(names)), tmp_path / "x.parquet")
    with pytest.raises(UserError, match=rf"x\.parquet: duplicate column '{names[1]}'; rename one"):
        list(read_split(Split("train", tmp_path / "x.parquet", tmp_path / "store")))


@pytest.mark.parametrize("noted", ["[" * 100_000, b"\xff\xfe", "null"])
def test_a_note_of_classes_that_is_none_names_no_classes(tmp_path, noted):
    table = pa.table({"image": IMAGE, "label": [0]}).replace_schema_metadata({"huggingface": noted})
    parquet.write_table(table, tmp_path / "x.parquet")
    split = Split("test", tmp_path / "x.parquet", tmp_path / "store")
    assert [label for _, label in read_split(split)] == ["0"]


@pytest.mark.parametrize("inside", [False, True])
def test_a_pipe_in_place_of_a_file_is_one_line(tmp_path, inside):
    source = tmp_path / "x.parquet"
    if inside:
        source.mkdir()
    os.mkfifo(source / "train-0.parquet" if inside else source)
    for read in (count_pairs, lambda path: list(read_split(Split("train", path, tmp_path / "store")))):
        with pytest.raises(UserError, match=r"\.parquet: is a pipe or device, no file"):
            read(source)


def test_the_same_large_value_in_every_row_does_not_fill_the_memory(tmp_path):
    """64 rows of 10 MB in a file of a few kilobytes; 64 at a time took more than a gigabyte."""
    large = pa.DictionaryArray.from_arrays(pa.array([0] * 64, pa.int32()), pa.array([bytes(10 << 20)], pa.binary()))
    table = pa.table({"image": large, "caption": ["a"] * 64})
    parquet.write_table(table, tmp_path / "x.parquet", compression="zstd", store_schema=False)
    code = (
        "import resource, sys, pyarrow.parquet; from pathlib import Path; from roclip.data import parquet_images\n"
        "rows = parquet_images._rows(Path(sys.argv[1]), 'caption', [])\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert sum(len(content) for content, _ in rows) == 64 * (10 << 20)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "x.parquet"], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300_000, "kilobytes"


def test_images_that_no_stage_would_open_are_left_out(tmp_path, monkeypatch, caplog):
    images = pa.array([image(1), image(2) + bytes(5000), None, b"", image(3)], pa.binary())
    split = put(tmp_path, image=images, caption=["a", "b", "c", "d", "e"])
    monkeypatch.setattr(parquet_images, "BYTES", 5000)
    found = list(read_split(split))
    assert (numbers_of([path for path, _ in found]), [text for _, text in found]) == ([1, 3], ["a", "e"])
    assert "left out 1 row with an image of more than 0 MB" in caplog.text
    assert "left out 2 rows without an image\n" in caplog.text


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("label", [1.0], "float, neither a text nor the number of a class"), ("label", [True], "bool, neither"),
        ("caption", [[0.5]], "float, neither"), ("caption", [b"\xff"], "'utf-8' codec"),
        ("caption", [[["a", "dog"], ["a", "cat"]]], "a list of lists, as of words, is no text; write each caption as one text"),
        ("sentences", [[{"raw": ["a", "dog"]}]], "a list of lists, as of words"), ("label", [[["a"]]], "a list of lists"),
        ("caption", [1, 2], "1 is no text, and no number of a class that the file names; write the captions themselves"),
        ("text", [[5, 6]], "5 is no text"),
    ],
)  # fmt: skip
def test_a_text_of_another_type_is_named_with_it(tmp_path, column, values, said):
    put(tmp_path, image=pa.array([image(1)] * len(values)), **{column: values})
    split, what = ("test", "label") if column == "label" else ("train", "caption")
    with pytest.raises(UserError, match=rf"x\.parquet, row 1: its {what} cannot be read: {said}"):
        list(read_split(Split(split, tmp_path / "x.parquet", tmp_path / "store")))


@pytest.mark.parametrize("kind", ["binary", "large_binary", "binary_view", "dictionary", "struct"])
def test_images_are_bytes_of_any_type(tmp_path, kind):
    kinds = {"dictionary": pa.dictionary(pa.int32(), pa.binary()), "struct": pa.struct({"bytes": pa.binary_view()})}
    cell = {"bytes": image(1)} if kind == "struct" else image(1)
    images = pa.array([cell], kinds.get(kind) or getattr(pa, kind)())
    found = list(
        read_split(
            put(
                tmp_path,
                image=images,
                caption=pa.array(
                    [
                        b"a",
                    ],
                    pa.binary(),
                ),
            )
        )
    )
    assert (numbers_of([path for path, _ in found]), found[0][1]) == ([1], "a")


def test_a_caption_may_be_one_of_a_list_or_the_number_of_a_class_with_a_name(tmp_path):
    for caption, expected in (([["a dog", "two cats"]], ["a dog", "two cats"]), ([{"raw": ["a", "b"]}], ["a", "b"])):
        assert [text for _, text in read_split(put(tmp_path, image=IMAGE, caption=caption))] == expected
    noted = json.dumps({"info": {"features": {"caption": {"names": ["cat", "dog"]}}}})
    table = pa.table({"image": pa.array([image(1)] * 2), "caption": [1, 0]}).replace_schema_metadata({"huggingface": noted})
    parquet.write_table(table, tmp_path / "x.parquet")
    split = Split("train", tmp_path / "x.parquet", tmp_path / "store")
    assert [text for _, text in read_split(split)] == ["dog", "cat"]
