"""A split on this disk: what lies outside data.roots is said at once, what shards hold beyond pairs is listed."""

import json
import os
from pathlib import Path

import pytest

from roclip.core.columns import QUARANTINE
from roclip.core.errors import UserError
from roclip.core.files import read_table, write_table
from roclip.data import download
from roclip.data.download import DownloadOptions
from roclip.data.image_paths import Roots
from roclip.data.sources import Split
from roclip.data.take_over import take_over
from roclip.data.url_list import SPLITS, TEXT
from tests.fixtures import published
from tests.fixtures.downloads import settings
from tests.fixtures.shards import jpeg, write_tar


def table(folder, paths: list[str], text: str = "caption"):
    write_table(folder / "t.csv", ("path", text), [{"path": path, text: "c"} for path in paths])
    return folder / "t.csv"


def take(source, split, out, roots, max_bad_fraction):
    return take_over(Split(split, source, out.parent / "taken"), out, roots, max_bad_fraction)


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Folders `inside`, which is the root, and `outside`; the former is where the stage runs."""
    for name in ("inside", "outside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_bytes(jpeg(1))
    monkeypatch.chdir(tmp_path / "inside")
    return tmp_path


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("path", ["{}/outside/a.jpg", "../outside/a.jpg", "link.jpg", "/etc/passwd"])
def test_images_outside_the_roots_are_named_when_the_table_is_taken_over(places, split, path):
    (places / "inside/link.jpg").symlink_to(places / "outside/a.jpg")
    path = path.format(places)
    source, out = table(places, ["a.jpg", path], TEXT[split]), places / "out.csv"
    with pytest.raises(UserError, match=r"t\.csv: 1 of 2 images lie outside data\.roots \(\.\), first in row 2") as caught:
        take(source, split, out, Roots(["."]), 0.4)
    assert f"({path}); add their folder, such as {Path(path).resolve().parent}, to data.roots" in str(caught.value)
    assert not out.exists()
    assert take(source, split, out, Roots(["."]), 0.5) == []  # the share that every stage allows
    assert take(source, split, out, Roots(["/"]), 0) == []


def coco(folder, file_name="a.jpg", caption="a cat"):
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": file_name}]
    said = [{"image_id": n, "caption": caption} for n in (1, 2)]
    (folder / "a.json").write_text(json.dumps({"images": images, "annotations": said}))
    return folder / "a.json"


def genome(folder):
    (folder / "VG_100K").mkdir()
    (folder / "VG_100K/1.jpg").write_bytes(jpeg(1))
    (folder / "a.json").write_text(json.dumps([{"id": 1, "regions": [{"phrase": "a \ud800"}]}]))
    return folder / "a.json"


def folders(folder, name):
    for path in (b"classes/cat/a.jpg", b"classes/" + name):
        place = os.fsdecode(os.fsencode(folder) + b"/" + path)
        os.makedirs(os.path.dirname(place), exist_ok=True)  # noqa: PTH103, PTH120 (bytes)
        Path(place).write_bytes(jpeg(1))
    return folder / "classes"


NOT_UTF_8 = {
    "a caption": (lambda f: coco(f, caption="a cat \ud83d"), r"row 1: its caption 'a cat \\ud83d' is not UTF-8; mend it"),
    "a file": (lambda f: coco(f, "\ud800.jpg"), r"row 2: its path '.*/\\ud800\.jpg' is not UTF-8; rename the file"),
    "a phrase": (genome, r"row 1: its caption 'a \\ud800' is not UTF-8; mend it"),
    "an image": (lambda f: folders(f, b"cat/\xff.jpg"), r"row 2: its path '.*cat/\\udcff\.jpg' is not UTF-8; rename the file"),
    "a folder": (lambda f: folders(f, b"\xff/a.jpg"), r"row 2: its path '.*/\\udcff/a\.jpg' is not UTF-8; rename the file"),
    "a class": (
        lambda f: published.hugging_face(f / "a.parquet", {"label": [0]}, [jpeg(1)], names=["\ud800"]),
        r"row 1: its label '\\ud800' is not UTF-8; mend it",
    ),
}


@pytest.mark.parametrize("case", NOT_UTF_8)
def test_what_utf_8_cannot_write_is_named_with_its_row(places, case):
    make, message = NOT_UTF_8[case]
    source, text = make(places / "inside"), "test" if case == "a class" else "train"
    split = Split(text, source, places / "inside/taken", ("a photo of {}",))
    with pytest.raises(UserError, match=rf"{source}, {message}$") as caught:
        take_over(split, places / "out.csv", Roots(["."]), 0.5)
    assert str(caught.value).isprintable()
    assert not (places / "out.csv").exists()


def test_a_path_with_a_nul_is_outside_and_one_line(places):
    (places / "t.csv").write_bytes(b"path,caption\nim\0g/a.jpg,ab\na.jpg,ab\n")
    with pytest.raises(UserError, match=r"t\.csv: 1 of 2 .*, first in row 1 \(im\\x00g/a\.jpg\); no file's name holds a NUL"):
        take(places / "t.csv", "train", places / "out.csv", Roots(["."]), 0.4)
    assert take(places / "t.csv", "train", places / "out.csv", Roots(["."]), 0.5) == []


def test_shards_outside_the_roots_are_named(places):
    write_tar(places / "outside/00000.tar", [("a.jpg", jpeg(1)), ("a.txt", b"a")])
    with pytest.raises(UserError, match=r"outside: 1 of 1 images lie outside data\.roots") as caught:
        take(places / "outside", "train", places / "out.csv", Roots(["."]), 0.4)
    assert f"such as {places / 'outside'}, to data.roots" in str(caught.value)


def test_the_stage_takes_the_roots_and_lists_what_shards_hold_beyond_pairs(places):
    shards = places / "shards"
    shards.mkdir()
    write_tar(shards / "00000.tar", [("a.jpg", jpeg(1)), ("a.txt", b"a"), ("b\n.jpg", jpeg(1)), ("c.gif", b"")])
    tables = [f"train={shards}"]
    for split in SPLITS[1:]:
        tables.append(f"{split}={table(places, ['a.jpg'], TEXT[split]).rename(places / f'{split}.csv')}")
    chosen = settings(places, url_list=(), tables=tuple(tables), roots=(str(places),))
    download.run(DownloadOptions(**chosen))
    listed = read_table(places / "data/quarantine.csv", QUARANTINE)
    assert [(row["table"], row["number"], row["path"]) for row in listed] == [
        (str(shards / "00000.tar"), "3", "b\\n.jpg"), (str(shards / "00000.tar"), "4", "c.gif"),
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"add their folder, such as .*, to data\.roots"):
        download.run(DownloadOptions(**chosen | {"roots": ("results", "data")}))
