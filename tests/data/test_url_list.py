"""Both forms of a list give the same rows, and a broken one is named with its line."""

import tracemalloc

import pytest

from roclip.core.errors import UserError
from roclip.core.files import sha256, write_table
from roclip.core.provenance import write_record
from roclip.data.url_list import SPLITS, Entry, count_rows, paths, read_entries, words

COLUMNS = ("split", "url", "caption", "label")


def lists(folder, **content: str) -> list[str]:
    """A list for each split; those not given hold one row."""
    for split in SPLITS:
        (folder / f"{split}.tsv").write_bytes(content.get(split, f"{split} text\thttp://h/{split}\n").encode())
    return words({split: str(folder / f"{split}.tsv") for split in SPLITS})


def test_a_list_without_header_gives_the_train_split(tmp_path):
    """CC3M's form: caption, tab, URL; quotes mean nothing."""
    text = 'a "dog\thttp://h/1.jpg\r\nNA\thttps://h/2.jpg?a=b:c\n\thttp://h/3\nü\xa0\u2028\rx\thttp://h/4'
    entries = list(read_entries(lists(tmp_path, train=text), ["train"]))
    assert entries == [
        Entry("train", 1, "http://h/1.jpg", 'a "dog'),
        Entry("train", 2, "https://h/2.jpg?a=b:c", "NA"),
        Entry("train", 3, "http://h/3", ""),
        Entry("train", 4, "http://h/4", "ü\xa0\u2028\rx"),
    ]


@pytest.mark.parametrize("first", ["url", "caption"])
def test_either_order_is_found_whatever_captions_look_like(tmp_path, caplog, first):
    """CC12M has the URL first. Captions may hold colons or be URLs themselves, and blank lines mean nothing."""
    rows = [
        ("http://h/1", "https://example.org"),
        ("http://h/2", "Time:out"),
        ("https://h/3", "dog: a portrait"),
        ("http://h/4", ""),
    ]
    lines = [f"{url}\t{text}" if first == "url" else f"{text}\t{url}" for url, text in rows]
    with caplog.at_level("INFO"):
        found = list(read_entries(lists(tmp_path, train="\n".join([*lines, "", "  ", ""])), ["train"]))
    assert [(entry.url, entry.text) for entry in found] == rows
    assert ("in CC12M's order" in caplog.text) == (first == "url")


@pytest.mark.parametrize("first", ["url", "caption"])
def test_captions_that_look_like_urls_of_odd_schemes_do_not_change_the_order(tmp_path, first):
    rows = [(f"http://h/{n}", f"Time:out{n}") for n in range(3)]
    lines = [f"{url}\t{text}" if first == "url" else f"{text}\t{url}" for url, text in rows]
    found = list(read_entries(lists(tmp_path, train="\n".join(lines)), ["train"]))
    assert [(entry.url, entry.text) for entry in found] == rows


def test_both_forms_give_the_same_rows(tmp_path):
    four = list(read_entries(lists(tmp_path)))
    rows = [{"split": s, "url": f"http://h/{s}", "caption": f"{s} text", "label": f"{s} text"} for s in SPLITS]
    write_table(tmp_path / "urls.tsv", COLUMNS, rows)
    one = list(read_entries([str(tmp_path / "urls.tsv")]))
    assert [entry._replace(row=1) for entry in one] == four
    assert [entry.split for entry in four] == list(SPLITS)


def test_apostrophes_of_a_list_stay_but_where_a_stage_wrote_it(tmp_path):
    """A stage puts one before what a spreadsheet would run as a formula; anybody else may have meant it."""
    captions = ["'-a dog", "'=x", "'tis", "-a cat"]
    rows = "".join(f"train\thttp://h/{n}\t{caption}\t\n" for n, caption in enumerate(captions))
    (tmp_path / "theirs.tsv").write_text("split\turl\tcaption\tlabel\n" + rows)
    assert [entry.text for entry in read_entries([str(tmp_path / "theirs.tsv")])] == captions
    ours = tmp_path / "data/urls.tsv"
    ours.parent.mkdir()
    write_table(ours, COLUMNS, [{"split": "train", "url": "file:a", "caption": caption} for caption in captions])
    record = {"stage": "scenes", "commit": "", "versions": {}, "options": {}, "inputs": {}}
    write_record(tmp_path / "data/scenes.record.json", record | {"outputs": {ours.name: sha256(ours)}})
    assert "''-a dog" in ours.read_text()
    assert [entry.text for entry in read_entries([str(ours)])] == captions


def test_rows_are_counted_as_they_are_read(tmp_path):
    for text in ("a\thttp://h/1", "a\thttp://h/1\r\nb\rc\u2028\thttp://h/2\n", "\n \na\thttp://h/1" + "\n" * 500):
        four = lists(tmp_path, train=f"{text}\n \t\xa0\x0c\r\n\x1a")
        assert count_rows(four, "train") == len(list(read_entries(four, ["train"])))


@pytest.mark.parametrize("name", ["urls.TSV", "urls.txt", "urls.csv"])
def test_a_list_that_is_separated_by_tabs_may_have_any_name(tmp_path, name):
    (tmp_path / name).write_text("split\turl\tcaption\tlabel\ntrain\thttp://h/1\ta, b\t\n")
    listed = [str(tmp_path / name)]
    assert list(read_entries(listed, ["train"])) == [Entry("train", 1, "http://h/1", "a, b")]
    assert count_rows(listed, "train") == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [("", "its URL is empty"), (" ", "its URL is empty"), ("abc", "'abc' is no URL"), ("a/b.jpg", "'a/b.jpg' is no URL")],
)
def test_a_row_without_a_url_is_named_whatever_the_form_of_the_list(tmp_path, url, said):
    write_table(tmp_path / "urls.tsv", COLUMNS, [{"split": "train", "url": each} for each in (" http://h/1", url)])
    listed = [str(tmp_path / "urls.tsv")]
    found = read_entries(listed, ["train"])
    assert next(found).url == "http://h/1"
    with pytest.raises(UserError, match=rf"urls\.tsv, row 2: {said}; write it whole, .*or take the row out$"):
        next(found)
    assert list(read_entries(listed, ["test"])) == []
    with pytest.raises(UserError, match=r"train\.tsv, line 2: expected a caption, a tab and a URL"):
        list(read_entries(lists(tmp_path, train=f"a\thttp://h/1\nb\t{url}"), ["train"]))


def test_lines_of_blanks_in_a_list_with_a_header_are_no_rows(tmp_path):
    rows = ["split\turl\tcaption\tlabel", "train\thttp://h/1\ta\t", " \t\xa0", "", "train\thttp://h/2\tb\t", "\t\x0c", "\x1a"]
    (tmp_path / "urls.tsv").write_text("\n".join(rows), encoding="utf-8")
    listed = [str(tmp_path / "urls.tsv")]
    assert [(entry.row, entry.text) for entry in read_entries(listed, ["train"])] == [(1, "a"), (2, "b")]
    assert count_rows(listed, "train") == 2


def test_a_list_of_millions_does_not_fill_the_memory(tmp_path):
    rows = ({"split": "train", "url": f"http://h/{n}", "caption": "c" * 100, "label": ""} for n in range(50_000))
    write_table(tmp_path / "urls.tsv", COLUMNS, rows)
    tracemalloc.start()
    assert sum(1 for _ in read_entries([str(tmp_path / "urls.tsv")])) == 50_000
    assert tracemalloc.get_traced_memory()[1] < 2e6  # a row took 600 bytes of it
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("caption\turl\n", r"train\.tsv, line 1: expected a caption, a tab and a URL; a list of one split has no header"),
        ("a\thttp://h/1\nb\n", "line 2: expected a caption"),
        ("a\tb\thttp://h/1\n", "line 1: expected a caption"),
        ("a\thttp://h/1\n\nb\n", "line 3: expected a caption"),
        ("http://h/1\ta\nhttp://h/2\tb\nc: d\thttp://h/3\n", "line 3: expected a URL, a tab and a caption"),
    ],
)
def test_a_broken_row_is_named(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        list(read_entries(lists(tmp_path, train=text)))


def test_a_broken_list_is_named(tmp_path):
    four = lists(tmp_path)
    (tmp_path / "test.tsv").write_bytes(b"caf\xe9\thttp://h/1\n")
    with pytest.raises(UserError, match=r"test\.tsv, line 1: not UTF-8"):
        list(read_entries(four))
    (tmp_path / "test.tsv").unlink()
    with pytest.raises(UserError, match=r"test\.tsv: no such file"):
        count_rows(four, "test")
    with pytest.raises(UserError, match=r"test\.tsv: no such file"):
        list(read_entries(four))
    write_table(tmp_path / "urls.tsv", COLUMNS, [{"split": "val", "url": "u", "caption": "", "label": ""}])
    with pytest.raises(UserError, match=r"urls\.tsv, row 1: split 'val' is none of train, validation, test, probe"):
        list(read_entries([str(tmp_path / "urls.tsv")]))


@pytest.mark.parametrize("wrong", [["a", "b"], ["train=a"] * 2, ["train=a", "validation=b", "test=c", "val=d"]])
def test_words_of_neither_form_are_refused(wrong):
    with pytest.raises(UserError, match="url_list: expected split=path, each split once, of train, validation, test, probe"):
        paths(wrong)
