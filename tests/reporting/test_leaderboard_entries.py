"""Files of the leaderboard that anybody may send: read to the letter, or refused in one line with file, row and column."""

import base64
import json
from math import isnan

import pytest

from roclip.core.errors import UserError
from roclip.reporting.board.entries import read_entries, read_entry
from roclip.reporting.leaderboard import FOLDER, main
from tests.conftest import ROOT
from tests.fixtures.hostile_tables import REFUSED
from tests.fixtures.leaderboard import full, picture, row, write


def test_every_kind_of_cell_is_read(tmp_path):
    full(tmp_path)
    rows = read_entries(tmp_path)
    assert {r["experiment"] for r in rows} == {"again", "photos", "world"}
    (single,) = (r for r in rows if r["experiment"] == "again")
    assert isnan(single["attack_success_low"])
    assert single["learned"] is True
    clean = next(r for r in rows if r["attack"] == "clean")
    assert isnan(clean["attack_success"])
    assert clean["judged"] is None
    assert all(isnan(success) and 0 <= accuracy <= 1 for _, accuracy, success in clean["curve"])
    shown = next(r for r in rows if r["pictures"])
    assert [text for _, text in shown["pictures"]] == ["an image", "with the trigger"]


def test_more_names_than_a_page_shows_are_one_line_whichever_files_they_are_in(tmp_path):
    for file in range(2):
        rows = [row(f"world{file}", defence=f"d{file}_{n}") for n in range(76 - file)]
        write(tmp_path, *rows, name=f"world{file}")
    with pytest.raises(UserError, match="151 defences in all files, more than the 150 that a page shows; take some out"):
        read_entries(tmp_path)


def test_zero_has_no_sign(tmp_path):
    (single,) = read_entry(write(tmp_path, row(cost="-0", control="-0.0", control_low="-0", control_high="0.1")))
    assert [str(single[name]) for name in ("cost", "control", "control_low")] == ["0.0"] * 3


def test_no_folder_an_empty_one_and_half_a_file_have_no_rows(tmp_path):
    (tmp_path / ".world.123.part.csv").write_text("experiment,data")
    assert read_entries(tmp_path / "absent") == read_entries(tmp_path) == []


BAD = {
    "NaN": ({"attack_success": "nan"}, "attack_success: 'nan' is no number; leave it empty"),
    "infinite": ({"cost": "inf"}, "cost: 'inf' is no number; leave it empty where there is none"),
    "a number that is infinite": ({"cost": "1e400"}, "cost: '1e400' is too large"),
    "a number of Python's": ({"attack_success": "1_0e-1"}, "attack_success: '1_0e-1' is no number"),
    "a cost of Python's": ({"cost": "1_0"}, "cost: '1_0' is no number"),
    "a wide digit": ({"cost": "\uff11"}, "cost: '\uff11' is no number"),
    "an Arabic digit": ({"control": "\u0660.5"}, "control: '\u0660.5' is no number"),
    "a blank": ({"cost": "1 "}, "cost: '1 ' is no number"),
    "a curve of such digits": ({"curve_zero_shot": "\u0661"}, "curve_zero_shot: '\u0661' is no number"),
    "of no seed": ({"seeds": "0"}, "seeds: 0 is not from 1 to 10000"),
    "of more seeds than there are": ({"seeds": "10001"}, "seeds: 10001 is not from 1 to 10000"),
    "no number": ({"zero_shot": "high"}, "zero_shot: 'high' is no number"),
    "percent in place of a share": ({"attack_success": "93.75"}, "attack_success: 93.75 is not from 0 to 1"),
    "negative": ({"control": "-0.1"}, "control: -0.1 is not from 0 to 1"),
    "cost below 0": ({"cost": "-1"}, "cost: -1 is not from 0 to 1000000"),
    "cost of no end": ({"cost": "9" * 299}, "cost: 9{50} is not from 0 to 1000000"),
    "cost from nowhere": ({"cost_from": ""}, "cost_from: is there if, and only if, cost is"),
    "judged by nothing": ({"judged": "0"}, "judged: is 0, and there is attack_success"),
    "success without an attack": ({"family": "clean"}, "attack_success: of the family clean there is none"),
    "poisons without an attack": (
        {"family": "clean"}
        | dict.fromkeys(
            (*(f"attack_success{part}" for part in ("", "_low", "_high")), "equal_success", "equal_success_low"), ""
        )
        | dict.fromkeys(("equal_success_high", "equal_accuracy"), ""),
        r"poisons: \d+, and the family is clean",
    ),
    "more poisons than pairs": ({"poisons": "100000000000", "pairs": "1"}, "poisons: 100000000000 are more than the 1 pairs"),
    "at an accuracy that is not said": ({"equal_accuracy": ""}, "equal_accuracy: is there if, and only if, equal_success is"),
    "blanks at an end": ({"attack": "targeted "}, "attack: has blanks at an end, or characters"),
    "another form of Unicode": ({"defence": "cafe\u0301"}, "defence: has blanks at an end, or characters"),
    "at equal accuracy, with nothing learned": (
        {"learned": "0"} | dict.fromkeys(("attack_success", "attack_success_low", "attack_success_high"), ""),
        "equal_success: of a model that has learned nothing there is none",
    ),
    "not in its interval": ({"zero_shot": "0.5"}, r"zero_shot: 0.5 is not in its interval, 0.88 to 0.92"),
    "half an interval": ({"attack_success_low": ""}, "attack_success: .* is not in its interval, nan to"),
    "an interval of nothing": ({"zero_shot": ""}, "zero_shot: nan is not in its interval"),
    "no seeds": ({"seeds": ""}, "seeds: '' is no whole number"),
    "half a target": ({"judged": "1.5"}, "judged: '1.5' is no whole number"),
    "another word": ({"family": "evil"}, "family: 'evil' is not among clean, targeted, backdoor"),
    "learned or not": ({"learned": "yes"}, "learned: 'yes' is not among 0, 1"),
    "not learned and yet defended": ({"learned": 0}, "attack_success: of a model that has learned nothing there is none"),
    "nobody": ({"computed_by": " "}, "computed_by: is empty"),
    "too long": ({"defence": "x" * 301}, "defence: more than 300 characters"),
    "a curve with a gap": ({"curve_success": "0.5"}, "curve_kinds: 12 epochs, and not as many numbers"),
    "a curve of words": ({"curve_zero_shot": "<svg>"}, "curve_zero_shot: '<svg>' is no number"),
    "an endless curve": (
        {"curve_kinds": "a " * 2001, "curve_success": "- " * 2001, "curve_zero_shot": "- " * 2001},
        "curve_kinds: more than 2000 epochs",
    ),
    "another experiment's file": ({"experiment": "mine"}, "experiment: 'mine' is not the file's name"),
    "a picture of a photograph": (
        {"drawn": 0, "pictures": picture(), "picture_texts": '["a"]'},
        "pictures: only drawn scenes may be shown",
    ),
    "a picture without a text": ({"pictures": picture()}, "pictures: 1 with 0 texts"),
    "texts that are none": ({"picture_texts": '{"a": 1}'}, "picture_texts: no JSON list of texts"),
    "texts nested too deeply": ({"picture_texts": "[" * 9000}, "picture_texts: no JSON list of texts"),
    "too many pictures": (
        {"pictures": " ".join([picture()] * 5), "picture_texts": json.dumps(["a"] * 5)},
        "pictures: 5 with 5 texts; there may be 4",
    ),
    "a large picture": ({"pictures": picture(side=97), "picture_texts": '["a"]'}, "pictures: no PNG of up to 96 pixels"),
    "an SVG": (
        {"pictures": base64.b64encode(b"<svg onload='alert(1)'/>").decode(), "picture_texts": '["a"]'},
        "pictures: no PNG of up to",
    ),
    "what is small where a PNG has its sides": (
        {"pictures": base64.b64encode(b"<svg onload=1 />" + b"\0\0\0\x08" * 2).decode(), "picture_texts": '["a"]'},
        "pictures: no PNG of up to",
    ),
    "an address": ({"pictures": "https://evil.example/a.png", "picture_texts": '["a"]'}, "pictures: no base64"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_one_line(tmp_path, name):
    changes, message = BAD[name]
    path = write(tmp_path, row(defence="half"), row(**changes))
    with pytest.raises(UserError, match=f"^{path}, row 2: {message}") as error:
        read_entry(path)
    assert "\n" not in str(error.value)


def test_a_key_that_is_there_twice_names_both_rows(tmp_path):
    path = write(tmp_path, row(), row(defence="half"), row(attack_success=0.17, computed_by="Eve"))
    with pytest.raises(UserError, match=r"row 3: duplicate key, as row 1: drawn scenes, .*, targeted, clip$"):
        read_entry(path)


def test_two_files_of_one_experiment_are_one_line(tmp_path):
    write(tmp_path, row())
    write(tmp_path, row(), name="copy")
    with pytest.raises(UserError, match=r"copy.csv, row 1: experiment: 'world' is not the file's name; an experiment has one"):
        main(["--folder", str(tmp_path)])
    assert not (tmp_path / "index.html").exists()


@pytest.mark.parametrize("name", ["empty", "no header", "latin-1", "zip", "a quote never closed"])
def test_a_malformed_table_is_one_line(tmp_path, name):
    (tmp_path / "world.csv").write_bytes(REFUSED[name][0])
    with pytest.raises(UserError, match=f"^{tmp_path}/world.csv"):
        main(["--folder", str(tmp_path)])


def test_a_file_without_a_column_is_one_line(tmp_path):
    path = write(tmp_path, row())
    path.write_text(path.read_text().replace("computed_by", "author"))
    with pytest.raises(UserError, match="computed_by"):
        read_entry(path)


def test_texts_are_one_line_whatever_they_hold(tmp_path):
    (found,) = read_entry(write(tmp_path, row(defence="a\nb\u202e", model="=1+1")))
    assert found["defence"] == r"a\nb\u202e"
    assert found["model"] == "=1+1"


def test_the_files_of_this_repository_are_whole_and_each_is_of_a_config_that_is_there():
    rows = read_entries(ROOT / FOLDER)
    assert rows
    assert all((ROOT / each["config"]).is_file() for each in rows)
    assert all("-dirty" not in each["commit"] for each in rows)


def test_a_table_that_is_not_read_is_named(tmp_path, caplog):
    write(tmp_path, row()).rename(tmp_path / "world.CSV")
    assert read_entries(tmp_path) == []
    assert "world.CSV: is not read; move it to" in caplog.text
