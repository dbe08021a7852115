"""Which shards, rows and images a split gets of a source that says it by names, by a column or not at all."""

import io
import re
import tarfile

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from roclip.core.errors import UserError
from roclip.core.files import write_table
from roclip.data.image_paths import Roots
from roclip.data.labels import checked
from roclip.data.sources import Split, count_pairs, read_split
from roclip.data.split_names import split_of
from roclip.data.take_over import take_over
from tests.fixtures import published
from tests.fixtures.published import image


def read(source, name, tmp_path, **how):
    """The texts that a split gets."""
    return [text for _, text in read_split(Split(name, source, tmp_path / "store" / name, **how))]


def tar_of(path, captions):
    """A webdataset shard of images with these captions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for number, caption in enumerate(captions):
            for suffix, content in (("jpg", image(number)), ("txt", caption.encode())):
                member = tarfile.TarInfo(f"{path.stem}-{number}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def rows_of_splits(path, said, **columns):
    """A parquet file whose column `split` says of which split each row is."""
    columns = columns or {"caption": [[f"{n} {split}", f"{n} again"] for n, split in enumerate(said)]}
    return published.hugging_face(path, {**columns, "split": said}, [image(n) for n in range(len(said))])


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("cc3m-train-0000", "train"), ("cc3m-validation-0000", "validation"), ("TEST-00000-of-00001", "test"), ("00000", ""),
        ("flickr30k_val", "validation"), ("split=train", "train"), ("restval", "train"), ("my test images", "test"),
        ("trainer", ""), ("train-probe-1", "probe"),
    ],
)  # fmt: skip
def test_the_split_is_the_last_word_that_names_one(name, split):
    assert split_of(name) == split


def test_tars_are_of_the_split_that_they_are_called_after(tmp_path):
    folder = tmp_path / "wds"
    tar_of(folder / "cc3m-train-0000.tar", ["a", "b"])
    tar_of(folder / "cc3m-train-0001.tar", ["c"])
    tar_of(folder / "cc3m-validation-0000.tar", ["of the validation"])
    split = Split("train", folder, tmp_path / "store")
    assert [text for _, text in read_split(split)] == ["a", "b", "c"]
    assert split.left_out == []
    both = ("train", "validation")
    assert read(folder, "validation", tmp_path, among=both) == ["of the validation"]
    assert read(folder, "train", tmp_path, among=both) == ["a", "b", "c"], "its own, of which none is shared out"
    assert count_pairs(folder, both) == 3
    (folder / "cc3m-validation-0000.tar").rename(folder / "cc3m-test-0000.tar")
    said = r"no file is called after the split 'validation', as validation-00000\.tar is, .* such as cc3m-.*; rename some"
    with pytest.raises(UserError, match=said):
        read(folder, "validation", tmp_path)


def test_tars_of_one_other_split_alone_are_read(tmp_path):
    tar_of(tmp_path / "wds/train-0.tar", ["a"])
    assert read(tmp_path / "wds", "validation", tmp_path) == ["a"]


def test_a_copy_of_a_shard_is_listed_and_its_pairs_come_once(tmp_path, caplog):
    folder = tmp_path / "wds"
    first = tar_of(folder / "00000.tar", ["a", "b"])
    for name in ("00000 (1).tar", "00000.bak.tar"):
        (folder / name).write_bytes(first.read_bytes())
    other = tar_of(folder / "00001.tar", ["c", "d"])
    assert other.stat().st_size == first.stat().st_size, "as large, and no copy"
    assert tar_of(tmp_path / "x/00000.tar", ["x", "y"]).rename(folder / "00002.tar").stat().st_size == first.stat().st_size
    with open(folder / "00002.tar", "rb") as third, open(first, "rb") as whole:
        assert third.read(512) == whole.read(512), "and begins as the first one"
    split = Split("train", folder, tmp_path / "store")
    assert sorted(text for _, text in read_split(split)) == ["a", "b", "c", "d", "x", "y"]
    assert [(name, reason) for _, _, name, reason in split.left_out] == [
        ("00000 (1).tar", "a copy of a shard that is read"), ("00000.bak.tar", "a copy of a shard that is read"),
    ]  # fmt: skip
    assert count_pairs(folder) == 6


def test_rows_are_of_the_split_that_their_column_says(tmp_path, caplog):
    source = rows_of_splits(tmp_path / "hf/TEST-00000.parquet", ["train", "test", "restval", "val", "test"])
    caplog.set_level("INFO")
    assert read(source, "train", tmp_path) == ["0 train", "2 restval", "0 again", "2 again"]
    assert "2 of 5 rows are of the split 'train', says their column 'split'" in caplog.text
    assert read(source.parent, "validation", tmp_path) == ["3 val", "3 again"]
    both = ("train", "validation")
    assert read(source, "validation", tmp_path, among=both) == ["3 val", "3 again"]
    assert count_pairs(source, both) == 4
    with pytest.raises(UserError, match=r"its column 'split' says of no row that it is of the split 'probe', and of some that"):
        read(source, "probe", tmp_path)


@pytest.mark.parametrize("said", [["test", "test"], [None, ""], [None, None]])
def test_a_column_that_says_one_split_or_none_leaves_all_rows(tmp_path, said):
    assert len(read(rows_of_splits(tmp_path / "a.parquet", said), "train", tmp_path)) == 4


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            ["train", "left"],
            "a.parquet, row 2: 'left' in its column 'split' is no split; write train, restval, val or test, or",
        ),
        ([1, 2], "a.parquet: its column 'split' is int64, and not of names of splits; write"),
        ([b"train", b"test"], "a.parquet: its column 'split' is binary, and not of names of splits; write"),
        ([["train"], ["test"]], "a.parquet: its column 'split' is list<element: string>, and not of names of splits; write"),
    ],
)
def test_a_column_of_other_words_than_splits_is_one_line(tmp_path, said, message):
    source = rows_of_splits(tmp_path / "a.parquet", said)
    with pytest.raises(UserError, match=re.escape(message)):
        read(source, "train", tmp_path)


def test_a_column_says_the_split_in_capitals_too_and_once(tmp_path):
    columns = {"caption": ["a", "b"], "Split": pa.array(["train", "test"]).cast(pa.string_view())}
    source = published.hugging_face(tmp_path / "a.parquet", columns, [image(0), image(1)])
    assert read(source, "train", tmp_path) == ["a"]
    published.hugging_face(tmp_path / "b.parquet", columns | {"split": ["test", "train"]}, [image(0), image(1)])
    with pytest.raises(UserError, match=r"b\.parquet: it says the split twice, as 'Split' and as 'split'; take one out"):
        read(tmp_path / "b.parquet", "train", tmp_path)


def test_a_column_of_splits_that_is_no_text_is_one_line(tmp_path):
    broken = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")])
    table = pa.table({"image": pa.array([image(0)], pa.binary()), "caption": ["a"], "split": broken})
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet: not a whole parquet file"):
        read(tmp_path / "a.parquet", "train", tmp_path)


def test_pairs_of_rows_with_lists_of_captions_are_counted(tmp_path):
    captions = {"caption": [["a", "b", "c", "d", "e"] for _ in range(3)]}
    source = published.hugging_face(tmp_path / "a.parquet", captions, [image(n) for n in range(3)])
    assert count_pairs(source) == 15 == len(read(source, "train", tmp_path))
    structs = {"sentences": [[{"raw": "a", "sentid": 1}, {"raw": "b", "sentid": 2}]] * 3}
    source = published.hugging_face(tmp_path / "b.parquet", structs, [image(n) for n in range(3)])
    assert count_pairs(source) == 6


def test_the_folder_of_a_hugging_face_download_is_read(tmp_path):
    published.hugging_face(tmp_path / "hf/data/train-00000-of-00001.parquet", {"text": ["a"]}, [image(0)])
    published.hugging_face(tmp_path / "hf/data/test-00000-of-00001.parquet", {"text": ["b"]}, [image(1)])
    (tmp_path / "hf/README.md").write_text("a card")
    split = Split("train", tmp_path / "hf", tmp_path / "store")
    assert [text for _, text in read_split(split)] == ["a"]
    assert split.left_out == []


def test_empty_captions_are_counted_in_the_log(tmp_path, caplog):
    published.class_folders(tmp_path / "images", {"cat": 3})
    rows = [
        {"path": str(path), "caption": text}
        for path, text in zip((tmp_path / "images/cat").iterdir(), ["", " ", "a"], strict=True)
    ]
    write_table(tmp_path / "t.csv", ("path", "caption"), rows)
    split = Split("train", tmp_path / "t.csv", tmp_path / "store")
    take_over(split, tmp_path / "out.csv", Roots([str(tmp_path)]), 0.01)
    assert "t.csv: 2 of 3 captions are empty, and are taken over as they are" in caplog.text


@pytest.mark.parametrize("inside", ["partial-train/0000.parquet", "split=train/0.parquet", "train/00000.tar"])
@pytest.mark.parametrize("name", ["train", "test"])
def test_a_folder_above_is_told_which_one_to_name(tmp_path, inside, name):
    path = tmp_path / "above" / inside
    if path.suffix == ".tar":
        tar_of(path, ["a"])
    else:
        published.hugging_face(path, {"text": ["a"]}, [image(0)])
    with pytest.raises(
        UserError, match=rf"its folder {path.parent.name} is no class folder, it holds {path.name}; name .*above/"
    ):
        read(tmp_path / "above", name, tmp_path, classes=("cat",), templates=("a {}",))


def test_parquet_without_bytes_of_images_is_called_so(tmp_path):
    (tmp_path / "urls").mkdir()
    parquet.write_table(pa.table({"image_url": ["http://h/a"], "caption": ["a"]}), tmp_path / "urls/0.parquet")
    with pytest.raises(UserError, match=r"0\.parquet: no column of images; it has image_url, caption"):
        read(tmp_path / "urls", "train", tmp_path)


@pytest.mark.parametrize("name", ["a.parquet", "captions.txt", "hf/0.parquet"])
def test_a_pointer_of_git_lfs_is_called_so(tmp_path, name):
    published.put(tmp_path / name, b"version https://git-lfs/spec/v1\noid sha256:00\nsize 9\n")
    source = (tmp_path / name).parent if "/" in name else tmp_path / name
    with pytest.raises(
        UserError, match=rf"{name}: is a pointer of Git LFS in place of a file; fetch the file with git lfs pull"
    ):
        read(source, "train", tmp_path)


def linked(tmp_path):
    """120 images in a folder, and the folder once more as a link."""
    published.class_folders(tmp_path / "real", {"cat": 120})
    (tmp_path / "link").symlink_to("real")
    return [
        tmp_path / where / f"cat/{path.name}"
        for path in sorted((tmp_path / "real/cat").iterdir())
        for where in ("real", "link")
    ]


def test_an_image_is_of_one_split_under_each_of_its_paths(tmp_path):
    table = tmp_path / "t.csv"
    write_table(table, ("path", "caption"), [{"path": str(path), "caption": path.name} for path in linked(tmp_path)])
    both = ("train", "validation")
    train, validation = ({*read(table, name, tmp_path, among=both)} for name in both)
    assert train
    assert validation
    assert not train & validation


def test_two_labels_of_an_image_are_found_under_each_of_its_paths(tmp_path):
    paths = linked(tmp_path)[:2]
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    rows = [(str(paths[0]), "cat"), (str(paths[1]), "dog")]
    with pytest.raises(UserError, match=r"t\.csv, row 2: .*link.* is labelled 'dog', and 'cat' in row 1; keep one"):
        list(checked(rows, tmp_path / "t.csv", tmp_path / "classes.txt"))
    assert list(checked([rows[0], (rows[1][0], "cat")], tmp_path / "t.csv", tmp_path / "classes.txt"))


@pytest.mark.parametrize("name", ["train", "test"])
def test_a_split_that_is_called_as_a_class_is_no_class_folder(tmp_path, name):
    for label in ("cat", "dog"):
        published.put(tmp_path / f"set/train/{label}/a.jpg", image(0))
    chosen = {"classes": ("cat", "dog", "train"), "templates": ("a {}",)}
    with pytest.raises(UserError, match=r"its folder train holds images in folders of its own, such as cat; name .*set/train"):
        read(tmp_path / "set", name, tmp_path, **chosen)
    assert {text.removeprefix("a ") for text in read(tmp_path / "set/train", name, tmp_path, **chosen)} == {"cat", "dog"}
    published.put(tmp_path / "set/train/a.jpg", image(1))
    assert read(tmp_path / "set", name, tmp_path, **chosen), "images of the class itself"


def test_the_archive_beside_class_folders_is_listed_and_they_are_read(tmp_path):
    published.class_folders(tmp_path / "set", {"cat": 2})
    with tarfile.open(tmp_path / "set/images.tar", "w") as archive:
        archive.add(tmp_path / "set/cat", "cat")
    (tmp_path / "set/._images.tar").write_bytes(b"of macOS")
    split = Split("train", tmp_path / "set", tmp_path / "store", ("a {}",), ("cat",))
    assert [text for _, text in read_split(split)] == ["a cat"] * 2
    assert [(name, reason) for _, _, name, reason in split.left_out] == [("images.tar", "a tar in no class folder")]


@pytest.mark.parametrize("alias", ["folder", "files"])
def test_an_alias_of_the_folder_of_images_is_no_second_one(tmp_path, alias):
    published.coco(tmp_path / "coco", "train2017", {n: [f"{n}"] for n in range(5)})
    images = tmp_path / "coco/train2017"
    if alias == "folder":
        (tmp_path / "coco/images").symlink_to("train2017")
    else:
        (tmp_path / "coco/images").mkdir()
        for path in images.iterdir():
            (tmp_path / "coco/images" / path.name).symlink_to(path)
    assert len(read(tmp_path / "coco/annotations/captions_train2017.json", "train", tmp_path)) == 5


def test_suffixes_in_capitals_and_quoted_names_of_columns(tmp_path):
    published.coco(tmp_path / "coco", "train2017", {n: [f"{n}"] for n in range(3)})
    annotations = tmp_path / "coco/annotations/captions_train2017.json"
    assert len(read(annotations.rename(annotations.with_suffix(".JSON")), "train", tmp_path)) == 3
    published.flickr8k_captions(tmp_path / "flickr", {"1.jpg": ["a", "b"]})
    captions = tmp_path / "flickr/captions.txt"
    captions.write_text(captions.read_text().replace("image,caption", '"image","caption"'))
    assert read(captions.rename(captions.with_name("captions.TXT")), "train", tmp_path) == ["a", "b"]


def test_shards_of_one_split_alone_that_several_name_are_shared_out(tmp_path):
    """Each image is of one split: none that is judged is trained on."""
    folder, among = tmp_path / "wds", ("train", "validation")
    tar_of(folder / "train-0.tar", [f"caption {n}" for n in range(40)])
    train, validation = (read(folder, name, tmp_path, among=among) for name in among)
    assert sorted(train + validation) == sorted(f"caption {n}" for n in range(40))
    assert 0 < len(validation) < len(train)
    assert count_pairs(folder, among) == 40 * 16 // 17
