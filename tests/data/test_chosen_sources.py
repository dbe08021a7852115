"""Which folder, which files and which rows are taken where several could be meant, and what is said of it."""

import json
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from roclip.core.errors import UserError
from roclip.core.files import sha256
from roclip.core.provenance import write_record
from roclip.data.image_paths import Roots
from roclip.data.pairs import read_pairs
from roclip.data.samples import shards_of
from roclip.data.sources import Split, count_pairs, read_split
from roclip.data.take_over import take_over
from tests.fixtures import published
from tests.fixtures.published import flickr_images, image, put


def parquets(folder: Path, *names: str) -> Path:
    """A folder of parquet files, each with a pair whose caption is its name."""
    for name in names:
        published.hugging_face(folder / name, {"caption": [name]}, [image(1)])
    return folder


def test_images_lie_in_the_folder_that_has_most_of_them_and_not_in_a_hidden_one(tmp_path):
    names = [f"{number}.jpg" for number in range(6)]
    for folder, count in ((".thumbs", 6), ("Blurred", 2), ("Images", 6)):
        flickr_images(tmp_path / "set" / folder, names[:count])
    source = put(tmp_path / "set/captions.txt", ("image,caption\n" + "".join(f"{name},c\n" for name in names)).encode())

    def read():
        return [Path(path) for path, _ in read_split(Split("train", source, tmp_path / "store"))]

    assert read() == [tmp_path / "set/Images" / name for name in names]
    flickr_images(tmp_path / "copy", names)  # farther away
    assert read() == [tmp_path / "set/Images" / name for name in names]
    flickr_images(tmp_path / "set/Blurred", names)
    with pytest.raises(UserError, match=r"captions\.txt: its images lie in .*Blurred and in .*Images too; move one"):
        read()


def test_an_image_under_two_spellings_keeps_all_of_its_captions(tmp_path):
    flickr_images(tmp_path / "Images", ["a.jpg"])
    source = put(tmp_path / "captions.txt", b"image,caption\na.jpg,x\n./a.jpg,y\n")
    assert [text for _, text in read_split(Split("train", source, tmp_path / "store"))] == ["x", "y"]


@pytest.mark.parametrize(
    ("names", "split", "found"),
    [
        (("coco_train2014.parquet", "coco_val2014.parquet"), "train", ["coco_train2014.parquet"]),
        (("dev-set_test.parquet", "dev-set_train.parquet"), "train", ["dev-set_train.parquet"]),
        (("eval-0.parquet", "train-0.parquet"), "validation", ["eval-0.parquet"]),
        (("testing-0.parquet", "training-0.parquet"), "train", ["training-0.parquet"]),
    ],
)
def test_parquet_files_are_of_the_last_split_in_their_names(tmp_path, names, split, found):
    source = parquets(tmp_path / "p", *names)
    assert [said for _, said in read_split(Split(split, source, tmp_path / "store"))] == found


def test_a_parquet_file_without_rows_is_passed_over(tmp_path):
    source = parquets(tmp_path / "p", "train-0.parquet")
    table = parquet.read_table(source / "train-0.parquet")
    parquet.write_table(table.slice(0, 0), source / "train-1.parquet")
    assert [text for _, text in read_split(Split("train", source, tmp_path / "store"))] == ["train-0.parquet"]


@pytest.mark.parametrize("delimiter", [",", "\t"])
@pytest.mark.parametrize("place", [0, 1])
def test_rows_within_a_quote_are_warned_of_wherever_it_stands(tmp_path, caplog, delimiter, place):
    cells = [["a.jpg", '"Hello', "web"], ["b.jpg", "x", "web"], ["c.jpg", 'said he"', "web"], ["d.jpg", "z", "web"]]
    header = ["path", "caption", "source"]
    order = [0, 1, 2] if place else [1, 0, 2]
    lines = [delimiter.join(row[number] for number in order) for row in (header, *cells)]
    source = put(tmp_path / "train.csv", ("\n".join(lines) + "\n").encode())
    assert len(list(read_split(Split("train", source, tmp_path / "store")))) == 2
    assert "is a quote not closed?" in caplog.text


def test_hidden_folders_and_tars_are_no_shards(tmp_path):
    for name in ("00000", "00001", ".trash"):
        (tmp_path / name).mkdir()
    assert [path.name for path in shards_of(tmp_path)] == ["00000", "00001"]
    for name in ("00000.tar", "._00000.tar", ".x.tar"):
        (tmp_path / name).touch()
    assert [path.name for path in shards_of(tmp_path)] == ["00000.tar"]


def shard(folder: Path, name: str) -> Path:
    put(folder / name / "0.jpg", image(1)), put(folder / name / "0.txt", b"a caption")
    return folder / name


def test_a_link_to_a_shard_that_is_read_too_is_left_out(tmp_path):
    """A pair would count twice. A link to a shard elsewhere is a shard."""
    folder = shard(tmp_path / "shards", "00001").parent
    (folder / "00000").symlink_to("00001")
    (folder / "00002").symlink_to(shard(tmp_path / "elsewhere", "00000"))
    left_out = []
    pairs = read_pairs(folder, left_out=left_out)
    assert [Path(path).parent.name for path in pairs["path"]] == ["00001", "00002"]
    assert left_out == [(folder, 1, "00000", "a link to a shard that is read")]


def test_a_folder_of_shards_has_no_labels(tmp_path):
    put(tmp_path / "shards/00000.tar", bytes(10240))
    with pytest.raises(UserError, match="shards: no class folders in it; labelled images are in such folders, a table"):
        list(read_split(Split("test", tmp_path / "shards", tmp_path / "store")))


@pytest.mark.parametrize(("split", "column"), [("train", "caption"), ("test", "label")])
def test_apostrophes_of_a_table_stay_but_where_a_stage_wrote_it(tmp_path, split, column):
    """A stage puts one before what a spreadsheet would run as a formula; anybody else may have meant it."""
    rows = [("a.jpg", "'=b"), ("b.jpg", "'tis")]
    table = put(tmp_path / "t.csv", f"path,{column}\na.jpg,'=b\nb.jpg,'tis\n".encode())
    assert list(read_split(Split(split, table, tmp_path / "store"))) == rows
    take_over(Split(split, table, tmp_path / "store"), tmp_path / f"data/{split}.csv", Roots(["."]), 1)
    record = {"stage": "download", "commit": "", "versions": {}, "options": {}, "inputs": {}}
    taken = tmp_path / f"data/{split}.csv"
    write_record(tmp_path / "data/download.record.json", record | {"outputs": {taken.name: sha256(taken)}})
    assert "''=b" in taken.read_text()
    assert list(read_split(Split(split, taken, tmp_path / "store"))) == rows


def test_the_folder_of_a_captioned_set_is_no_folder_of_classes(tmp_path):
    """Its captions would be thrown away: 'a photo of a Images.' in their place."""
    published.flickr8k_captions(tmp_path / "flickr8k", {"a.jpg": ["one"], "b.jpg": ["two"]})
    split = Split("train", tmp_path / "flickr8k", tmp_path / "store", ("a photo of a {}.",), ("cat", "dog"))
    with pytest.raises(UserError, match=r"none of its folders, such as Images, is called after a class .*name the list"):
        list(read_split(split))
    with pytest.raises(UserError, match="captions of class folders are made of prompt templates; name a file of them"):
        list(read_split(Split("train", tmp_path / "flickr8k", tmp_path / "store")))


@pytest.mark.parametrize("source", ["/", ".", "..", "link", "HOME"])
def test_a_folder_that_holds_the_project_or_a_home_is_no_data_set(tmp_path, monkeypatch, source):
    """A look at all of a disk would take hours."""
    (tmp_path / "work/project/cat").mkdir(parents=True)
    (tmp_path / "home/anna/cat").mkdir(parents=True)
    (tmp_path / "work/project/link").symlink_to(tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work/project")
    monkeypatch.setenv("HOME", str(tmp_path / "home/anna"))
    place = Path(source if source != "HOME" else tmp_path / "home")
    with pytest.raises(UserError, match=r"^data\.tables: .* is no folder of a data set, for .* lies there; name the one in"):
        count_pairs(place)
    with pytest.raises(UserError, match=r"^data\.tables: "):
        next(read_split(Split("test", place, tmp_path / "store")))


@pytest.mark.parametrize("source", ["work/project/set", "home/anna/set", "work/pro"])
def test_a_data_set_may_lie_in_the_project_or_a_home_or_beside_it(tmp_path, monkeypatch, source):
    (tmp_path / "work/project").mkdir(parents=True)
    put(tmp_path / source / "cat/1.jpg", image(1))
    monkeypatch.chdir(tmp_path / "work/project")
    monkeypatch.setenv("HOME", str(tmp_path / "home/anna"))
    assert count_pairs(tmp_path / source) == 1


def test_a_folder_with_other_images_of_the_same_names_is_refused(tmp_path):
    """The list is of the images in test/, of which one is missing; train/ has others that are called alike."""
    flickr_images(tmp_path / "train", [f"{number}.jpg" for number in range(30)])
    flickr_images(tmp_path / "test", [f"{number}.jpg" for number in range(1, 10)])
    text = "image,caption\n" + "".join(f"{number}.jpg,caption {number}\n" for number in range(10))
    source = put(tmp_path / "captions.txt", text.encode())
    with pytest.raises(UserError, match=r"its images lie in .*train.* and in .*test.* too; move one of both elsewhere"):
        list(read_split(Split("train", source, tmp_path / "store")))


def test_what_lies_beside_parquet_files_is_listed_and_missing_files_are_warned_of(tmp_path, caplog):
    source = parquets(tmp_path / "p", "train-00000-of-00003.parquet", "train-1.PARQUET", "part-1.parquet", "val-0.parquet")
    (source / "data").mkdir()
    put(source / "00000.tar", b"")
    split = Split("train", source, tmp_path / "store")
    assert [text for _, text in read_split(split)] == ["train-00000-of-00003.parquet", "train-1.PARQUET"]
    assert {name for _, _, name, _ in split.left_out} == {"00000.tar", "data", "part-1.parquet"}
    assert "1 of the 3 files train... are there; is the download whole?" in caplog.text


def test_one_number_in_both_folders_of_visual_genome_is_refused(tmp_path):
    published.visual_genome(tmp_path, {1: ["one"], 2: ["two"]})
    put(tmp_path / "VG_100K/1.jpg", image(9)), put(tmp_path / "VG_100K_2/1.jpg", image(1))
    with pytest.raises(UserError, match=r"VG_100K/1\.jpg and .*VG_100K_2/1\.jpg are two images of one number"):
        list(read_split(Split("train", tmp_path / "region_descriptions.json", tmp_path / "store")))


def test_two_spellings_of_a_file_in_coco_are_one_image(tmp_path):
    published.coco(tmp_path, "train2014", {1: ["one"]}, {1: ["pizza"]})
    listed = tmp_path / "annotations/captions_train2014.json"
    found = json.loads(listed.read_text())
    found["images"].append({"id": 2, "file_name": f"./{found['images'][0]['file_name']}"})
    found["annotations"].append({"id": 9, "image_id": 2, "caption": "two"})
    listed.write_text(json.dumps(found))
    pairs = list(read_split(Split("train", listed, tmp_path / "store")))
    assert [text for _, text in pairs] == ["one", "two"]
    assert len({path for path, _ in pairs}) == 1


def test_an_evaluation_image_has_one_label(tmp_path):
    classes = put(tmp_path / "classes.txt", b"cat\ndog\n")
    table = put(tmp_path / "t.csv", b"path,label\na.jpg,cat\nb.jpg,dog\na.jpg,cat\na.jpg,dog\n")
    split = Split("test", table, tmp_path / "store", classes=("cat", "dog"), classes_file=classes)
    with pytest.raises(UserError, match=r"t\.csv, row 4: a\.jpg is labelled 'dog', and 'cat' in row 1; keep one"):
        list(read_split(split))


def test_labels_in_parquet_stay_to_the_letter(tmp_path):
    classes = put(tmp_path / "classes.txt", b"dog\n")
    published.hugging_face(tmp_path / "t.parquet", {"label": ["dog "]}, [image(1)])
    split = Split("test", tmp_path / "t.parquet", tmp_path / "store", classes=("dog",), classes_file=classes)
    with pytest.raises(UserError, match="row 1: the label 'dog ' is not in"):
        list(read_split(split))


def test_an_empty_path_is_named_as_such(tmp_path):
    table = put(tmp_path / "t.csv", b"path,caption\na.jpg,one\n,two\n")
    with pytest.raises(UserError, match=r"t\.csv, row 2: its path is empty; take the row out"):
        take_over(Split("train", table, tmp_path / "store"), tmp_path / "train.csv", Roots(["."]), 1)
