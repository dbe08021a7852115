"""What is said of the data before a run: nothing of drawn scenes alone, and which splits are drawn beside a user's."""

import yaml

from roclip.experiment.first_look import first_look
from tests.fixtures.configs import CONFIG


def data(**changes):
    return CONFIG["data"] | {"url_list": None, "tables": {}} | changes


def test_nothing_of_drawn_scenes(tmp_path):
    assert first_look(tmp_path, data()) == []


def test_splits_that_are_drawn_beside_tables_are_named(tmp_path):
    mine = data(tables={"train": str(tmp_path / "absent.csv"), "validation": str(tmp_path / "absent.csv")})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": mine}))
    first, *found = first_look(tmp_path, mine)
    assert first == "test and probe: no table and no list is named, so these are scenes drawn with emoji"
    assert "absent.csv" in found[-1]


def test_none_is_drawn_beside_a_list(tmp_path):
    mine = data(url_list=str(tmp_path / "absent.tsv"))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": mine}))
    assert "absent.tsv" in " ".join(first_look(tmp_path, mine))
    assert "embedded" not in " ".join(first_look(tmp_path, mine))
