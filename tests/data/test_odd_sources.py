"""What data have beside what their form says: damaged middles, two spellings of a path, hidden files, files of other splits."""

import json
import logging
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from roclip.core.errors import UserError
from roclip.core.files import write_table
from roclip.data.image_bounds import BadImage
from roclip.data.image_paths import Roots
from roclip.data.images import decode_bytes
from roclip.data.pairs import count_pairs, read_pairs
from roclip.data.sources import Split, read_split, share, sharing
from roclip.data.take_over import splits_of, take_over
from roclip.data.url_list import SPLITS
from tests.fixtures import published
from tests.fixtures.pictures import stored
from tests.fixtures.published import image
from tests.fixtures.shards import jpeg, write_tar
from tests.fixtures.webserver import picture

FOUR = [file for n in range(4) for file in ((f"{n}.jpg", jpeg(n)), (f"{n}.txt", b"caption"))]


def flipped(content: bytes) -> bytes:
    place = content.index(b"2.txt") + 148  # in the sum of the header
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def zeroed(content: bytes) -> bytes:
    place = content.index(b"2.txt")
    return content[:place] + bytes(512) + content[place + 512 :]


@pytest.mark.parametrize(
    "damage", [flipped, zeroed, lambda content: content + content, lambda content: content + b"x" + bytes(1024)]
)
def test_a_tar_that_goes_on_behind_what_is_no_header_is_not_whole(tmp_path, damage):
    write_tar(tmp_path / "00000.tar", FOUR)
    assert len(read_pairs(tmp_path)["path"]) == 4
    whole = (tmp_path / "00000.tar").read_bytes()
    (tmp_path / "00000.tar").write_bytes(damage(whole))
    with pytest.raises(UserError, match=r"00000\.tar: not a whole shard \(neither a header nor the end at byte \d+\)"):
        read_pairs(tmp_path)


def test_a_caption_of_a_tar_that_is_not_utf_8_is_named(tmp_path):
    write_tar(tmp_path / "00000.tar", [("a.jpg", jpeg(1)), ("a.txt", "café".encode("latin-1"))])
    with pytest.raises(UserError, match=r"00000\.tar: its a\.txt is not UTF-8; take it out, or save it as UTF-8$"):
        read_pairs(tmp_path)


def test_a_compressed_tar_is_called_so(tmp_path):
    write_tar(tmp_path / "00000.tar", FOUR)
    subprocess.run(["gzip", "-k", tmp_path / "00000.tar"], check=True)
    (tmp_path / "00000.tar.gz").rename(tmp_path / "00000.tar")
    with pytest.raises(UserError, match=r"00000\.tar: is compressed \(gzip\); unpack it$"):
        read_pairs(tmp_path)


def test_splits_share_a_source_however_they_spell_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").touch()
    (tmp_path / "link.csv").symlink_to("a.csv")
    tables = {"validation": "./a.csv", "train": str(tmp_path / "a.csv"), "probe": "b.csv", "test": "link.csv"}
    assert sharing(tables, "test") == sharing(tables, "train") == ("train", "validation", "test")
    assert sharing(tables, "probe") == ("probe",)
    assert [split.among for split in splits_of(tables, tmp_path, None, None)] == [
        ("train", "validation", "test"), ("train", "validation", "test"), ("probe",), ("train", "validation", "test"),
    ]  # fmt: skip


def test_an_image_is_of_one_split_however_its_rows_spell_it():
    rows = [(spelling.format(n), str(n)) for n in range(60) for spelling in ("im/{}.jpg", "im/./{}.jpg", "x/../im/{}.jpg")]
    of = [{text for _, text in share(iter(rows), split, SPLITS)} for split in SPLITS]
    assert sum(map(len, of)) == 60


def test_an_image_is_of_one_split_in_whatever_order_the_pairs_and_the_labels_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [(f"{tmp_path}/im/{n}.jpg", str(n)) for n in range(60)]
    orders = rows, rows[::-1], [(f"im/{n}.jpg", text) for n, (_, text) in enumerate(rows)]
    of = [[sorted(text for _, text in share(iter(its), split, SPLITS, tmp_path)) for split in SPLITS] for its in orders]
    assert of[0] == of[1] == of[2]
    assert 40 < len(of[0][0]) < 60


def test_an_image_that_is_in_a_tar_once_for_each_caption_is_of_one_split(tmp_path):
    pictures = [picture(n % 12, "jpeg", (32, 32 + n // 12)) for n in range(40)]
    names = [(n, f"{n}-{i}") for n in range(40) for i in range(5)]
    files = [file for n, name in names for file in ((f"{name}.jpg", pictures[n]), (f"{name}.txt", f"{n}".encode()))]
    (tmp_path / "t").mkdir()
    write_tar(tmp_path / "t/00000.tar", files)
    of = [
        {text for _, text in read_split(Split(split, tmp_path / "t", tmp_path / "store", among=SPLITS[:2]))}
        for split in SPLITS[:2]
    ]
    assert sum(map(len, of)) == 40
    assert of[1]


def two_parquets(folder, *names):
    for name in names:
        published.hugging_face(folder / name, {"caption": [name]}, [image(1)])
    return folder


@pytest.mark.parametrize(
    ("names", "split", "found"),
    [
        (("train.parquet", "test.parquet"), "train", ["train.parquet"]),
        (("train_0.parquet", "train_1.parquet", "test_0.parquet"), "train", ["train_0.parquet", "train_1.parquet"]),
        (("Train-0.parquet", "val-0.parquet"), "validation", ["val-0.parquet"]),
        (("coco-train.parquet", "coco-dev.parquet"), "validation", ["coco-dev.parquet"]),
        (("a.parquet", "b.parquet"), "validation", ["a.parquet", "b.parquet"]),
    ],
)
def test_parquet_files_are_of_the_split_that_they_are_called_after(tmp_path, names, split, found):
    source = two_parquets(tmp_path / "p", *names, "._a.parquet")
    assert sorted(text for _, text in read_split(Split(split, source, tmp_path / "store"))) == found


def test_parquet_files_of_other_splits_alone_are_one_line(tmp_path):
    source = two_parquets(tmp_path / "p", "train_0.parquet", "Test_0.parquet")
    with pytest.raises(
        UserError, match=r"p: no file is called after the split 'validation', .* such as Test_0\.parquet and train_0"
    ):
        list(read_split(Split("validation", source, tmp_path / "store")))


def test_an_image_with_two_labels_is_one_line(tmp_path):
    kind = pa.list_(pa.string())
    source = published.hugging_face(
        tmp_path / "a.parquet", {"label": pa.array([["cat"], ["cat", "dog"]], kind)}, [image(0), image(1)]
    )
    with pytest.raises(UserError, match=r"a\.parquet, row 2: 2 labels; an image of an evaluation set has one$"):
        list(read_split(Split("test", source, tmp_path / "store")))


def test_rows_of_a_parquet_without_an_image_are_listed(tmp_path):
    source = published.hugging_face(tmp_path / "a.parquet", {"caption": ["a", None, "c"]}, [image(0), image(1), image(2)])
    split = Split("train", source, tmp_path / "store")
    assert [text for _, text in read_split(split)] == ["a", "c"]
    assert split.left_out == [(source, 2, "", "without a caption")]


@pytest.mark.parametrize(
    "captions",
    [
        pa.array(["a" * 60_000_000], pa.large_string()),
        pa.array([["ab"] * 2_000_000], pa.list_(pa.string())),
        pa.array([{"raw": "a" * 2_000_000}], pa.struct({"raw": pa.string()})),
    ],
)
def test_captions_of_a_parquet_are_bounded(tmp_path, captions):
    """In a process of its own, with a bound of memory."""
    table = pa.table({"image": pa.array([image(0)], pa.binary()), "caption": captions})
    parquet.write_table(table, tmp_path / "a.parquet", compression="zstd")
    code = (
        "import re, sys; from pathlib import Path; from roclip.core.errors import UserError\n"
        "from roclip.data import parquet_images\n"
        "try: list(parquet_images._rows(Path(sys.argv[1]), 'caption', []))\n"
        "except UserError as error: print(error)\n"
        "print(re.search(r'VmHWM: *(\\d+) kB', Path('/proc/self/status').read_text().replace('\\t', ' '))[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.parquet"], capture_output=True, text=True, check=True)
    said, kilobytes = done.stdout.splitlines()
    assert "a.parquet" in said
    assert int(kilobytes) < 400_000


def test_hidden_and_linked_files_of_class_folders(tmp_path, caplog):
    source = published.class_folders(tmp_path / "pets", {"cat": 2, "guinea_pig": 1, "dog": 0})
    (source / "dog").mkdir(exist_ok=True)
    for name in ("cat/._0.jpg", "cat/.ipynb_checkpoints/0.jpg", "other/0.jpg", "loose.jpg"):
        path = source / name if name != "other/0.jpg" else tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(image(9))
    (source / "cat/more").symlink_to(tmp_path / "other")
    split = Split("test", source, tmp_path / "store", classes=("cat", "dog", "guinea_pig"))
    with caplog.at_level(logging.WARNING):
        assert [text for _, text in read_split(split)] == ["cat", "cat", "guinea_pig"], "as the class is written"
    assert sorted((path.rpartition("/")[2], reason) for _, _, path, reason in split.left_out) == [
        ("loose.jpg", "an image in no class folder"), ("more", "a link to a folder"),
    ]  # fmt: skip
    assert "no images in 1 folder, first dog" in caplog.text


def test_class_folders_one_level_too_high_are_one_line(tmp_path, caplog):
    published.class_folders(tmp_path / "f/train", {"cat": 1, "dog": 1})
    published.class_folders(tmp_path / "f/val", {"cat": 1, "dog": 1})
    made = {"store": tmp_path / "store", "templates": ("a {}",), "classes": ("cat", "dog")}
    with pytest.raises(UserError, match=r"f: its folder train is no class of data\.classes, .* such as .*/f/train$"):
        list(read_split(Split("train", tmp_path / "f", **made)))
    assert len(list(read_split(Split("train", tmp_path / "f/train", **made)))) == 2
    with caplog.at_level(logging.WARNING):
        list(read_split(Split("train", tmp_path / "f/train", **made | {"classes": ("cat", "horse")})))
    assert "1 folder called after no class of data.classes, such as dog" in caplog.text


@pytest.mark.parametrize("behind", ['[{"id": 1}]', "junk", "]]"])
def test_what_stands_behind_the_first_json_is_one_line(tmp_path, behind):
    source = published.visual_genome(tmp_path, {1: ["a clock"]})
    source.write_text(source.read_text() + "\n" + behind)
    with pytest.raises(UserError, match=r"not JSON that can be read: expected the end, found "):
        list(read_split(Split("train", source, tmp_path / "store")))


def taken(tmp_path, source, **how):
    return take_over(Split("train", source, tmp_path / "store", **how), tmp_path / "out.csv", Roots([str(tmp_path)]), 0.1)


def test_images_that_are_not_there_are_said_before_the_run(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    there = [{"path": f"{tmp_path}/a.jpg", "caption": "a"}] * 9
    gone = [{"path": f"{tmp_path}/{n}.jpg", "caption": "a"} for n in range(9)]
    write_table(tmp_path / "t.csv", ("path", "caption"), there + gone[:1])
    assert taken(tmp_path, tmp_path / "t.csv") == []
    write_table(tmp_path / "t.csv", ("path", "caption"), there + gone)
    (tmp_path / "out.csv").unlink()
    with pytest.raises(UserError, match=r"9 of 18 images that were looked for are not there, first in row 10 \(.*/0\.jpg\)"):
        taken(tmp_path, tmp_path / "t.csv")
    assert not (tmp_path / "out.csv").exists()


def test_a_caption_that_no_table_can_hold_is_named(tmp_path):
    source = published.visual_genome(tmp_path, {1: ["a" * (1 << 20)]})
    with pytest.raises(UserError, match=r"row 1: its caption has 1048576 characters or more; mend it$"):
        taken(tmp_path, source)


def test_a_quote_that_is_never_closed_is_warned_of(tmp_path, caplog):
    text = 'path,caption\n0.jpg,"Keep calm\n1.jpg,one\n2.jpg,two\n3.jpg,and carry on"\n4.jpg,"two\nlines, with a comma\nhere"\n'
    (tmp_path / "t.csv").write_text(text)
    assert len(read_pairs(tmp_path / "t.csv")["path"]) == 2
    assert caplog.text.count("a cell in quotation marks holds lines that look like rows; is a quote not closed?") == 1
    assert "t.csv, line 2: " in caplog.text


@pytest.mark.parametrize("name", ["labels.csv", "labels.txt"])
def test_labels_separated_by_tabs_are_read_whatever_the_suffix(tmp_path, name):
    (tmp_path / name).write_text("path\tlabel\na, b.jpg\tcat\n")
    assert list(read_split(Split("test", tmp_path / name, tmp_path / "store"))) == [("a, b.jpg", "cat")]


def test_a_wrong_label_has_its_row_where_splits_share_the_table(tmp_path):
    rows = [{"path": f"{n}.jpg", "label": "cat" if n != 77 else "Cat"} for n in range(90)]
    write_table(tmp_path / "l.csv", ("path", "label"), rows)
    (tmp_path / "classes.txt").write_text("cat\n")
    split = Split("test", tmp_path / "l.csv", tmp_path, classes_file=tmp_path / "classes.txt", among=("test", "probe"))
    with pytest.raises(UserError, match=r"l\.csv, row 78: the label 'Cat' is not in "):
        list(read_split(split))


def test_a_side_of_more_than_a_million_pixels_is_refused():
    with pytest.raises(BadImage, match=r"1100000 x 1 pixels, one side of more than 1048576"):
        decode_bytes(stored(Image.new("L", (1_100_000, 1)), "PNG"), 32)


def test_numbers_of_images_that_others_noted_are_not_taken_for_none(tmp_path):
    write_tar(tmp_path / "00000.tar", FOUR)
    (tmp_path / "00000_stats.json").write_text(json.dumps({"count": 120}))
    assert count_pairs(tmp_path) == 4
