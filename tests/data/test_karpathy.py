"""Karpathy's JSON and lists such as BLIP's: each split has its own images, by what is decoded."""

import json
import logging
import re
from pathlib import Path

import pytest

from roclip.core.errors import UserError
from roclip.data.sources import Split, count_pairs, read_split
from tests.fixtures import published
from tests.fixtures.published import ODD_CAPTIONS, image, numbers_of, put

SPLITS = {
    "test": {5: ["a black cat", "a cat .", "cats"]},
    "restval": {1: ["one", "two\n"]},
    "val": {2: ["three"]},
    "train": {3: ODD_CAPTIONS, 4: ["a dog", "the dog"]},
}
TRAIN = [(1, "one"), (3, 'A "red", ship'), (4, "a dog"), (1, "two"), (3, "tab inside"), (4, "the dog")]


def rows(
    source: Path, name: str = "train", among: tuple[str, ...] = (), classes: tuple[str, ...] = ()
) -> list[tuple[int, str]]:
    """Number of the image, and caption or label."""
    found = list(read_split(Split(name, source, source.parent / "store", classes=classes, among=among)))
    return list(zip(numbers_of([path for path, _ in found]), [text for _, text in found], strict=True))


@pytest.mark.parametrize("name", ["coco", "flickr8k", "flickr30k"])
def test_each_split_has_its_own_images_and_restval_is_trained_on(tmp_path, caplog, name):
    source = published.karpathy(tmp_path, SPLITS, name)
    all_of_them = ("train", "validation", "test")
    with caplog.at_level(logging.INFO):
        assert rows(source, among=all_of_them)[:6] == TRAIN
    assert f"{source}: taken for Karpathy's splits" in caplog.text
    assert "shared out" not in caplog.text
    assert rows(source, "validation", all_of_them) == [(2, "three")]
    assert rows(source, "test", all_of_them, ("cat", "dog")) == [(5, "cat")]
    assert count_pairs(source) == count_pairs(source, all_of_them) == 9


def test_a_split_that_it_has_not_is_one_line(tmp_path):
    source = published.karpathy(tmp_path, SPLITS)
    with pytest.raises(
        UserError, match=r"dataset_flickr8k\.json: no image is of the split 'probe', and some are of test, train, validation;"
    ):
        rows(source, "probe")


def test_a_file_of_one_split_alone_is_read_for_any(tmp_path):
    source = published.karpathy(tmp_path, {"train": SPLITS["train"]})
    assert rows(source, "validation")[:2] == [(3, 'A "red", ship'), (4, "a dog")]
    assert count_pairs(published.karpathy(tmp_path / "other", {"test": SPLITS["train"]})) == 7


@pytest.mark.parametrize("several", [True, False])
def test_a_list_has_one_caption_or_several_in_an_entry(tmp_path, caplog, several):
    entries = []
    for n, texts in {3: ODD_CAPTIONS[:2], 1: ["a dog", "the  dog"]}.items():
        put(tmp_path / f"coco/val2014/{n}.jpg", image(n))
        said = [texts] if several else texts
        entries += [{"image": f"./coco/val2014/{n}.jpg", "caption": text, "image_id": f"coco_{n}"} for text in said]
    source = put(tmp_path / "coco_karpathy_train.json", json.dumps(entries).encode())
    with caplog.at_level(logging.INFO):
        assert rows(source) == [(3, 'A "red", ship'), (1, "a dog"), (3, "tab inside"), (1, "the dog")]
    assert f"{source}: taken for a list of images and captions" in caplog.text


def test_a_list_may_name_whole_paths(tmp_path):
    put(tmp_path / "elsewhere/3.jpg", image(3))
    source = put(tmp_path / "lists/a.json", json.dumps([{"image": str(tmp_path / "elsewhere/3.jpg"), "caption": "x"}]).encode())
    assert rows(source) == [(3, "x")]


IMAGE = {"filename": "1.jpg", "split": "train", "sentences": [{"raw": "a"}]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": [IMAGE, {"filename": "2.jpg", "sentences": []}]}, "expected str as 'split' in \"{'filename': '2.jpg'"),
        ({"images": [IMAGE, IMAGE | {"sentences": [{"tokens": ["a"]}]}]}, "expected str as 'raw' in \"{'tokens': ['a']}"),
        ({"images": [IMAGE, IMAGE | {"sentences": "a"}]}, "expected list as 'sentences'"),
        ({"images": [IMAGE, IMAGE | {"filepath": 3}]}, "expected str as 'filepath'"),
        ({"images": [IMAGE, 7]}, "expected str as 'split' in '7'"),
        ({"images": [IMAGE, IMAGE | {"split": "trian"}]}, "'trian' in \"{'filename': '1.jpg', 'split': 'trian'"),
        ({"images": [IMAGE, IMAGE | {"filename": " "}]}, "'filename' is empty in"),
        ([{"image": "1.jpg", "caption": "a"}, {"image": "", "caption": "a"}], "'image' is empty in"),
        (
            [{"file_name": "1.jpg", "text": "a"}],
            "\"{'file_name': '1.jpg', 'text': 'a'}\" is neither an image with its captions",
        ),
        ([{"image": "1.jpg", "caption": "a"}, {"image": "1.jpg"}], "a caption in \"{'image': '1.jpg'}\" is no text"),
        (
            [{"image": "1.jpg", "caption": "a"}, {"image": "1.jpg", "caption": ["a", 3]}],
            "a caption in \"{'image': '1.jpg', 'caption': ['a', 3]}\" is no text",
        ),
        ([{"image": "1.jpg", "caption": "a"}, {"image": 1, "caption": "a"}], "expected str as 'image'"),
        ([{"image": "1.jpg", "caption": "a"}, None], "expected str as 'image' in 'None'"),
    ],
)
def test_an_entry_that_is_none_is_one_line(tmp_path, content, message):
    put(tmp_path / "1.jpg", image(1))
    source = put(tmp_path / "a.json", json.dumps(content).encode())
    with pytest.raises(UserError, match=re.escape(f"a.json: {message}")) as raised:
        rows(source)
    assert "\n" not in str(raised.value)


def test_a_file_of_one_split_alone_that_several_name_is_shared_out(tmp_path):
    """Each image is of one split: none that is judged is trained on."""
    source = published.karpathy(tmp_path, {"train": {n: [f"a cat {n}"] for n in range(12)}})
    among = ("train", "validation", "test")
    found = {name: {number for number, _ in rows(source, name, among, ("cat",))} for name in among}
    assert sorted(number for numbers in found.values() for number in numbers) == [*range(12)]
    assert len(found["train"]) > 6
    assert count_pairs(source, among) == 12 * 16 // 19


def test_an_image_of_two_splits_is_one_line(tmp_path):
    published.karpathy(tmp_path, {"train": {3: ["a"]}, "test": {4: ["b"]}})
    content = json.loads((tmp_path / "dataset_flickr8k.json").read_text())
    content["images"].append(content["images"][0] | {"split": "test", "filename": "./3_3c4b5.jpg"})
    source = put(tmp_path / "dataset_flickr8k.json", json.dumps(content).encode())
    with pytest.raises(UserError, match=r"json: 3_3c4b5\.jpg is an image of two splits, train and test; take it out of one"):
        rows(source)


def test_captions_of_a_list_are_counted(tmp_path):
    entries = [{"image": "1.jpg", "caption": ["a", "b", "c"]}, {"image": "2.jpg", "caption": "d"}]
    assert count_pairs(put(tmp_path / "a.json", json.dumps(entries).encode())) == 4
