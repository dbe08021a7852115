"""A column `split` of a table, and a key `split` of a JSON list, say what those of parquet and Karpathy's files say."""

import json
import re

import pytest

from roclip.core.errors import UserError
from roclip.data.image_paths import RealPaths, Roots, identity
from roclip.data.sources import Split, count_pairs, read_split
from roclip.data.take_over import take_over
from tests.fixtures.published import image, put

ALL = ("train", "validation", "test")
SAID = ["train", "test", "restval", "val", "test"]


def read(source, name="train", **how):
    """The texts that a split gets."""
    return [text for _, text in read_split(Split(name, source, source.parent / "store", **how))]


def table(folder, said, columns="path,caption", name="split", suffix="csv"):
    """A table with a row for each word that says a split."""
    tab = "\t" if suffix == "tsv" else ","
    rows = [*columns.split(","), name], *([f"{n}.jpg", f"cat {n}", word] for n, word in enumerate(said))
    return put(folder / f"t.{suffix}", "".join(tab.join(row) + "\n" for row in rows).encode())


def listed(folder, said, key="split"):
    """A JSON list of an image with two captions for each word that says a split."""
    found = []
    for n, word in enumerate(said):
        put(folder / f"images/{n}.jpg", image(n))
        found += [{"image": f"images/{n}.jpg", "caption": f"{text} {n}", key: word} for text in ("cat", "again")]
    return put(folder / "a.json", json.dumps(found).encode())


@pytest.mark.parametrize("columns", ["path,caption", "image,caption", "filepath,title"])
@pytest.mark.parametrize(("name", "suffix"), [("split", "csv"), ("Split", "tsv")])
def test_rows_of_a_table_are_of_the_split_that_its_column_says(tmp_path, caplog, columns, name, suffix):
    source = table(tmp_path, SAID, columns, name, suffix)
    caplog.set_level("INFO")
    assert read(source, among=ALL) == ["cat 0", "cat 2"]
    assert "2 of 5 rows are of the split 'train', says their column 'split'" in caplog.text
    assert "shared out" not in caplog.text
    assert read(source, "validation", among=ALL) == ["cat 3"]
    assert count_pairs(source, ALL) == count_pairs(source) == 2


@pytest.mark.parametrize("classes", ["cat 0\ncat 1\ncat 4\n", ""])
def test_so_are_labelled_images(tmp_path, classes):
    put(tmp_path / "classes.txt", classes.encode())
    source, how = table(tmp_path, SAID, "path,label"), {"classes_file": tmp_path / "classes.txt" if classes else None}
    assert read(source, "test", among=("test", "train"), **how) == ["cat 1", "cat 4"]


@pytest.mark.parametrize("key", ["split", "Split"])
def test_so_are_images_of_a_list(tmp_path, caplog, key):
    source = listed(tmp_path, SAID, key)
    caplog.set_level("INFO")
    assert read(source, among=ALL) == ["cat 0", "cat 2", "again 0", "again 2"]
    assert "shared out" not in caplog.text
    assert read(source, "validation", among=ALL) == ["cat 3", "again 3"]
    assert count_pairs(source, ALL) == count_pairs(source) == 4


@pytest.mark.parametrize("make", [table, listed])
@pytest.mark.parametrize("said", [["test"] * 3, [""] * 3])
def test_one_split_alone_or_none_is_read_for_any(tmp_path, make, said):
    source = make(tmp_path, said)
    assert len(read(source)) == count_pairs(source) == (3 if make is table else 6)


def test_a_list_may_say_null(tmp_path):
    assert len(read(listed(tmp_path, [None, None]))) == 4


@pytest.mark.parametrize(
    ("make", "said", "message"),
    [
        (
            table,
            ["train", "trian"],
            "t.csv, row 2: 'trian' in its column 'split' is no split; write train, restval, val or test",
        ),
        (table, ["0", "1"], "t.csv, row 1: '0' in its column 'split' is no split; write train, restval, val or test, or give"),
        (table, ["val", "test"], "t.csv: its column 'split' says of no row that it is of the split 'train', and of some that"),
        (listed, ["train", "trian"], "a.json: 'trian' in \"{'image': 'images/1.jpg', 'caption': 'cat 1', 'split': 'trian'"),
        (listed, ["train", 1], "a.json: expected str as 'split' in \"{'image': 'images/1.jpg'"),
        (listed, ["val", "test"], "a.json: no image is of the split 'train', and some are of test, validation; name another"),
    ],
)
def test_what_says_no_split_or_others_is_one_line(tmp_path, make, said, message):
    source = make(tmp_path, said)
    with pytest.raises(UserError, match=re.escape(message)) as raised:
        read(source)
    assert "\n" not in str(raised.value)


def test_two_columns_that_say_splits_are_one_line(tmp_path):
    source = put(tmp_path / "t.csv", b"path,caption,split,Split\na.jpg,a,train,test\n")
    for reader in (read, count_pairs):
        with pytest.raises(UserError, match=r"t\.csv: it says the split twice, as 'split' and as 'Split'; take one out"):
            reader(source)


def test_an_image_of_two_splits_is_one_line(tmp_path):
    source = put(tmp_path / "t.csv", b"path,caption,split\na.jpg,a,train\na.jpg,b,train\n./a.jpg,c,test\n")
    with pytest.raises(UserError, match=r"t\.csv, row 3: \./a\.jpg is of the split 'test', and in row 1 of 'train'; an image"):
        read(source)
    entries = [{"image": name, "caption": "a", "split": split} for name, split in (("a.jpg", "train"), ("./a.jpg", "test"))]
    source = put(tmp_path / "a.json", json.dumps(entries).encode())
    with pytest.raises(UserError, match=r"a\.json: a\.jpg is an image of two splits, train and test; take it out of one"):
        read(source)


def test_a_row_is_counted_as_it_stands_in_the_table(tmp_path):
    source = put(tmp_path / "t.csv", b"path,label,split\na.jpg,cat,train\nb.jpg,cat,test\nc.jpg,Dog,test\n")
    put(tmp_path / "classes.txt", b"cat\ndog\n")
    with pytest.raises(UserError, match=r"t\.csv, row 3: the label 'Dog' is not in "):
        read(source, "test", classes_file=tmp_path / "classes.txt")
    source.write_text(f"path,label,split\na.jpg,cat,train\n{tmp_path}/b.jpg,cat,test\n,cat,test\n")
    with pytest.raises(UserError, match=r"t\.csv, row 3: its path is empty"):
        take_over(Split("test", source, tmp_path), tmp_path / "out.csv", Roots([str(tmp_path)]), 1.0)


@pytest.mark.parametrize("name", ["train", "test"])
def test_a_path_with_a_nul_is_one_line(tmp_path, name):
    source = put(tmp_path / "t.csv", f"path,{'caption' if name == 'train' else 'label'},split\na\0/b.jpg,cat,{name}\n".encode())
    split = Split(name, source, tmp_path, classes_file=put(tmp_path / "classes.txt", b"cat\n"))
    with pytest.raises(UserError, match=r"1 of 1 images lie outside data\.roots .* no file's name holds a NUL; take the row"):
        take_over(split, tmp_path / "out.csv", Roots([str(tmp_path)]), 0.0)
    assert identity(RealPaths()("a\0/b.tar/c.jpg@0+9"), "/"), "of none in a tar either"
