"""Formulas: no cell of a table that is written begins as one, and all are read as they were."""

import csv
from io import StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roclip.core.files import read_columns, read_table, write_rows, write_table
from roclip.data.pairs import read_pairs
from tests.fixtures.attacks import build
from tests.fixtures.hostile_tables import COLUMNS, READERS

FORMULAS = [
    "=1+1", "=HYPERLINK(\"http://h\")", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "=", "-", "+", "@", "-a", "'=1", "''=1",
    "'", "''", "'a", "-0.5", "1e-5", "+7", "-.5e3", "-1e", "- 1", "-1 ", "-1,5", "-\u0661", "-inf", "a=1", " =1", "\n=1", "",
]  # fmt: skip
NUMBERS = {"-0.5", "1e-5", "+7", "-.5e3"}
CAPTIONS = st.one_of(
    st.text(st.characters(blacklist_categories=("Cs",)), max_size=20),
    st.text("'=+-@\t\r\n,\";.1eE a", max_size=8),
    st.sampled_from(FORMULAS),
    st.floats(allow_nan=False).map(str),
)


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_no_cell_is_a_formula_and_each_comes_back(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    write_rows(path, ("path", "caption", "x"), [(f"{text}.png", text, -0.5) for text in FORMULAS])
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.reader(file, delimiter="\t" if suffix == ".tsv" else ","):
            assert row[1] in NUMBERS or not row[1].startswith(("=", "+", "-", "@", "\t", "\r"))
            assert not row[0].startswith(("=", "+", "-", "@", "\t", "\r"))
            assert row[2] in ("x", "-0.5")
    assert [row["caption"] for row in read_table(path, COLUMNS)] == FORMULAS
    assert read_columns(path, ("path",))["path"] == [f"{text}.png" for text in FORMULAS]


@given(st.lists(st.tuples(CAPTIONS, CAPTIONS), max_size=6))
@settings(max_examples=50, deadline=None)
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_every_way_of_writing_and_reading_keeps_every_cell(tmp_path_factory, suffix, rows):
    path = tmp_path_factory.mktemp("tables") / f"t{suffix}"
    write_table(path, COLUMNS, [{"path": a, "caption": b} for a, b in rows])
    written = path.read_bytes()
    write_rows(path, COLUMNS, rows)
    assert path.read_bytes() == written
    for read in READERS.values():
        assert read(path) == rows
    cells = [
        cell
        for row in csv.reader(StringIO(written.decode(), newline=""), delimiter="\t" if suffix == ".tsv" else ",")
        for cell in row
    ]
    for cell in cells:
        if cell.startswith(("=", "+", "-", "@", "\t", "\r")):
            float(cell)  # a number


@given(st.lists(st.tuples(CAPTIONS.filter(bool), CAPTIONS), min_size=1, max_size=6))
@settings(max_examples=20, deadline=None)
def test_captions_pass_an_attack_unchanged(tmp_path_factory, scenes, rows):
    folder = tmp_path_factory.mktemp("attack")
    write_rows(folder / "train.csv", COLUMNS, rows)
    build("clean", scenes, folder / "out", train=folder / "train.csv")
    found = read_pairs(folder / "out/train.csv")
    assert list(zip(found["path"], found["caption"], strict=True)) == rows


def test_tables_of_other_projects_keep_their_apostrophes(tmp_path):
    (tmp_path / "t.csv").write_text("filepath\ttitle\na\t'=b\n")
    assert read_pairs(tmp_path / "t.csv")["caption"] == ["'=b"]
