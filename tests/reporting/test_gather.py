"""The tables: which files are read, pooled counts, intervals, every written column, and the results at a glance."""

import itertools
from dataclasses import replace

import pytest

from roclip.core.atomic import completed
from roclip.core.columns import CHECK, DIFFERENCES, HISTORY, LABELLED, MEASURES, MODEL, TOOK
from roclip.core.errors import UserError
from roclip.core.files import read_json, read_table, write_json, write_table
from roclip.core.provenance import recorded
from roclip.evaluation import measures_of
from roclip.experiment.plan import evaluation_sets, write_plan
from roclip.reporting import gather
from roclip.reporting.gather import GatherOptions, markdown, pooled, with_interval
from roclip.reporting.results import control_of, pivot, read_results, results
from tests.fixtures.plans import planned, point
from tests.fixtures.results import counted


def test_pooling_adds_hits_and_n_over_seeds_only():
    rows = pooled([counted(seed="0", hits=1, n=4), counted(seed="1", hits=3, n=16), counted(defence="roclip", hits=0, n=4)])
    totals = {r["defence"]: (r["hits"], r["n"]) for r in rows if r["seed"] == "all"}
    assert totals == {"clip": (4, 20), "roclip": (0, 4)}
    assert len(rows) == 5


def glance(rows):
    return markdown(pivot(results(rows, {"a": "targeted", "b": "backdoor", "a~poisons~5": "targeted"})))


def test_of_pooled_images_only_those_of_targets_have_an_interval():
    plan = planned([("targeted", "clip", 0), ("patch", "clip", 0)])
    row = counted(seed="all", hits=3, n=20)
    assert with_interval(row | {"evaluation_set": "attack-targeted"}, plan)["low"] == "0.032071"
    assert with_interval(row | {"evaluation_set": "attack-patch"}, plan)["low"] == ""
    assert with_interval(row | {"evaluation_set": "own"}, plan)["high"] == ""
    assert with_interval(row | {"evaluation_set": "attack-patch", "seed": "0"}, plan)["high"] == "0.378927"


def test_the_results_at_a_glance():
    rows = [
        counted(attack="a", hits=9, n=10),
        counted(attack="b", hits=3, n=20),
        counted(attack="a", on="own", measure="zero_shot_top1", hits=1, n=4),
        counted(attack="a", on="own", measure="linear_probe", hits=1, n=2),
    ]
    assert "| a | clip | last_clip | 1 | 90.0 [55.5, 99.7] | 15.0 [3.2, 37.9] | 25.0 | 50.0 |" in glance(rows)
    again = [r | {"seed": "1", "hits": r["hits"] + 1} for r in rows]
    assert "| 2 | 95.0 [75.1, 99.9] | 17.5 [7.3, 32.8] | 37.5 ± 17.7 | 75.0 ± 35.4 |" in glance(rows + again)


def test_nothing_counted_is_a_dash_never_a_zero():
    assert "| a | clip | last_clip | 1 | 0.0 [0.0, 60.2] | – | – | – |" in glance([counted(hits=0)])


def test_variants_are_not_at_a_glance():
    rows = [counted(), counted(attack="a~poisons~5", on="attack-a~poisons~5"), counted(defence="clip~pool_size~5")]
    assert glance(rows).count("\n| a") == 1


def test_a_model_is_judged_on_its_own_attack_on_those_it_is_the_control_of_and_downstream_unless_it_is_a_variant():
    runs = [("targeted", "clip", 1), ("patch~poisons~5", "clip", 1), ("clean", "clip", 1), ("warped", "clip", 2)]
    runs += [(attack, "roclip", 1) for attack in ("targeted", "patch", "warped")]
    plan = planned([*runs, ("targeted", "clip~pool_size~5", 1)], sets=["dtd"])
    assert evaluation_sets(plan, *runs[0]) == ["own", "dtd", "attack-targeted"]
    assert evaluation_sets(plan, *runs[1]) == ["own", "attack-patch~poisons~5"]
    assert evaluation_sets(plan, *runs[2]) == ["own", "dtd", "attack-targeted"], "trained without an attack"
    assert evaluation_sets(plan, *runs[3]) == ["own", "dtd", "attack-warped"]
    assert evaluation_sets(plan, *runs[4]) == ["own", "dtd", "attack-targeted", "attack-patch", "attack-warped"]
    assert evaluation_sets(plan, *runs[5]) == ["own", "dtd", "attack-patch", "attack-targeted"], "the first of another family"
    assert evaluation_sets(plan, *runs[6]) == ["own", "dtd", "attack-warped"]
    assert evaluation_sets(plan, "targeted", "clip~pool_size~5", 1) == ["own", "attack-targeted"]


@pytest.mark.parametrize("order", [*itertools.permutations(("targeted", "patch", "clean", "warped"), 3)])
def test_the_control_is_the_one_that_would_be_chosen_if_all_were_judged_on_all(order):
    plan = planned([(attack, "clip", 1) for attack in order])
    for attack in order:
        on = f"attack-{attack}"
        everything = [counted(other, seed="1", on=on) for other in order]
        ours = [row for row in everything if on in evaluation_sets(plan, row["attack"], "clip", 1)]
        if plan.family[attack] != "clean":
            assert control_of(attack, ours, plan.family) == control_of(attack, everything, plan.family)
            assert len(ours) == 2


RUNS = [("targeted", "clip", 7), ("targeted", "roclip", 7)]
SWEEP = [("pool", point({"pool_size": 800})), ("more", point({}, "patch", "clip", "patch", "clip"))]


def write_model(folder, run, hits, telemetry=()):
    """The measures and the history of a model: attack success among 16, everything else 3 of 4."""
    attack, defence, seed = run
    for name in ("own", "attack-targeted"):
        for measure in measures_of(name):
            row = {"checkpoint": "last_clip", "evaluation_set": name, "measure": f"{measure}_top1", "hits": 3, "n": 4}
            if name != "own":
                row |= {"hits": hits, "n": 16, "outcomes": hits * "1" + (16 - hits) * "0"}
            write_json(folder / f"measures/{attack}/{defence}/seed{seed}/{name}/{measure}.json", [row])
    columns = (*HISTORY, *telemetry)
    history = folder / f"models/{attack}/{defence}/seed{seed}/history.csv"
    write_table(history, columns, [dict.fromkeys(columns, 1)])


@pytest.fixture
def experiment(tmp_path):
    """The options of the stage, for an experiment of two models."""
    write_plan(tmp_path / "plan.json", planned(RUNS, SWEEP, experiment="test"))
    write_model(tmp_path, RUNS[0], 16, ["own_pairs"])
    write_model(tmp_path, RUNS[1], 2, ["pool_age"])
    (tmp_path / "classes.txt").write_text("\n".join(map(str, range(100))))
    write_table(tmp_path / "probe.csv", tuple(LABELLED), [{"path": "image.png", "label": "3"}] * 2000)
    for attack in ("targeted", "patch"):
        write_table(tmp_path / f"attacks/{attack}/seed7/check.csv", tuple(CHECK), [])
    places = (tmp_path / name for name in ("plan.json", "measures", "models", "attacks", "classes.txt", "probe.csv"))
    return GatherOptions(*places, validation_images=1000, out=tmp_path / "tables")


def test_columns_and_values_of_the_written_tables(experiment):
    gather.run(experiment)
    written = {path.name: path.read_text() for path in experiment.out.iterdir()}
    assert {name: text.partition("\n")[0] for name, text in written.items() if name.endswith(".csv")} == {
        "measures.csv": "experiment,attack,defence,seed,checkpoint,evaluation_set,measure,value,n,low,high,median_rank",
        "results.csv": "attack,defence,checkpoint,measure,value,low,high,sd,n,seeds,learned",
        "differences.csv": ",".join(DIFFERENCES),
        "equal_accuracy.csv": "attack,defence,seed,kind,at,of,accuracy,success,low,high,reached,seeds,floor,state",
        "equal_differences.csv": (
            "attack,defence,kind,at,other,accuracy,success,other_success,difference,low,high,p,reached,seeds"
        ),
        "front.csv": "attack,repair,defence,epoch,seeds,accuracy,success,accuracy_before,success_before,on_front",
        "took.csv": ",".join(TOOK),
        "sweeps.csv": "sweep,setting,keys,base_attack,base_defence,attack,defence",
        "history.csv": "attack,defence,seed," + ",".join(HISTORY) + ",own_pairs,pool_age",
    }
    rows = read_table(experiment.out / "measures.csv", tuple(MEASURES))
    one, pool = (r for r in rows if r["defence"] == "roclip" and r["measure"] == "attack_success_top1")
    assert (one["experiment"], one["attack"], one["seed"], one["n"]) == ("test", "targeted", "7", "16")
    assert [float(one[key]) for key in ("value", "low", "high")] == pytest.approx([0.125, 0.0155, 0.3835], abs=1e-4)
    assert pool == one | {"seed": "all"}
    assert "1100" not in written["measures.csv"]  # outcomes stay in the measure's own file
    assert "targeted,roclip,last_clip,attack_success,0.125000,0.015514,0.383476,,16,1,1" in written["results.csv"]
    columns = ("about", "n", "baseline", "defence", "baseline_success", "difference", "test", "p", "comparisons", "p_corrected")
    assert [tuple(row[c] for c in columns) for row in read_table(experiment.out / "differences.csv", columns)] == [
        ("", "16", "roclip", "clip", "0.125000", "-0.875000", "mcnemar", "0.0001221", "0", ""),  # 2 ** -13
        ("defence", "16", "clip", "roclip", "1.000000", "0.875000", "mcnemar", "0.0001221", "1", "0.0001221"),
    ]
    assert written["sweeps.csv"].splitlines()[1:] == [
        "pool,pool_size 800,pool_size,targeted,roclip,targeted,roclip",
        "more,,,patch,clip,patch,clip",
    ]
    history = read_table(experiment.out / "history.csv", (*MODEL, *HISTORY))
    assert [(row["defence"], row["own_pairs"], row["pool_age"]) for row in history] == [("clip", "1", ""), ("roclip", "", "1")]


@pytest.mark.parametrize(("rows", "asked"), [(2000, 25), (25, 1000)])
def test_what_is_chance_goes_by_the_images_that_are_used_after_an_epoch(experiment, rows, asked):
    write_table(experiment.validation, tuple(LABELLED), [{"path": "image.png", "label": "3"}] * rows)
    gather.run(replace(experiment, validation_images=asked))
    table = read_table(experiment.out / "equal_accuracy.csv", ("at", "floor"))
    (floor,) = {row["floor"] for row in table if row["at"] != "end"}
    assert floor == f"{0.01 + 3 * (0.01 * 0.99 / 25) ** 0.5:.6f}"  # of 100 classes


def test_what_the_plan_does_not_name_is_not_read(experiment):
    gather.run(experiment)
    before = {path.name: path.read_bytes() for path in experiment.out.iterdir()}
    stale = experiment.measures / "targeted/clip/seed8"
    write_json(stale / "own/zero_shot.json", "no rows at all")
    write_json(experiment.measures / "targeted/clip/seed7/dtd/zero_shot.json", "nor these")
    write_json(experiment.measures / "targeted/clip/seed7/attack-old/attack_success.json", "nor these")
    write_table(experiment.models / "targeted/old/seed7/history.csv", ("x",), [])
    gather.run(experiment)
    assert {path.name: path.read_bytes() for path in experiment.out.iterdir()} == before


@pytest.mark.parametrize("gone", ["own/zero_shot.json", "own/linear_probe.json", "attack-targeted/attack_success.json"])
def test_a_measure_of_the_plan_that_is_missing_is_named(experiment, gone):
    path = experiment.measures / "targeted/roclip/seed7" / gone
    path.unlink()
    with pytest.raises(UserError, match=f"targeted/roclip/seed7/{gone}: no such file"):
        gather.run(experiment)
    assert not experiment.out.exists()


def test_measures_of_another_set_are_refused(experiment):
    path = experiment.measures / "targeted/clip/seed7/own/zero_shot.json"
    write_json(path, [read_json(path)[0] | {"evaluation_set": "dtd"}])
    with pytest.raises(UserError, match=r"own/zero_shot\.json: no measures of the evaluation set own"):
        gather.run(experiment)


NO_ROWS = [[], {}, None, "x", [1], [{}]]
NO_COUNTS = [
    {"hits": 9, "n": 6},
    {"n": 0, "hits": 0},
    {"hits": "3"},
    {"hits": -1},
    {"n": True},
    {"hits": 0.5},
    {"checkpoint": 3},
]


@pytest.mark.parametrize("said", [*NO_ROWS, *NO_COUNTS])
def test_what_is_no_measure_is_one_line(experiment, said):
    path = experiment.measures / "targeted/clip/seed7/own/zero_shot.json"
    write_json(path, [read_json(path)[0] | said] if said in NO_COUNTS else said)
    with pytest.raises(UserError, match=r"own/zero_shot\.json: no rows of a measure; remove it and run the workflow"):
        gather.run(experiment)
    assert not experiment.out.exists()


def test_what_was_measured_twice_is_not_counted_twice(experiment):
    path = experiment.measures / "targeted/clip/seed7/own/zero_shot.json"
    write_json(path, read_json(path) * 2)
    with pytest.raises(UserError, match=r"own/zero_shot\.json: zero_shot_top\d of last_clip twice; remove it and run"):
        gather.run(experiment)
    assert not experiment.out.exists()


@pytest.mark.parametrize(
    ("name", "cell", "said"),
    [
        ("zero_shot", "abc", "zero_shot is 'abc' and no number"),
        ("zero_shot", "7", "zero_shot is 7, not from 0 to 1"),
        ("attack_success", "-3", "attack_success is -3, not from 0 to 1"),
    ],
)
def test_a_history_that_was_edited_is_one_line(experiment, name, cell, said):
    path = experiment.models / "targeted/clip/seed7/history.csv"
    (row,) = read_table(path, tuple(HISTORY))
    write_table(path, tuple(row), [row | {name: cell}])
    with pytest.raises(UserError, match=rf"history\.csv, row 1: {said}; remove the file"):
        gather.run(experiment)
    assert not experiment.out.exists()


def test_a_history_that_has_an_epoch_twice_is_one_line(experiment):
    path = experiment.models / "targeted/clip/seed7/history.csv"
    (row,) = read_table(path, tuple(HISTORY))
    write_table(path, tuple(row), [row, row | {"attack_success": "0.1"}])
    with pytest.raises(UserError, match=r"history\.csv, row 2: a second row of \d+, \w+, as row 1; remove the file"):
        gather.run(experiment)


def test_the_record_holds_what_was_read(experiment):
    completed.clear()  # of what the fixture wrote
    with recorded("gather", experiment):
        gather.run(experiment)
    record = read_json(experiment.out / "gather.record.json")
    read = {
        experiment.plan,
        experiment.classes,
        experiment.validation,
        *experiment.measures.rglob("*.json"),
        *experiment.models.rglob("history.csv"),
        *experiment.attacks.rglob("check.csv"),
    }
    assert set(record["inputs"]) == set(map(str, read))
    assert len(read) == 3 + 2 * (3 + 1) + 2
    assert set(record["outputs"]) == {path.name for path in experiment.out.iterdir()} - {"gather.record.json"}


def test_the_results_of_a_run_are_those_of_its_rows(experiment):
    gather.run(experiment)
    rows = read_results(experiment.out / "results.csv")
    assert [(r["defence"], r["measure"], r["value"]) for r in rows] == [
        ("clip", "attack_success", 1.0), ("clip", "zero_shot", 0.75), ("clip", "linear_probe", 0.75),
        ("roclip", "attack_success", 0.125), ("roclip", "zero_shot", 0.75), ("roclip", "linear_probe", 0.75),
    ]  # fmt: skip
