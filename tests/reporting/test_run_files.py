"""What the report reads of an experiment, changed by hand or of another version: one line that names the file, and no page."""

import csv
import json

import pytest
import yaml

from roclip.core.errors import UserError
from roclip.core.files import read_table, write_table
from roclip.reporting.report import ReportOptions, run
from tests.fixtures.experiments import made_up
from tests.fixtures.pages import TEMPLATE, again

REPAIRED = {"fixed": {"train": {"kind": "clip"}, "repair": {"kind": "finetune", "clean_pairs": 4000}}}
REPAIRED |= {"kept": {"filter": {"kind": "cosine", "scored_by": {"kind": "clip"}}, "train": {"kind": "clip"}}}
MANIFEST = "attacks/targeted/seed10/manifest.json"


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """With a repair, a filter and a detector, so that every table is read."""
    folder = tmp_path_factory.mktemp("experiment")
    made_up(folder, defences=["clip", "roclip", "fixed", "kept"], defence=REPAIRED, detectors=["slof"], data={"held_out": 4000})
    again(folder)
    return folder


@pytest.fixture
def refused(experiment):
    """Whether the report says one line of a file with such a content, and leaves its page as it was."""
    kept = {}

    def says(name, content):
        path = experiment / name
        kept[path] = path.read_bytes()
        path.write_text(content, encoding="utf-8")
        page = (experiment / "report.html").read_bytes()
        with pytest.raises(UserError) as raised:
            run(ReportOptions(experiment, TEMPLATE, experiment / "report.html"))
        assert (experiment / "report.html").read_bytes() == page
        assert "\n" not in str(raised.value)
        return str(raised.value).startswith(str(path))

    yield says
    for path, content in kept.items():
        path.write_bytes(content)


@pytest.mark.parametrize(
    "changes",
    [{"data": 5}, {"data": {}}, {"train": None}, {"train": {"epochs": 8}}, {"seeds": "x"}, {"seeds": 10}, {"sweeps": 5},
     {"downstream": []}, {"experiment": 7}, {"sweeps": {"a": 5}}, {"sweeps": None}],
)  # fmt: skip
def test_a_config_of_another_version_is_one_line(experiment, refused, changes):
    whole = yaml.safe_load((experiment / "config.yaml").read_text())
    assert refused("config.yaml", yaml.safe_dump({**whole, **changes}))


@pytest.mark.parametrize("key", ["data", "train", "downstream", "seeds", "experiment", "sweeps"])
def test_a_config_that_lacks_a_section_is_one_line(experiment, refused, key):
    whole = yaml.safe_load((experiment / "config.yaml").read_text())
    del whole[key]
    assert refused("config.yaml", yaml.safe_dump(whole))


@pytest.mark.parametrize("section", ["data", "train", "downstream"])
def test_a_config_that_lacks_an_option_is_one_line(experiment, refused, section):
    whole = yaml.safe_load((experiment / "config.yaml").read_text())
    whole[section].popitem()
    assert refused("config.yaml", yaml.safe_dump(whole))


@pytest.mark.parametrize(
    "changes",
    [None, {"kind": 5}, {"poisons": -1}, {"poisons": "160"}, {"clean_pairs": 0}, {"evaluation_images": 0}, {"rate": "high"},
     {"rate": None}, {"rate_per_target": []}],
)  # fmt: skip
def test_a_manifest_that_is_none_is_one_line(experiment, refused, changes):
    whole = json.loads((experiment / MANIFEST).read_text())
    assert refused(MANIFEST, json.dumps({} if changes is None else {**whole, **changes}))


@pytest.mark.parametrize(
    "claims", [{}, None, [5], [{"about": "took"}], [{"about": [], "text": "x"}], [{"about": "x", "text": 5}]]
)
def test_claims_that_are_none_are_one_line(refused, claims):
    assert refused("tables/claims.json", json.dumps(claims))


@pytest.mark.parametrize(
    ("table", "column", "cell"),
    [("results", "value", "high"), ("results", "n", "1e400"), ("results", "attack", "gone"), ("results", "defence", "gone"),
     ("took", "attack_success", "x"), ("equal_accuracy", "low", "-"), ("equal_accuracy", "reached", "-"),
     ("equal_accuracy", "seeds", "²"), ("front", "accuracy_before", "x"), ("front", "success", "inf"),
     ("filters", "poisons_left", "x"), ("filters", "kept", "-1"), ("detection", "auroc", "x"),
     ("detection", "n", ""), ("detection", "n", "0"), ("detection", "detector", "gone"), ("results", "sd", "1_0"),
     ("equal_accuracy", "success", "30"), ("equal_accuracy", "accuracy", "-0.8"), ("front", "success", "12.3"),
     ("took", "took", "Yes"), ("took", "took", ""), ("results", "value", "93.75"), ("results", "value", "0.01")],
)  # fmt: skip
def test_a_cell_that_is_no_number_or_of_another_run_is_one_line(experiment, refused, table, column, cell):
    with open(experiment / f"tables/{table}.csv", encoding="utf-8", newline="") as file:
        header, first, *rows = csv.reader(file)
    first[header.index(column)] = cell
    lines = [",".join(f'"{each}"' for each in row) for row in (header, first, *rows)]
    assert refused(f"tables/{table}.csv", "\n".join(lines) + "\n")


@pytest.mark.parametrize("table", ["results", "took", "equal_accuracy", "front"])
def test_a_row_that_is_there_twice_is_one_line(experiment, refused, table):
    text = (experiment / f"tables/{table}.csv").read_text(encoding="utf-8")
    rows = list(csv.reader(text.splitlines(keepends=True)))
    assert refused(f"tables/{table}.csv", text + ",".join(f'"{each}"' for each in rows[1]) + "\n")


@pytest.mark.parametrize(
    ("table", "column"),
    [("front", "accuracy"), ("front", "success"), ("front", "accuracy_before"), ("took", "attack_success_low"),
     ("took", "attack_success_seeds"), ("took", "control"), ("equal_accuracy", "low"), ("results", "value"), ("results", "sd")],
)  # fmt: skip
def test_a_share_may_be_empty(experiment, table, column):
    path = experiment / f"tables/{table}.csv"
    kept = path.read_bytes()
    rows = [row | {column: ""} for row in read_table(path, (column,))]
    write_table(path, tuple(rows[0]), rows)
    again(experiment)
    path.write_bytes(kept)
