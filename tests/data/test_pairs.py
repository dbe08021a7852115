"""Pairs come in the columns of three projects and in img2dataset's shards, written here by their own writers."""

import logging
from io import BytesIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from img2dataset.writer import FilesSampleWriter, WebDatasetSampleWriter
from PIL import Image

from roclip.core.errors import UserError
from roclip.data.images import decode
from roclip.data.pairs import count_pairs, for_training, read_pairs
from tests.fixtures.attacks import build

CAPTIONS = ['a "red", ship', "tab\tinside", "NA", "été 東京"]
WRITERS = {"webdataset": WebDatasetSampleWriter, "files": FilesSampleWriter}


@pytest.mark.parametrize(
    ("project", "columns", "separator", "folder"),
    [
        ("RoCLIP", ("path", "caption"), ",", ""),
        ("RoCLIP", ("path", "caption"), "\t", ""),
        ("CleanCLIP", ("image", "caption"), ",", "data/"),
        ("open_clip", ("filepath", "title"), "\t", ""),
        ("open_clip", ("filepath", "title"), ",", ""),
    ],
)
def test_dialects_are_found_and_said(tmp_path, monkeypatch, caplog, project, columns, separator, folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    paths = [f"images/{n}.jpg" for n in range(4)]
    table = pd.DataFrame({"number": range(4), columns[0]: paths, columns[1]: CAPTIONS})
    table.to_csv("data/pairs.csv", sep=separator, index=False)
    if separator == "\t":
        written = tmp_path / "data/pairs.csv"
        written.write_text("\n  \n" + written.read_text())
    with caplog.at_level(logging.INFO):
        pairs = read_pairs((tmp_path / "data/pairs.csv").relative_to(tmp_path))
    assert pairs == {"path": [folder + path for path in paths], "caption": CAPTIONS}
    assert f"4 pairs in {project}'s columns" in caplog.text
    assert ("tabs" if separator == "\t" else "commas") in caplog.text


def test_optional_columns_come_when_they_are_there(tmp_path):
    (tmp_path / "t.csv").write_text("is_poison,caption,path\n1,a,b\n")
    assert read_pairs(tmp_path / "t.csv", ("is_poison", "absent")) == {"path": ["b"], "caption": ["a"], "is_poison": ["1"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image_path,text\na,b\n", r"no columns of images and captions; .* path and caption \(RoCLIP\), image and caption"),
        ("", "no columns of images and captions"),
        ("filepath\ttitle\na\n", "line 2: expected 2 cells"),
        ('image,caption\na,"b\n', "line"),
    ],
)
def test_a_table_of_no_dialect_is_named_in_one_line(tmp_path, content, message):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        read_pairs(tmp_path / "t.csv")
    assert str(tmp_path / "t.csv") in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no such file"):
        read_pairs(tmp_path / "absent.csv")


def shards(folder, kind, with_captions=True):
    """Two shards of three images each, of which one has no caption; the captions, and the images."""
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)
    captions = [None if n == 4 else f"{CAPTIONS[n % 4]} {n}" for n in range(6)]
    schema = pa.schema([("key", pa.string()), ("caption", pa.string())])
    for shard in (1, 0):
        writer = WRITERS[kind](shard, str(folder), with_captions, 5, schema, "png")
        for n in (2, 1, 0):
            number = 3 * shard + n
            image = BytesIO()
            Image.fromarray(images[number]).save(image, "png")
            key = f"{shard:05d}{n:04d}"
            writer.write(image.getvalue(), key, captions[number], {"key": key, "caption": captions[number]})
        writer.write(None, "x", "of an image that failed", {"key": "x", "caption": ""})
        writer.close()
    return captions, images


@pytest.mark.parametrize("kind", WRITERS)
def test_shards_are_read_by_key_and_their_images_decode(tmp_path, kind):
    captions, images = shards(tmp_path / "shards", kind)
    pairs = read_pairs(tmp_path / "shards")
    assert pairs["caption"] == [caption or "" for caption in captions]
    assert all((decode(path, 32) == image).all() for path, image in zip(pairs["path"], images, strict=True))


@pytest.mark.parametrize("kind", WRITERS)
def test_shards_without_captions_are_the_users_mistake(tmp_path, kind):
    shards(tmp_path / "shards", kind, with_captions=False)
    with pytest.raises(UserError, match="no shards of img2dataset with captions"):
        read_pairs(tmp_path / "shards")


def test_a_shard_cut_short_anywhere_is_named(tmp_path):
    shards(tmp_path / "shards", "webdataset")
    tar = tmp_path / "shards/00001.tar"
    whole = tar.read_bytes()
    end = len(whole.rstrip(b"\0"))
    for size in (0, 100, 512, 1024, len(whole) // 2 // 512 * 512, end - 3, end, end + 600):
        tar.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"00001\.tar: not a whole shard") as caught:
            read_pairs(tmp_path / "shards")
        assert "\n" not in str(caught.value)


def test_an_attack_reads_other_projects_tables(scenes, tmp_path):
    table = pd.read_csv(scenes / "train.csv", keep_default_na=False)
    table.rename(columns={"path": "filepath", "caption": "title"}).to_csv(tmp_path / "open_clip.csv", sep="\t", index=False)
    ours = build("targeted", scenes, tmp_path / "ours")
    theirs = build("targeted", scenes, tmp_path / "theirs", train=tmp_path / "open_clip.csv")
    assert (ours / "train.csv").read_bytes() == (theirs / "train.csv").read_bytes()


@pytest.mark.parametrize("stats", ["[]", "null", '{"successes": -1}', '{"successes": "9"}', "{"])
def test_what_img2dataset_noted_is_a_number_or_one_line(tmp_path, stats):
    (tmp_path / "00000.tar").touch()
    (tmp_path / "00000_stats.json").write_text('{"successes": 7}')
    (tmp_path / "00001_stats.json").write_text('{"count": 5}')
    assert count_pairs(tmp_path) == 7, "other notes say nothing of how many images there are"
    (tmp_path / "00002_stats.json").write_text('{"successes": 90}')
    assert count_pairs(tmp_path) == 7, "its shard is not there"
    (tmp_path / "00001_stats.json").write_text(stats)
    with pytest.raises(UserError, match=r"00001_stats\.json"):
        count_pairs(tmp_path)


@given(st.lists(st.sampled_from("abcdefgh"), max_size=30), st.integers(0, 35))
def test_images_are_held_out_whole_the_last_ones_and_no_more_than_needed(paths, held_out):
    rows = for_training(paths, held_out)
    out = [path for row, path in enumerate(paths) if row not in set(rows)]
    assert rows == sorted(rows)
    assert not {paths[row] for row in rows} & set(out)
    assert len(out) >= min(held_out, len(paths))
    if out:  # without any of these images there are too few
        last_row = {path: row for row, path in enumerate(paths)}
        first = min(set(out), key=last_row.get)
        assert len(out) - out.count(first) < held_out
        assert all(last_row[paths[row]] < last_row[first] for row in rows)


def test_where_each_image_has_one_row_the_last_are_held_out():
    assert for_training([f"{n}.png" for n in range(9)], 4) == [0, 1, 2, 3, 4]
    assert for_training(["a", "b"], 0) == [0, 1]


def test_an_image_is_held_out_under_each_spelling_of_its_path():
    assert for_training(["im/a.png", "im/b.png", "im/./a.png", "x/../im/b.png"], 1) == [0, 2]
