"""Each data set in its makers' form is taken for what it is: images beside captions, or labels, by what is decoded."""

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from roclip.core.errors import UserError
from roclip.data.sources import Split, count_pairs, read_split
from tests.fixtures import published
from tests.fixtures.published import ODD_CAPTIONS, image, numbers_of

FIVE = {n: [f"caption {turn} of {n}" for turn in range(5)] for n in (3, 1, 7)}
FLICKR = {"1000268201_693b08cb0e.jpg": ODD_CAPTIONS, "667626_18933d713e.jpg": [f"A dog , no {n} ." for n in range(5)]}
NAMED = {"1000092795.jpg": FIVE[3], "2199200615.jpg": FIVE[1]}
ONE_LINE = [" ".join(text.split()) for text in ODD_CAPTIONS]


def rows(source: Path, name: str = "train", templates: Sequence[str] = ()) -> list[tuple[int, str]]:
    """Number of the image, and caption or label."""
    found = list(read_split(Split(name, source, source.parent / "store", tuple(templates))))
    return list(zip(numbers_of([path for path, _ in found]), [text for _, text in found], strict=True))


def rounds(captions: dict) -> list[tuple[int, str]]:
    """The first caption of every image, then the second ones."""
    return [(n, texts[turn]) for turn in range(5) for n, texts in captions.items()]


def numbered(captions: dict) -> dict[int, Sequence[str]]:
    return dict(enumerate(captions.values()))


@pytest.mark.parametrize("split", ["train2014", "train2017"])
def test_coco_captions(tmp_path, caplog, split):
    captions = FIVE | {5: [*ODD_CAPTIONS[:4], "A man\n rides  a wave.\n"]}
    with caplog.at_level(logging.INFO):
        source = published.coco(tmp_path, split, captions)
        assert rows(source) == rounds(captions | {5: [*ONE_LINE[:4], "A man rides a wave."]})
    assert f"{source}: taken for COCO's captions" in caplog.text
    assert count_pairs(source) == 20


def test_coco_labels_are_of_images_with_one_category(tmp_path):
    shown = {3: ["cat", "cat"], 1: ["cat", "dog"], 7: ["dog"]}
    published.coco(tmp_path, "val2014", FIVE | {9: ["nothing is marked"]}, shown)
    assert rows(tmp_path / "annotations/instances_val2014.json", "test") == [(3, "cat"), (7, "dog")]


def test_visual_genome_has_two_folders_of_images(tmp_path):
    source = published.visual_genome(tmp_path, FIVE | {2: ["a clock on the wall"]})
    assert sorted(rows(source)) == sorted([*rounds(FIVE), (2, "a clock on the wall")])
    assert rows(source)[:4] == [(3, "caption 0 of 3"), (1, "caption 0 of 1"), (7, "caption 0 of 7"), (2, "a clock on the wall")]
    assert count_pairs(source) == 16


def test_flickr8k_by_commas_and_by_tokens(tmp_path):
    expected = rounds(numbered({"a": ONE_LINE, "b": FLICKR["667626_18933d713e.jpg"]}))
    comma = published.flickr8k_captions(tmp_path / "kaggle", FLICKR)
    assert rows(comma) == expected
    assert count_pairs(comma) == 10
    token = published.flickr8k_tokens(tmp_path / "makers", FLICKR)
    assert rows(token) == expected
    assert abs(count_pairs(token) - 10) <= 1


def test_flickr30k_s_row_without_its_last_bar_is_read(tmp_path):
    source = published.flickr30k(tmp_path, NAMED)
    assert "2199200615.jpg| 4  caption 4 of 1\n" in source.read_text()
    assert rows(source) == rounds(numbered(NAMED))
    assert count_pairs(source) == 10


def test_a_csv_with_flickr8k_s_columns_is_cleanclip_s(tmp_path):
    published.flickr_images(tmp_path, list(FLICKR))
    text = "image,caption\n" + "".join(f'{name},"{n}"\n' for name in FLICKR for n in range(2))
    (tmp_path / "train.csv").write_text(text)
    assert rows(tmp_path / "train.csv") == [(0, "0"), (0, "1"), (1, "0"), (1, "1")]


@pytest.mark.parametrize(
    ("columns", "captions"),
    [
        ({"text": ["a", "b", "c"]}, ["a", "b", "c"]),
        ({"caption": [["a", "d"], ["b"], []]}, ["a", "b", "d"]),
        ({"sentences": [[{"raw": "a", "sentid": 1}], [{"raw": "b", "sentid": 2}], None]}, ["a", "b"]),
        ({"caption": ["a", None, "c "]}, ["a", "c"]),
    ],
)
def test_hugging_face_s_images_move_into_tars(tmp_path, caplog, columns, captions):
    contents = [image(0), image(1, "png"), image(2, "webp")]
    source = published.hugging_face(tmp_path / "data/train-00000-of-00001.parquet", columns, contents)
    published.hugging_face(tmp_path / "data/test-00000-of-00001.parquet", {"text": ["of the test"]}, [image(9)])
    found = rows(source.parent)
    assert [text for _, text in found] == captions
    assert dict(found).keys() == dict(rows(source)).keys()
    assert [number for number, text in found if text in "abc"] == ["abc".index(text) for text in captions if text in "abc"]
    with pytest.raises(UserError, match=r"no file is called after the split 'validation', .* such as test-00000.*rename some"):
        rows(source.parent, "validation")
    (source.parent / "test-00000-of-00001.parquet").unlink()
    assert rows(source.parent, "validation")[-1] == found[-1], "called after one split all of them are read"
    without = 3 - len({number for number, _ in found})
    assert count_pairs(source) == len(captions) + without, "a row without a caption counts"
    assert (f"left out {without} row without a caption" in caplog.text) == bool(without)


def test_a_label_that_is_a_number_has_the_name_that_hugging_face_notes(tmp_path):
    labels = {"label": pa.array([1, 0, 1], pa.int64())}
    source = published.hugging_face(tmp_path / "a.parquet", labels, [image(n) for n in range(3)], "img", ["cat", "dog"])
    assert rows(source, "test") == [(0, "dog"), (1, "cat"), (2, "dog")]


def test_img2dataset_s_parquet_with_images(tmp_path):
    table = pa.table({"jpg": pa.array([image(4), image(5)], pa.binary()), "caption": ["a", "b"], "key": ["0", "1"]})
    parquet.write_table(table, tmp_path / "00000.parquet")
    assert rows(tmp_path / "00000.parquet") == [(4, "a"), (5, "b")]


def test_a_parquet_that_is_cut_short_or_has_no_captions_is_one_line(tmp_path):
    source = published.hugging_face(tmp_path / "a.parquet", {"words": ["a"]}, [image(0)])
    with pytest.raises(UserError, match=r"a\.parquet: no column of a caption; it has image, words"):
        rows(source)
    source.write_bytes(source.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"a\.parquet: not a whole parquet file") as caught:
        rows(source)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "store/00000.tar").exists()


def test_class_folders(tmp_path, caplog):
    source = published.class_folders(tmp_path / "food", {"ice_cream": 2, "apple": 3})
    for name in ("a.bmp", "b.gif", ".DS_Store"):
        (source / "apple" / name).write_bytes(b"x")
    labels = [(2, "apple"), (3, "apple"), (4, "apple"), (0, "ice cream"), (1, "ice cream")]
    assert rows(source, "probe") == labels
    why = "it ends with none of .jpg, .jpeg, .png, .webp"
    assert f"{source}: left out 2 files and links, first {source}/apple/a.bmp: {why}" in caplog.text
    assert rows(source, templates=["a photo of {}", "{}!"]) == [
        (2, "a photo of apple"),
        (0, "ice cream!"),
        (3, "apple!"),
        (1, "a photo of ice cream"),
        (4, "a photo of apple"),
    ]  # the first pairs are of all classes, and no class has one template alone
    assert count_pairs(source) == 5


def test_a_class_may_be_called_by_a_number_and_a_link_may_lead_to_itself(tmp_path):
    source = published.class_folders(tmp_path / "numbers", {"12345": 1})
    (source / "x").symlink_to("x")
    assert rows(source, "test") == [(0, "12345")]
    assert count_pairs(source) == 1
    (source / "12345/0.txt").write_text("a shard")
    assert rows(source) == [(0, "a shard")]
    list_of_captions = published.flickr8k_captions(tmp_path / "flickr", FLICKR)
    for folder in (tmp_path, tmp_path / "flickr"):
        (folder / "A").symlink_to("A")
    assert len(rows(list_of_captions)) == 10


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": [], "annotations": []}, "nothing under 'images'"),
        (
            {"images": [{"id": 1, "file_name": "none.jpg"}], "annotations": [{"image_id": 1, "caption": "x"}]},
            "lie neither beside",
        ),
        ({"images": [{"id": "1", "file_name": "a.jpg"}], "annotations": [1]}, "expected int as 'id'"),
        ([{"id": 1, "regions": [{"phrase": "x"}]}], "lie in none of VG_100K, VG_100K_2 beside it"),
        ([{"id": 1}], "is neither an image with its captions"),
        ([3], "'3' is neither an image with its captions"),
        ({"images": math.nan}, "not JSON that can be read: NaN"),
    ],
)
def test_annotations_that_are_not_what_they_seem_are_one_line(tmp_path, content, message):
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message) as caught:
        rows(tmp_path / "a.json")
    assert str(caught.value).startswith(f"{tmp_path}/a.json")
    assert "\n" not in str(caught.value)


IMAGES = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "a.jpg"}]
MARKS = [{"image_id": n, "category_id": 3, "caption": f"of {n}"} for n in (1, 2)]
CAT = {"id": 3, "name": "cat"}


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ({"images": [*IMAGES, {"id": 1, "file_name": "b.jpg"}], "annotations": MARKS[:1]}, "train"),
        ({"images": [*IMAGES, IMAGES[0]], "annotations": MARKS, "categories": [CAT]}, "test"),
        ({"images": IMAGES, "annotations": MARKS, "categories": [CAT, {"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "test"),
        ([{"id": 1, "regions": [{"phrase": "first"}]}, {"id": 1, "regions": [{"phrase": "second"}]}], "train"),
    ],
)
def test_an_id_that_two_entries_have_is_one_line(tmp_path, content, name):
    for path in ("a.jpg", "b.jpg", "VG_100K/1.jpg"):
        published.put(tmp_path / path, image(0))
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"a\.json: two entries have the id 1; take one out, or fetch the file again"):
        rows(tmp_path / "a.json", name)


def test_a_file_that_has_two_ids_is_one_image(tmp_path):
    published.put(tmp_path / "a.jpg", image(0))
    (tmp_path / "a.json").write_text(json.dumps({"images": IMAGES, "annotations": MARKS, "categories": [CAT]}))
    assert rows(tmp_path / "a.json", "test") == [(0, "cat")]
    assert rows(tmp_path / "a.json") == [(0, "of 1"), (0, "of 2")]


def test_an_annotation_of_no_image_is_named(tmp_path):
    source = published.coco(tmp_path, "val2017", FIVE)
    whole = json.loads(source.read_text())
    whole["annotations"][4]["image_id"] = 44
    source.write_text(json.dumps(whole))
    with pytest.raises(UserError, match="an annotation is of image 44, which is not under 'images'"):
        rows(source)


@pytest.mark.parametrize(
    ("name", "line"),
    [("Flickr8k.token.txt", "a.jpg#0\tA\nb.jpg 1 B\n"), ("r.csv", "image_name| comment_number| comment\na.jpg 0 A\n")],
)
def test_a_row_of_another_form_is_named_with_its_line(tmp_path, name, line):
    (tmp_path / name).write_text(line)
    with pytest.raises(UserError, match=rf"{name}, line 2: expected an image and a caption"):
        rows(tmp_path / name)


def test_splits_that_name_one_source_share_its_images(tmp_path, caplog):
    """Each image is of one split, with all of its captions; labels are what most captions name, in any order of images."""
    kinds = {"cat": ["a cat", "a cat", "a cat", "it", "it"], "dog": ["a dog"] * 5, "": ["a cat", "a cat", "it", "it", "it"]}
    kinds["both"] = ["a dog", "a dog", "a dog", "a dog", "a cat"]
    captions = {f"{n}.jpg": list(kinds.values())[n % 4] for n in range(2000)}
    source = published.flickr8k_captions(tmp_path, captions)
    among = ("train", "validation", "test", "probe")
    with caplog.at_level(logging.INFO):
        found = {name: list(read_split(Split(name, source, tmp_path, classes=("cat", "dog"), among=among))) for name in among}
    images = {name: {Path(path).name for path, _ in rows} for name, rows in found.items()}
    assert sum(map(len, images.values())) == len(set().union(*images.values())), "no image is of two splits"
    assert len(images["train"]) == pytest.approx(1600, abs=60)
    assert len(images["validation"]) == pytest.approx(100, abs=35)
    assert len(images["test"]) == pytest.approx(2 * 100 / 2, abs=35), "half of the images have a label"
    assert len(found["train"]) == 5 * len(images["train"])
    labels = {(label, int(Path(path).stem) % 4) for name in ("test", "probe") for path, label in found[name]}
    assert labels == {("cat", 0), ("dog", 1)}
    assert {int(Path(path).stem) % 4 for path, _ in found["validation"]} == {0, 1, 2, 3}
    assert "shared out among train, validation, test, probe" in caplog.text


def test_parquet_files_are_shared_by_their_names_alone(tmp_path):
    for name, number in (("train", 1), ("test", 2)):
        published.hugging_face(tmp_path / f"data/{name}-0.parquet", {"text": ["a"], "label": ["b"]}, [image(number)])
    split = Split("test", tmp_path / "data", tmp_path / "store", among=("train", "test"))
    assert numbers_of([path for path, _ in read_split(split)]) == [2]
    with pytest.raises(UserError, match="train and probe both name it; give each split files of its own"):
        read_split(Split("probe", tmp_path / "data", tmp_path / "store", among=("train", "probe")))


def test_what_is_not_there_is_named(tmp_path):
    for count in (count_pairs, rows):
        with pytest.raises(UserError, match="absent: no such file or directory"):
            count(tmp_path / "absent")


def test_coco_names_with_their_folder(tmp_path):
    source = published.coco(tmp_path, "train2017", FIVE)
    whole = json.loads(source.read_text())
    for entry in whole["images"]:
        entry["file_name"] = f"train2017/{entry['file_name']}"
    source.write_text(json.dumps(whole))
    assert rows(source) == rounds(FIVE)


@pytest.mark.parametrize("begin", ["\n", "\n  \n\n", "\ufeff\n"])
@pytest.mark.parametrize(
    ("make", "captions"),
    [(published.flickr8k_tokens, FLICKR), (published.flickr8k_captions, FLICKR), (published.flickr30k, NAMED)],
)
def test_blank_lines_before_captions(tmp_path, begin, make, captions):
    source = make(tmp_path, captions)
    expected = rows(source)
    source.write_text(begin + source.read_text(), encoding="utf-8")
    assert rows(source) == expected


def test_an_empty_caption_in_the_first_row(tmp_path):
    names = list(FLICKR)
    source = published.flickr8k_tokens(tmp_path, {names[0]: ["", "A dog."], names[1]: ["A cat.", "Two cats."]})
    assert rows(source) == [(0, ""), (1, "A cat."), (0, "A dog."), (1, "Two cats.")]
