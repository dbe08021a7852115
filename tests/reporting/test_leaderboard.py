"""The leaderboard's files: what a finished experiment gives, every number as its tables have it, and what is refused."""

import base64
import os
import shutil
import subprocess
from dataclasses import replace
from io import BytesIO

import pytest
from PIL import Image

from roclip.core.columns import HISTORY, LEADERBOARD, PACE
from roclip.core.errors import UserError
from roclip.core.files import read_table, sha256, write_json, write_table
from roclip.core.provenance import write_record
from roclip.experiment.plan import write_plan
from roclip.experiment.steps import Step
from roclip.reporting.board.costs import Costs
from roclip.reporting.board.entries import read_entries
from roclip.reporting.board.entry import experiment_of
from roclip.reporting.leaderboard import main
from tests.conftest import ROOT, SCENES
from tests.fixtures.configs import write_data
from tests.fixtures.experiment import EPOCHS, NOTING, history_rows, kind_of, made_up, made_up_plan, point
from tests.fixtures.experiments import RECORD

pytestmark = pytest.mark.usefixtures("noting")

DEFENCES = {"clip": "clip", "noting": NOTING}
SWEEP = {"ages": [point("noting", {"age": 3})]}
SECONDS = {"clip": 2.0, NOTING: 3.0}  # of an epoch, by kind
CONFIGS = {
    "experiment: world": "world", "a: 2024-13-45": None, f"a: {'9' * 5000}": None, 'a: !!int "x"': None, "[1]": None,
    f"a: {'[' * 3000}": None, "experiment: [1]\n? [1]\n: 2": None, "a: \x00": None, "a: &a [*a]": None, "": None, "a: 1": None,
}  # fmt: skip


@pytest.mark.parametrize("text", CONFIGS)
def test_any_file_beside_the_configs_is_one_or_is_passed_over(tmp_path, text):
    (tmp_path / "q.yaml").write_text(text)
    assert experiment_of(tmp_path / "q.yaml") == CONFIGS[text]


def test_what_is_no_file_beside_the_configs_is_passed_over(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    (tmp_path / "dangling.yaml").symlink_to("nothing")
    assert [experiment_of(path) for path in sorted(tmp_path.iterdir())] == [None] * 4


def finished(folder, drawn=True):
    """A finished experiment with made-up results: attacks none, images and trigger, seeds 10 and 11, a sweep of a defence."""
    plan = made_up_plan(DEFENCES, SWEEP, experiment=folder.name)
    made_up(folder, plan)
    tables = {} if drawn else {"train": "photos/train.csv"}
    write_data(folder, roots=[str(folder)], tables=tables, classes=str(SCENES / "classes.txt"))
    for attack in plan.attack_folders():
        kind = attack.split("/")[0]
        poisons = 10 if plan.family[kind] != "clean" else 0
        counts = {"kind": kind, "clean_pairs": 1000, "poisons": poisons, "rate": poisons / 1000, "evaluation_images": 3}
        write_json(folder / "attacks" / attack / "manifest.json", counts)
    history = list(history_rows(plan))
    for attack, step, seed in plan.runs:
        of = folder / f"models/{attack}/{step}/seed{seed}"
        its = [row for row in history if (row["attack"], row["defence"], row["seed"]) == (attack, step, seed)]
        write_table(of / "history.csv", tuple(HISTORY), [{name: row[name] for name in HISTORY} for row in its])
        pace = [{"epoch": r["epoch"], "kind": r["kind"], "pairs_per_second": 9, "seconds": SECONDS[r["kind"]]} for r in its]
        write_table(of / "pace.csv", tuple(PACE), pace)
        write_record(of / "train.record.json", RECORD | {"commit": f"c0ffee{seed}"})
    return folder


def added(tmp_path, folder, *flags):
    """The rows that the command writes for an experiment, by attack and defence."""
    board = tmp_path / "board"
    assert main(["--add", str(folder), "--by", "Ada", "--config", "mine.yaml", "--folder", str(board), *flags]) == 0
    assert (board / "index.html").is_file()
    rows = read_table(board / f"{folder.name}.csv", tuple(LEADERBOARD))
    assert list(rows[0]) == list(LEADERBOARD)
    return {(row["attack"], row["defence"]): row for row in rows}


def test_a_row_for_each_attack_and_each_defence_that_is_no_variant(tmp_path):
    rows = added(tmp_path, finished(tmp_path / "made"))
    assert list(rows) == [(attack, defence) for attack in ("none", "images", "trigger") for defence in DEFENCES]
    row = rows["images", "clip"]
    expected = {
        "experiment": "made", "dataset": "drawn scenes, 50 classes, 1,000 pairs", "drawn": "1", "model": "small.json",
        "pairs": "1000", "kind": "images", "family": "targeted", "poisons": "10", "checkpoint": "last_clip", "seeds": "2",
        "judged": "100", "learned": "1", "commit": "c0ffee10 c0ffee11", "config": "mine.yaml", "computed_by": "Ada",
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    results = read_table(tmp_path / "made/tables/results.csv", ("attack",))
    for measure in ("attack_success", "control", "zero_shot"):
        (result,) = (
            r for r in results
            if (r["attack"], r["defence"], r["checkpoint"], r["measure"]) == ("images", "clip", "last_clip", measure)
        )  # fmt: skip
        cells = {"": result["value"], "_low": result["low"], "_high": result["high"]}
        assert all(row[f"{measure}{end}"] == (f"{float(cell):.6f}" if cell else "") for end, cell in cells.items())
    assert rows["none", "clip"]["attack_success"] == rows["none", "clip"]["judged"] == ""


def test_success_at_equal_accuracy_and_the_curves_are_means_over_seeds(tmp_path):
    row = added(tmp_path, finished(tmp_path / "made"))["images", "noting"]
    # the accuracy is .5 from the first epoch on, when success was .1 and .2
    assert (row["equal_accuracy"], row["equal_success"]) == ("0.500000", "0.150000")
    assert float(row["equal_success_low"]) < 0.15 < float(row["equal_success_high"])
    assert row["curve_kinds"].split() == [kind_of(epoch, 2) for epoch in range(1, EPOCHS + 1)]
    assert row["curve_zero_shot"].split() == ["0.5000"] * EPOCHS
    assert row["curve_success"].split() == [f"{epoch / 10 + 0.05:.4f}" for epoch in range(1, EPOCHS + 1)]


def test_the_cost_is_in_epochs_of_the_baseline(tmp_path):
    rows = added(tmp_path, finished(tmp_path / "made"))
    assert (rows["images", "clip"]["cost"], rows["images", "clip"]["cost_from"]) == ("6.00", "measured")
    assert rows["images", "noting"]["cost"] == "7.50"  # three epochs of 2 s and three of 3 s, and one of clip takes 2 s


def test_the_cost_is_a_mean_over_seeds(tmp_path):
    costs = Costs(made_up_plan(DEFENCES), finished(tmp_path / "made"))
    for defence, seconds in (("clip", 4), ("noting", 5)):  # of every epoch, twice those of seed 10
        path = costs.models / f"images/{defence}/seed11/pace.csv"
        write_table(path, tuple(PACE), [row | {"seconds": seconds} for row in read_table(path, tuple(PACE))])
    assert costs.cost("images", "noting", [10, 11]) == ((15 + 30) / 2 / 3, "measured")


def test_of_a_baseline_with_several_kinds_of_epochs_those_of_clip_are_the_unit(tmp_path):
    costs = Costs(made_up_plan(DEFENCES, baseline="noting"), finished(tmp_path / "made"))
    assert costs.cost("images", "noting", [10, 11]) == (7.5, "measured")


def test_the_cost_has_the_training_on_another_attack_that_a_training_starts_from(tmp_path):
    plan = made_up_plan(DEFENCES | {"tuned": "clip"})
    plan.models["tuned"] = Step("tuned", "train", {"kind": "clip"}, start_from="clip", start_attack="images")
    folder = finished(tmp_path / "made")
    shutil.copytree(folder / "models/images/clip", folder / "models/copies/tuned")
    costs = Costs(plan, folder)
    assert costs.cost("copies", "tuned", [10]) == (12.0, "counted")
    (folder / "models/images/clip/seed10/history.csv").unlink()
    assert costs.cost("copies", "tuned", [10])[1] == ""


def test_without_seconds_epochs_are_counted_but_not_those_of_a_repair(tmp_path):
    plan = made_up_plan(DEFENCES | {"repaired": "clip"})
    plan.models["repaired"] = Step("repaired", "repair", {"kind": "finetune"}, start_from="clip")
    folder = finished(tmp_path / "made")
    costs = Costs(plan, folder)
    shutil.copytree(folder / "models/images/clip", folder / "models/images/repaired", dirs_exist_ok=True)
    assert costs.cost("images", "repaired", [10]) == (12.0, "measured")  # the training that it repairs is part of it
    (folder / "models/images/clip/seed10/pace.csv").write_text("epoch,kind,pairs_per_second,seconds\n1,clip,9,2\n2,clip,9,x\n")
    assert costs.cost("images", "clip", [10, 11]) == (6.0, "counted")
    assert costs.cost("images", "noting", [10]) == (6.0, "counted")
    (cost, source) = costs.cost("images", "repaired", [10])
    assert cost != cost
    assert source == ""


def test_a_model_that_has_learned_nothing_has_no_attack_success(tmp_path):
    folder = finished(tmp_path / "made")
    path = folder / "tables/results.csv"
    rows = read_table(path, ("attack",))
    write_table(path, tuple(rows[0]), [row | {"learned": "0" if row["defence"] == "noting" else "1"} for row in rows])
    found = added(tmp_path, folder)
    blind = found["images", "noting"]
    assert [blind[name] for name in ("learned", "attack_success", "attack_success_low", "equal_success")] == ["0", "", "", ""]
    assert blind["zero_shot"] != ""
    assert found["images", "clip"]["learned"] == "1"


def test_pictures_are_of_drawn_scenes_alone(tmp_path):
    drawn = added(tmp_path, finished(tmp_path / "made"))
    assert [key for key, row in drawn.items() if row["pictures"]] == [("images", "clip"), ("trigger", "clip")]
    images = drawn["trigger", "clip"]["pictures"].split()
    opened = [Image.open(BytesIO(base64.b64decode(image))) for image in images]
    assert [image.size for image in opened] == [(8, 8)] * 4
    assert opened[1].getpixel((0, 0)) == (0, 0, 200)  # sample.png
    assert "with the trigger" in drawn["trigger", "clip"]["picture_texts"]
    assert "wanted class: cup" in drawn["images", "clip"]["picture_texts"]
    photographs = added(tmp_path, finished(tmp_path / "photos", drawn=False), "--dataset", "Flickr8k")
    assert {(row["drawn"], row["dataset"], row["pictures"]) for row in photographs.values()} == {("0", "Flickr8k", "")}
    assert "data:image/png;base64" in (tmp_path / "board/index.html").read_text()
    (tmp_path / "board/made.csv").unlink()
    main(["--folder", str(tmp_path / "board")])
    assert "data:image/png;base64" not in (tmp_path / "board/index.html").read_text()


def test_photographs_go_by_the_name_of_their_experiment(tmp_path):
    rows = added(tmp_path, finished(tmp_path / "photos", drawn=False))
    assert {row["dataset"] for row in rows.values()} == {"photos"}


def test_what_is_written_can_be_read(tmp_path):
    added(tmp_path, finished(tmp_path / "made"))
    added(tmp_path, finished(tmp_path / "other"))
    assert [row["experiment"] for row in read_entries(tmp_path / "board")] == ["made"] * 6 + ["other"] * 6


def test_an_experiment_may_be_added_again_and_another_of_its_name_may_not(tmp_path):
    folder = finished(tmp_path / "made")
    first = added(tmp_path, folder)
    assert added(tmp_path, folder) == first
    before = (tmp_path / "board/made.csv").read_bytes()
    drawn = "drawn scenes, 50 classes, 1,000 pairs"
    for by, *flags in (
        ("Grace", "--config", "mine.yaml"),
        ("Ada", "--config", "other.yaml"),
        ("Ada", "--dataset", "x", "--config", "mine.yaml"),
    ):
        with pytest.raises(
            UserError, match=f"made.csv: two experiments of one name, that one is mine.yaml, Ada, {drawn}; give"
        ):
            main(["--add", str(folder), "--by", by, *flags, "--folder", str(tmp_path / "board")])
    assert (tmp_path / "board/made.csv").read_bytes() == before


def test_an_experiment_may_be_added_in_parts_attack_by_attack(tmp_path, caplog):
    caplog.set_level("INFO")
    folder = finished(tmp_path / "made")
    whole = added(tmp_path, folder)
    results = folder / "tables/results.csv"
    rows = read_table(results, ("attack",))
    write_table(results, tuple(rows[0]), [row for row in rows if row["attack"] == "images" and row["defence"] == "clip"])
    part = added(tmp_path, folder)
    # of an attack that is in both no defence of the earlier results is left, for equal accuracy is among those of one run
    assert set(part) == {key for key in whole if key[0] != "images"} | {("images", "clip")}
    assert all(part[key] == whole[key] for key in part)
    assert "rows of other attacks are kept: none, trigger" in caplog.text


def test_an_experiment_without_results_or_name_is_one_line(tmp_path):
    board = ["--folder", str(tmp_path / "board")]
    with pytest.raises(UserError, match=f"^{tmp_path}: no plan.json; run its workflow first$"):
        main(["--add", str(tmp_path), "--by", "Ada", *board])
    folder = finished(tmp_path / "made")
    with pytest.raises(UserError, match=r"^--by: say who computed it"):
        main(["--add", str(folder), *board])
    with pytest.raises(UserError, match=r"^--config: 0 files in config/ are of the experiment made; name the file"):
        main(["--add", str(folder), "--by", "Ada", *board])
    plan = made_up_plan(DEFENCES, SWEEP, experiment="made")
    write_plan(folder / "plan.json", replace(plan, runs=[run for run in plan.runs if run[0] != "none"]))
    with pytest.raises(UserError, match=r"made/tables/results.csv: has none against clip, .* to its end first$"):
        main(["--add", str(folder), "--by", "Ada", "--config", "x", *board])
    write_plan(folder / "plan.json", plan)
    (folder / "models/images/clip/seed10/train.record.json").unlink()
    with pytest.raises(UserError, match=r"train.record.json: no such file"):
        main(["--add", str(folder), "--by", "Ada", "--config", "x", *board])
    (folder / "tables/results.csv").unlink()
    with pytest.raises(UserError, match=f"^{folder}: no tables/results.csv; run its workflow first$"):
        main(["--add", str(folder), "--by", "Ada", *board])
    assert not (tmp_path / "board").exists()


@pytest.mark.parametrize("name", ["tables/results.csv", "tables/history.csv", "attacks/trigger/seed10/manifest.json"])
def test_what_was_changed_after_its_stage_wrote_it_is_not_added(tmp_path, name):
    path = finished(tmp_path / "made") / name
    write_record(path.parent / "gather.record.json", RECORD | {"stage": "gather", "outputs": {path.name: sha256(path)}})
    added(tmp_path, tmp_path / "made")
    path.write_text(f"{path.read_text()}\n")  # whatever it says now
    with pytest.raises(UserError, match=rf"made/{name}: changed after gather wrote it, says .*gather\.record\.json; remove it"):
        added(tmp_path, tmp_path / "made")


def test_the_config_file_is_found_by_the_name_of_the_experiment(tmp_path):
    board = tmp_path / "board"
    main(["--add", str(finished(tmp_path / "easy")), "--by", "Ada", "--folder", str(board)])
    assert {row["config"] for row in read_entries(board)} == {"config/easy.yaml"}


def test_git_tracks_the_files_of_the_leaderboard_and_nothing_else_that_is_made():
    names = ("leaderboard/mine.csv", "leaderboard/index.html", "leaderboard/.mine.1.part.csv", "mine/tables/results.csv")
    asked = subprocess.run(
        ["git", "check-ignore", *(f"results/{name}" for name in names)], cwd=ROOT, capture_output=True, text=True
    )
    if asked.returncode == 128:
        pytest.skip("not in a git repository")
    assert asked.stdout.split() == [f"results/{name}" for name in names[1:]]
