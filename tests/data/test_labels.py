"""A label that is no class is refused when its table is taken over."""

import pytest

from roclip.core.errors import UserError
from roclip.core.files import read_table, write_table
from roclip.data import download
from roclip.data.download import DownloadOptions
from roclip.data.labels import unknown
from roclip.data.settings import DataSettings
from roclip.data.url_list import SPLITS
from tests.fixtures.downloads import COLUMNS, settings

CLASSES = ["mushroom", "ice cream", "Golden Retriever", "cat"]


def options(tmp_path, **changes) -> DownloadOptions:
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    for split in SPLITS:
        text = "label" if split in ("test", "probe") else "caption"
        write_table(tmp_path / f"{split}.csv", ("path", text), [{"path": str(tmp_path / "a.png"), text: "cat"}] * 2)
    (tmp_path / "a.png").touch()  # that it is there is looked for
    tables = tuple(f"{split}={tmp_path}/{split}.csv" for split in SPLITS)
    chosen = {"url_list": (), "tables": tables, "classes": tmp_path / "classes.txt"}
    return DownloadOptions(**settings(tmp_path, **chosen | changes))


def test_a_table_with_another_label_is_refused_and_nothing_is_written(tmp_path):
    chosen = options(tmp_path)
    download.run(chosen)
    (tmp_path / "data/test.csv").unlink()
    (tmp_path / "test.csv").write_text("path,label\na.png,mushroom\nb.png,Mushroom\n")
    match = r"test\.csv, row 2: the label 'Mushroom' is not in .*classes\.txt; did you mean 'mushroom'\?"
    with pytest.raises(UserError, match=match):
        download.run(chosen)
    assert not (tmp_path / "data/test.csv").exists()
    (tmp_path / "test.csv").write_text("path,label\nb.png,xyz\n")
    with pytest.raises(UserError, match=r"the label 'xyz' is not in .*; add it there, or take the row out"):
        download.run(chosen)


@pytest.mark.parametrize("label", ["cafe\u0301", "caf\u00e9\u200b", "Caf\u00e9\u00a0"])
def test_a_label_that_only_looks_like_a_class_is_refused_with_the_reason(tmp_path, label):
    said = unknown(tmp_path / "test.csv", 3, label, tmp_path / "classes.txt", ["cat", "caf\u00e9"])
    assert "'caf\u00e9' there has other characters (blanks, invisible ones, or another Unicode form)" in said
    said = unknown(tmp_path / "test.csv", 3, "Caf\u00e9", tmp_path / "classes.txt", ["cat", "caf\u00e9"])
    assert said.endswith("did you mean 'caf\u00e9'?")


def test_so_is_a_list_before_anything_is_downloaded(tmp_path):
    rows = [{"split": split, "url": "http://h/a", "caption": "c", "label": "Cat"} for split in SPLITS]
    write_table(tmp_path / "urls.tsv", COLUMNS, rows)
    chosen = options(tmp_path, url_list=(str(tmp_path / "urls.tsv"),), tables=())
    with pytest.raises(UserError, match=r"urls\.tsv, row 3: the label 'Cat' is not in .*; did you mean 'cat'\?"):
        download.run(chosen)


@pytest.mark.parametrize("name", ["\u200b", "\ufe0f\u200d", "\u0301", "\u00ad"])
def test_a_class_that_nobody_can_see_is_one_line(tmp_path, name):
    chosen = options(tmp_path)
    for file, text in (("templates.txt", "a {}"), ("classes.txt", f"dog\n\U0001f344\n{name}\n")):
        (tmp_path / file).write_text(text)
    given = {"templates": tmp_path / "templates.txt", "classes": tmp_path / "classes.txt", "captions": "", "url_list": None}
    found = list(DataSettings.problems({**given, "tables": dict.fromkeys(SPLITS, ""), "roots": chosen.roots}))
    assert found == [("classes", f"{tmp_path}/classes.txt: class 3 has no visible character; take it out")]


@pytest.mark.parametrize("line", ["0\tcat", "ca\x1bt", "cat\0", "cat\x85dog"])
def test_a_control_character_in_a_class_is_one_line(tmp_path, line):
    chosen = options(tmp_path)
    (tmp_path / "templates.txt").write_text("a {}")
    (tmp_path / "classes.txt").write_text(f"bird\n{line}\n")
    given = {"templates": tmp_path / "templates.txt", "classes": tmp_path / "classes.txt", "captions": "", "url_list": None}
    found = list(DataSettings.problems({**given, "tables": dict.fromkeys(SPLITS, ""), "roots": chosen.roots}))
    said = "class 2 holds a tab or another control character; list one class a line, without numbers or separators"
    assert found == [("classes", f"{tmp_path}/classes.txt: {said}")]


def test_one_class_is_refused_for_every_model_would_be_right(tmp_path):
    chosen = options(tmp_path)
    (tmp_path / "templates.txt").write_text("a {}")
    given = {"templates": tmp_path / "templates.txt", "classes": tmp_path / "classes.txt", "captions": "", "url_list": None}
    for text, faults in (("cat\n\n", 1), ("cat\ndog\n", 0)):
        (tmp_path / "classes.txt").write_text(text)
        found = list(DataSettings.problems({**given, "tables": dict.fromkeys(SPLITS, ""), "roots": chosen.roots}))
        assert [key for key, _ in found] == ["classes"] * faults


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("cat", "cat"), ("a", "a"), ("cat", "Cat"), ("caf\u00e9", "cafe\u0301"), ("cat", "cat\u200b"),
        ("hot dog", "hot\u00a0dog"), ("hot dog", "hot  dog"), ("stra\u00dfe", "STRASSE"), ("\u00bd", "1\u20442"),
    ],
)  # fmt: skip
def test_a_class_in_two_spellings_is_one_line(tmp_path, first, second):
    chosen = options(tmp_path)
    (tmp_path / "classes.txt").write_text(f"dog\n{first}\nbird\n{second}\n")
    given = {"templates": tmp_path / "templates.txt", "classes": tmp_path / "classes.txt", "captions": "", "url_list": None}
    (tmp_path / "templates.txt").write_text("a {}")
    found = list(DataSettings.problems({**given, "tables": dict.fromkeys(SPLITS, ""), "roots": chosen.roots}))
    said = f"{tmp_path}/classes.txt lists a class twice, as '{first}' and as '{second}'; take one out"
    assert found == [("classes", said)]
    (tmp_path / "classes.txt").write_text("dog\ncaf\u00e9\ncafe\nc\nc++\nhotdog\nhot dog\n")
    assert not list(DataSettings.problems({**given, "tables": dict.fromkeys(SPLITS, ""), "roots": chosen.roots}))


def test_an_image_that_stands_there_more_than_once_is_judged_once(tmp_path, caplog):
    chosen = options(tmp_path)
    for name in ("b.png", "c.png"):
        (tmp_path / name).touch()
    (tmp_path / "link.png").symlink_to("b.png")
    rows = [{"path": f"{tmp_path}/{name}.png", "label": "cat"} for name in ("b", "c", "link", "b", "./c", "a")]
    write_table(tmp_path / "test.csv", ("path", "label"), rows)
    download.run(chosen)
    assert [row["path"] for row in read_table(tmp_path / "data/test.csv", ("path",))] == [
        f"{tmp_path}/{name}.png" for name in "bca"
    ]
    assert f"{tmp_path}/test.csv: left out 3 of 6 rows: their images stand there before" in caplog.text
    assert "probe.csv: left out 1 of 2 rows" in caplog.text
    assert "train.csv: left out" not in caplog.text
