"""The table: pooled counts, intervals, and the control, which is made of other attacks' models only."""

import pytest

from roclip import table
from roclip.schedule import HISTORY
from roclip.table import MEASURES, TableOptions, control_hits, markdown, model_of, percent, pooled
from roclip.tables import read_table, write_json, write_table


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


def test_the_control_is_other_attacks_same_method_and_checkpoint():
    rows = [
        row(attack="a", exam="a", hits=9, n=10),
        row(attack="b", exam="a", hits=1, n=10),
        row(attack="c", exam="a", hits=2, n=10),
        row(attack="b", exam="b", hits=7, n=10),
        row(attack="b", exam="a", hits=5, n=10, method="roclip"),
        row(attack="b", exam="a", hits=6, n=10, checkpoint="last_matching"),
        row(attack="b", exam="a", hits=8, n=10, measure="attack_success_top3"),
    ]
    assert control_hits(rows, "a", "clip", "last_clip") == (3, 20)
    assert "| a | clip | last_clip | 90.0 [55.5, 99.7] | 15.0 [3.2, 37.9] | – | – |" in markdown(rows)


def test_nothing_counted_is_a_dash_never_a_zero():
    assert percent(0, 0) == "–"
    assert percent(0, 16) == "0.0 [0.0, 20.6]"


def test_columns_and_values_of_the_written_table(tmp_path):
    folder = tmp_path / "targeted/roclip/seed7"
    rows = [{"checkpoint": "last_clip", "exam": "targeted", "measure": "attack_success_top1", "hits": 2, "n": 16}]
    write_json(folder / "attack_success.json", rows)
    write_table(folder / "history.csv", HISTORY, [dict.fromkeys(HISTORY, 1)])
    table.run(TableOptions("test", (folder / "attack_success.json",), (folder / "history.csv",), tmp_path / "tables"))
    header = (tmp_path / "tables/measures.csv").read_text().splitlines()[0]
    assert header == "experiment,attack,method,seed,checkpoint,exam,measure,value,n,low,high"
    one, pool = read_table(tmp_path / "tables/measures.csv", MEASURES)
    assert (one["experiment"], one["attack"], one["method"], one["seed"], one["n"]) == ("test", "targeted", "roclip", "7", "16")
    assert [float(one[key]) for key in ("value", "low", "high")] == pytest.approx([0.125, 0.0155, 0.3835], abs=1e-4)
    assert pool == one | {"seed": "all"}
    assert len(read_table(tmp_path / "tables/history.csv", ("attack", "method", "seed", *HISTORY))) == 1


def test_a_file_belongs_to_the_folders_that_it_lies_in(tmp_path):
    assert model_of(tmp_path / "patch/clip/seed12/zero_shot.json") == {"attack": "patch", "method": "clip", "seed": "12"}
