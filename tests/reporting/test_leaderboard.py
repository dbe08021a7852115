"""The table of several experiments: every model once, numbers as in its results; what has no tables is named and skipped."""

import pytest

from roclip.core.columns import LEADERBOARD, RESULTS
from roclip.core.errors import UserError
from roclip.core.files import read_table, write_table
from roclip.experiment.plan import write_plan
from roclip.experiment.steps import Step
from roclip.reporting.leaderboard import main
from roclip.reporting.results import written
from tests.fixtures.plans import planned, runs_of
from tests.fixtures.results import result


def experiment(folder, *of, **plan):
    """An experiment with the results of some models."""
    rows = [row for rows in of for row in rows]
    write_plan(folder / "plan.json", planned(runs_of(rows), experiment=folder.name, **plan))
    write_table(folder / "tables/results.csv", tuple(RESULTS), written(rows))
    return str(folder)


@pytest.fixture
def folders(tmp_path):
    two = experiment(
        tmp_path / "two", result(hits=16, control=0, zero_shot=0.9, sd=0.01), result(defence="roclip", hits=1),
        result(defence="roclip~pool_size~4", hits=3),
    )  # fmt: skip
    photographs = result("patch", "cleaned", "last_repair", hits=5, n=1000), result("clean", zero_shot=0.25)
    return [two, experiment(tmp_path / "photographs", *photographs, model="RN50|<b>")]


def test_a_row_for_each_model_and_checkpoint_of_every_experiment(folders, tmp_path, capsys):
    assert main([*folders, "--out", str(tmp_path / "board")]) == 0
    rows = read_table(tmp_path / "board/leaderboard.csv", tuple(LEADERBOARD))
    names = ("experiment", "model", "attack", "family", "defence", "checkpoint", "seeds")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("two", "small_model.json", "targeted", "targeted", "clip", "last_clip", "3"),
        ("two", "small_model.json", "targeted", "targeted", "roclip", "last_clip", "1"),
        ("photographs", "RN50|<b>", "patch", "backdoor", "cleaned", "last_repair", "1"),
        ("photographs", "RN50|<b>", "clean", "clean", "clip", "last_clip", "1"),
    ]
    first, last = rows[0], rows[-1]
    shares = ("attack_success", "attack_success_low", "control_high")
    assert [first[name] for name in shares] == ["1.000000", "0.794093", "0.205907"]
    assert [first[name] for name in ("zero_shot", "zero_shot_sd", "linear_probe")] == ["0.900000", "0.010000", ""]
    assert (last["attack_success"], last["control"], last["zero_shot"]) == ("", "", "0.250000")
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "board/leaderboard.md").read_text()
    assert "| targeted | targeted | clip | last CLIP epoch | 3 | 100.0 [79.4, 100.0] | 0.0 [0.0, 20.6] |" in printed
    assert "| 90.0 ± 1.0 | – |" in printed
    assert "last repair epoch" in printed
    assert "<b>" not in printed
    assert len({line.count("|") for line in printed.splitlines()}) == 1


def test_weights_of_another_model_go_by_its_name(tmp_path):
    rows = [*result("patch", "clip", hits=1), *result("patch", "theirs", "given", hits=1)]
    theirs = Step("theirs", "train", {"kind": "given", "model": "RN50-quickgelu", "pixels": "none"})
    repaired = Step("clip", "repair", {"kind": "finetune"}, start_from="theirs")
    folder = experiment(tmp_path / "x", rows, models={"theirs": theirs, "clip": repaired})
    main([folder, "--out", str(tmp_path)])
    assert {row["model"] for row in read_table(tmp_path / "leaderboard.csv", tuple(LEADERBOARD))} == {"RN50-quickgelu"}


def test_without_a_folder_to_write_the_table_is_only_printed(folders, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    assert main(folders) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 + 4
    assert sorted(tmp_path.rglob("*")) == before


def test_folders_without_tables_are_named_and_skipped(folders, tmp_path, capsys, caplog):
    caplog.set_level("INFO")
    (tmp_path / "begun").mkdir()
    write_plan(tmp_path / "begun/plan.json", planned([("patch", "clip", 0)]))
    (tmp_path / "README.md").write_text("no folder")
    main([str(tmp_path / "begun"), str(tmp_path / "README.md"), folders[1], str(tmp_path)])
    assert caplog.messages == [
        f"skipped {tmp_path}/begun: no tables/results.csv; run its workflow first",
        f"skipped {tmp_path}: no plan.json; run its workflow first",
    ]
    assert len(capsys.readouterr().out.splitlines()) == 2 + 2


def test_where_nothing_has_tables_it_is_said_in_one_line(tmp_path):
    with pytest.raises(UserError, match=f"^{tmp_path}: no experiment with tables"):
        main([str(tmp_path)])
