"""Downstream sets with one odd row, file or name in them: refused in one line, and never read in another way without a word."""

import json
import os
import shutil
import struct
import tracemalloc
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from roclip.core.errors import UserError
from roclip.core.files import read_table
from roclip.data.downstream import DownstreamOptions, run
from roclip.data.downstream_sets import CLASSES, FOLDERS
from roclip.data.mat_bounds import check_mat
from tests.fixtures.downstream_sets import MINIATURES


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Makes the miniature of a set, has a function change it, and runs the stage; the folder that the stage wrote."""

    def make(name: str, change, bad: float = 0.4) -> Path:
        MINIATURES[name](tmp_path, monkeypatch)
        change(tmp_path / FOLDERS[name])
        run(DownstreamOptions(root=tmp_path, set=name, out=tmp_path / "out", max_bad_fraction=bad))
        return tmp_path / "out"

    return make


def appended(path: str, text: str):
    def change(folder: Path) -> None:
        with open(folder / path, "a") as file:
            file.write(text)

    return change


@pytest.mark.parametrize(("name", "path"), [("pets", "annotations/test.txt"), ("dtd", "dtd/labels/test1.txt")])
def test_a_byte_order_mark_is_no_part_of_a_name(made, name, path):
    def change(folder: Path) -> None:
        (folder / path).write_bytes(b"\xef\xbb\xbf" + (folder / path).read_bytes())

    with pytest.raises(UserError, match=r"\.txt: begins with a byte-order mark, .*; save it without"):
        made(name, change)


@pytest.mark.parametrize(
    ("row", "said"), [("Persian_1 1 1 1", "class number 1 is of 2 names"), ("Abyssinian_9 7 1 1", "has 2")]
)
def test_a_pet_of_two_numbers_moves_no_other(made, row, said):
    with pytest.raises(UserError, match=rf"oxford-iiit-pet: not pets as expected \(.*{said}"):
        made("pets", appended("annotations/trainval.txt", f"{row}\n"))


def test_a_list_that_no_set_has_is_refused_before_it_is_read(made):
    def change(folder: Path) -> None:
        (folder / "meta/train.json").write_text(json.dumps({"apple_pie": [""] * 800_000}))

    with pytest.raises(UserError, match=r"meta/train\.json: a list of more than 3 MB, longer than any set has; unpack"):
        made("food101", change)


def test_a_class_number_is_a_whole_number(made):
    def change(folder: Path) -> None:
        path = folder / "cars_test_annos_withlabels.mat"
        content = loadmat(path)
        content["annotations"] = content["annotations"].copy()
        content["annotations"]["class"].flat[0] = 1.9
        savemat(path, {"annotations": content["annotations"]})

    with pytest.raises(UserError, match=r"not cars as expected \(the class number of .* is 0\.89"):
        made("cars", change)


def test_what_the_probe_is_trained_on_is_not_in_the_test(made):
    with pytest.raises(UserError, match="is among the images for the probe and for the test; take it out of one list"):
        made("food101", lambda folder: shutil.copy(folder / "meta/train.json", folder / "meta/test.json"))


def test_an_image_has_one_class(made):
    def change(folder: Path) -> None:
        table = folder / "validation/labels.csv"
        image = read_table(table, ("image", "label"))[0]
        appended("validation/labels.csv", f"./{image['image']},{int(image['label']) + 5}\n")(folder)

    with pytest.raises(UserError, match=r"imagenet1k: .* is labelled '.*' and '.*'; an image has one class"):
        made("imagenet1k", change)


def test_an_apostrophe_is_part_of_an_image_s_name(made):
    """The list is the user's: no stage put one before a name that a spreadsheet would run."""

    def change(folder: Path) -> None:
        shutil.copy(folder / "validation/images/0.jpeg", folder / "validation/'-0.jpeg")
        appended("validation/labels.csv", "'-0.jpeg,1\n")(folder)

    out = made("imagenet1k", change, bad=0.0)
    assert read_table(out / "test.csv", ("path", "label"))[-1]["path"].endswith("/validation/'-0.jpeg")


def tagged(kind: int, data: bytes) -> bytes:
    """An element of a level 5 MATLAB file."""
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def cell(rows: int, inside: bytes) -> bytes:
    """A column of cells."""
    return tagged(14, tagged(6, struct.pack("<II", 1, 0)) + tagged(5, struct.pack("<II", rows, 1)) + tagged(1, b"x") + inside)


def nested(depth: int) -> bytes:
    """Cells in cells, made from the inside without copying each."""
    level = len(cell(1, b""))
    heads = [cell(1, b"")[8:]] * depth
    sizes = [level - 8 + level * inner for inner in range(depth)]
    return b"".join(struct.pack("<II", 14, size) + head for size, head in zip(reversed(sizes), heads, strict=True))


@cache  # it takes a second, which the collection of tests need not wait for
def packed_bomb() -> bytes:
    packed = zlib.compress(bytes(200 * 2**20))
    return struct.pack("<II", 15, len(packed)) + packed


@pytest.mark.parametrize(
    ("elements", "said"),
    [
        (lambda: nested(21), "nested more than 20 deep"),
        (lambda: nested(200_000), "nested more than 20 deep"),
        (lambda: cell(2**30, b""), r"a matrix of 1073741824 x 1 in \d+ bytes"),
        (packed_bomb, "unpacks to more than 64 MB"),
        (lambda: struct.pack("<II", 14, 5000), "names 5000 bytes that are not there"),
        (lambda: struct.pack("<II", 15, 8) + bytes(8), "is damaged"),
    ],
    ids=["nested", "nested far", "large", "bomb", "cut off", "damaged"],
)
def test_a_matlab_file_has_bounds(made, elements, said):
    def change(folder: Path) -> None:
        (folder / "devkit/cars_meta.mat").write_bytes(b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + elements())

    with pytest.raises(UserError, match=rf"devkit/cars_meta\.mat: .*{said}"):
        made("cars", change)


def test_what_unpacks_to_more_is_not_unpacked(tmp_path):
    (tmp_path / "bomb.mat").write_bytes(b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + packed_bomb())
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="unpacks to more than 64 MB"):
            check_mat(tmp_path / "bomb.mat")
        assert tracemalloc.get_traced_memory()[1] < 150 * 2**20
    finally:
        tracemalloc.stop()


def test_a_matlab_file_of_the_depth_of_real_ones_is_read(made, tmp_path):
    def change(folder: Path) -> None:
        path = folder / "devkit/cars_meta.mat"
        names = loadmat(path)["class_names"]
        deep = np.array([[1]])
        for _ in range(18):
            around = np.empty((1, 1), dtype=object)
            around[0, 0], deep = deep, around
        savemat(path, {"class_names": names, "more": deep}, do_compression=True)

    assert (made("cars", change) / "test.csv").exists()


@pytest.mark.parametrize(
    ("name", "path"), [("dtd", "dtd/labels/test1.txt"), ("food101", "meta/test.json"), ("cars", "devkit/cars_meta.mat")]
)
def test_a_list_that_is_a_pipe_is_one_line(made, name, path):
    def change(folder: Path) -> None:
        (folder / path).unlink()
        os.mkfifo(folder / path)

    with pytest.raises(UserError, match="is a pipe or device, no file; take it out"):
        made(name, change)


def test_a_name_that_no_file_has_is_missing(made):
    with pytest.raises(UserError, match=r"1 of \d images for the test are not there, first .*xxx"):
        made("dtd", appended("dtd/labels/test1.txt", f"banded/{'x' * 300}.jpg\n"), bad=0)


@pytest.mark.parametrize("name", ["\ud800", "two\nlines", " blank", ""])
def test_a_class_that_no_list_of_names_can_hold_is_one_line(made, tmp_path, name):
    def change(folder: Path) -> None:
        for split in ("train", "test"):
            path = folder / f"meta/{split}.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), name: []}))

    with pytest.raises(UserError, match=r"food-101: the name of class \d, .*, is empty or no plain line; rename it"):
        made("food101", change)
    assert not list(tmp_path.glob("out/*.csv"))


def test_the_folder_of_images_may_be_a_link(made, tmp_path):
    def change(folder: Path) -> None:
        (folder / "images").rename(tmp_path / "disk")
        (folder / "images").symlink_to(tmp_path / "disk")

    assert (made("food101", change) / "test.csv").exists()


@pytest.mark.parametrize(("classes", "warned"), [(2, False), (3, True)])
def test_a_set_that_lacks_a_class_is_named(made, monkeypatch, caplog, classes, warned):
    monkeypatch.setitem(CLASSES, "food101", classes)
    made("food101", lambda folder: None)
    assert (f"food101: the published set has {classes} classes; accuracies are not comparable" in caplog.text) == warned
