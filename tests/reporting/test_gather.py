"""The table: pooled counts, intervals, every written column, and the results at a glance."""

import pytest

from roclip.core.errors import UserError
from roclip.core.files import read_table, write_json, write_table
from roclip.reporting import gather
from roclip.reporting.gather import MEASURES, TableOptions, markdown, model_of, pooled
from roclip.reporting.results import families, results
from roclip.training.schedule import HISTORY


def row(attack="a", method="clip", seed="0", exam="a", hits=1, n=4, measure="attack_success_top1", checkpoint="last_clip"):
    return {
        "attack": attack, "method": method, "seed": seed, "checkpoint": checkpoint, "exam": exam, "measure": measure,
        "hits": hits, "n": n,
    }  # fmt: skip


def test_pooling_adds_hits_and_n_over_seeds_only():
    rows = pooled([row(seed="0", hits=1, n=4), row(seed="1", hits=3, n=16), row(method="roclip", hits=0, n=4)])
    totals = {r["method"]: (r["hits"], r["n"]) for r in rows if r["seed"] == "all"}
    assert totals == {"clip": (4, 20), "roclip": (0, 4)}
    assert len(rows) == 5


def glance(rows, kinds=("a=targeted", "b=patch")):
    return markdown(results(rows, families(kinds)))


def test_the_results_at_a_glance():
    rows = [
        row(attack="a", exam="a", hits=9, n=10),
        row(attack="b", exam="a", hits=3, n=20),
        row(attack="a", exam="test", measure="zero_shot_top1", hits=1, n=4),
        row(attack="a", exam="test", measure="linear_probe", hits=1, n=2),
    ]
    assert "| a | clip | last_clip | 1 | 90.0 [55.5, 99.7] | 15.0 [3.2, 37.9] | 25.0 | 50.0 |" in glance(rows)
    again = [r | {"seed": "1", "hits": r["hits"] + 1} for r in rows]
    assert "| 2 | 95.0 [75.1, 99.9] | 17.5 [7.3, 32.8] | 37.5 ± 17.7 | 75.0 ± 35.4 |" in glance(rows + again)


def test_nothing_counted_is_a_dash_never_a_zero():
    assert "| a | clip | last_clip | 1 | 0.0 [0.0, 60.2] | – | – | – |" in glance([row(hits=0)])


def test_variants_are_not_at_a_glance():
    rows = [row(), row(attack="a~poisons~5", exam="a~poisons~5"), row(method="clip~pool_size~5")]
    assert glance(rows, kinds=("a=targeted", "a~poisons~5=targeted")).count("\n| a") == 1


def write_model(folder, hits=2, outcomes="11" + 14 * "0"):
    exam = {"checkpoint": "last_clip", "exam": "targeted", "measure": "attack_success_top1", "hits": hits, "n": 16}
    write_json(folder / "attack_success.json", [exam | {"outcomes": outcomes}, exam | {"measure": "attack_success_top3"}])
    write_table(folder / "history.csv", HISTORY, [dict.fromkeys(HISTORY, 1)])
    return folder


def options(tmp_path, *folders, sweeps=()):
    measures = tuple(folder / "attack_success.json" for folder in folders)
    histories = tuple(folder / "history.csv" for folder in folders)
    return TableOptions("test", ("targeted=targeted",), sweeps, measures, histories, tmp_path / "tables")


def test_columns_and_values_of_the_written_tables(tmp_path):
    clip = write_model(tmp_path / "targeted/clip/seed7", 16, 16 * "1")
    roclip = write_model(tmp_path / "targeted/roclip/seed7")
    gather.run(options(tmp_path, clip, roclip, sweeps=("pool|pool_size 800|targeted|roclip|targeted|roclip", "more||a|b|a|b")))
    written = {path.name: path.read_text() for path in (tmp_path / "tables").iterdir()}
    assert {name: text.partition("\n")[0] for name, text in written.items() if name.endswith(".csv")} == {
        "measures.csv": "experiment,attack,method,seed,checkpoint,exam,measure,value,n,low,high",
        "results.csv": "attack,method,checkpoint,seeds,success,success_n,success_low,success_high,"
        "control,control_n,control_low,control_high,zero_shot,zero_shot_sd,linear_probe,linear_probe_sd",
        "differences.csv": "attack,checkpoint,baseline,method,n,baseline_success,success,difference,low,high",
        "sweeps.csv": "sweep,setting,base_attack,base_method,attack,method",
        "history.csv": "attack,method,seed," + ",".join(HISTORY),
    }
    rows = read_table(tmp_path / "tables/measures.csv", MEASURES)
    one, pool = (r for r in rows if r["method"] == "roclip" and r["measure"] == "attack_success_top1")
    assert (one["experiment"], one["attack"], one["method"], one["seed"], one["n"]) == ("test", "targeted", "roclip", "7", "16")
    assert [float(one[key]) for key in ("value", "low", "high")] == pytest.approx([0.125, 0.0155, 0.3835], abs=1e-4)
    assert pool == one | {"seed": "all"}
    assert "1100" not in written["measures.csv"]  # outcomes stay in the measure's own file
    assert written["results.csv"].splitlines()[2] == "targeted,roclip,last_clip,1,0.125000,16,0.015514,0.383476" + 8 * ","
    columns = ("n", "baseline", "method", "baseline_success", "difference")
    assert [tuple(row[c] for c in columns) for row in read_table(tmp_path / "tables/differences.csv", columns)] == [
        ("16", "clip", "roclip", "1.000000", "0.875000"),
        ("16", "roclip", "clip", "0.125000", "-0.875000"),
    ]
    assert written["sweeps.csv"].splitlines()[1:] == ["pool,pool_size 800,targeted,roclip,targeted,roclip", "more,,a,b,a,b"]
    assert len(read_table(tmp_path / "tables/history.csv", ("attack", "method", "seed", *HISTORY))) == 2


def test_a_point_with_too_few_fields_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"'pool\|400': expected sweep\|setting"):
        gather.run(options(tmp_path, write_model(tmp_path / "targeted/clip/seed7"), sweeps=("pool|400",)))


def test_a_file_belongs_to_the_folders_that_it_lies_in(tmp_path):
    assert model_of(tmp_path / "patch/clip/seed12/zero_shot.json") == {"attack": "patch", "method": "clip", "seed": "12"}
