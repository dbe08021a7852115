"""The line about a run's times, against spans and histories that are known."""

import os

import pytest

from roclip.core.files import write_table
from roclip.experiment.run_times import covered, expected_time, run_times, trainings_at_a_time


@pytest.mark.parametrize(
    ("spans", "length"),
    [([], 0), ([(1, 3)], 2), ([(1, 3), (2, 4)], 3), ([(5, 6), (1, 3)], 3), ([(1, 9), (2, 3)], 8)],
)
def test_what_ran_side_by_side_counts_once(spans, length):
    assert covered(spans) == length


def training(results, seed: int, ended: float, seconds: float, stage: str = "train") -> None:
    benchmark = results / f"benchmarks/{stage}/targeted/clip/seed{seed}.tsv"
    write_table(benchmark, ("s", "max_rss"), [{"s": seconds, "max_rss": 900}])
    os.utime(benchmark, (ended, ended))
    rows = [
        {"epoch": 1, "kind": "clip", "pairs_per_second": 1000, "seconds": 30},
        {"epoch": 2, "kind": "clip", "pairs_per_second": 500, "seconds": 60},
        {"epoch": 3, "kind": "matching", "pairs_per_second": 1500, "seconds": 20},
    ]
    write_table(results / f"models/targeted/clip/seed{seed}/pace.csv", tuple(rows[0]), rows)


def test_the_share_without_training_is_of_the_wall_time(tmp_path):
    training(tmp_path, 1, ended=1100, seconds=60)  # 1040 to 1100
    training(tmp_path, 2, ended=1150, seconds=80)  # 1070 to 1150: together 110 of 200 s
    training(tmp_path, 3, ended=900, seconds=80)  # of an earlier run
    line = run_times(tmp_path, 1000, 1200)
    assert line == (
        "The run took 3.3 min, 45% of it without training; each of 2 trainings: "
        "667 pairs/s in clip epochs, 1500 pairs/s in matching epochs."
    )


def test_a_run_that_trained_nothing_says_so(tmp_path):
    training(tmp_path, 1, ended=900, seconds=60)
    assert run_times(tmp_path, 1000, 1060) == "The run took 1.0 min, without any training."


def test_the_expected_time_is_from_the_trainings_so_far(tmp_path):
    training(tmp_path, 1, ended=1100, seconds=180)  # 90,000 pairs
    line = expected_time(tmp_path, [60_000, 60_000, 120_000], side_by_side=2)
    assert line.startswith(
        "3 trainings to do, 0.2 million pairs in all: about 4 min, 2 at a time with 500 pairs/s each (as in this"
    )
    assert "about 2 min, 1 at a time" in expected_time(tmp_path, [60_000], side_by_side=2)


def test_before_the_first_training_it_is_from_the_benchmark(tmp_path):
    assert "benchmarks/training.csv, on another machine" in expected_time(tmp_path, [1000], side_by_side=2)
    assert expected_time(tmp_path, [], side_by_side=2) == "No training to do."


def test_a_repair_is_a_training_too(tmp_path):
    training(tmp_path, 1, ended=1050, seconds=50, stage="repair")
    assert run_times(tmp_path, 1000, 1100).startswith(
        "The run took 1.7 min, 50% of it without training; one training: 667 pairs/s"
    )


HEADER = "epoch,kind,pairs_per_second,seconds\n"
BROKEN = ("", HEADER, "epoch,kind\n1,clip\n", "\0\xff", *(f"{HEADER}1,clip,{cells}\n" for cells in ("x,", "nan,0", "1e999,-1")))


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_pace_stops_no_run(tmp_path, content):
    training(tmp_path, 1, ended=1050, seconds=180)
    training(tmp_path, 2, ended=1050, seconds=180)
    (tmp_path / "models/targeted/clip/seed2/pace.csv").write_bytes(content.encode("latin-1"))
    assert "with 500 pairs/s each (as in this" in expected_time(tmp_path, [60_000], side_by_side=1)
    assert "each of 2 trainings: 667 pairs/s in clip epochs" in run_times(tmp_path, 1000, 1100)
    (tmp_path / "models/targeted/clip/seed1/pace.csv").unlink()
    assert "on another machine" in expected_time(tmp_path, [60_000], side_by_side=1)


@pytest.mark.parametrize(
    "content", ["", "s\n", "max_rss\n1\n", "\0\xff", "s\nx\n", "s\n0\n", "s\nnan\n", "s\n-1\n", "s\tmax_rss\n1\n"]
)
def test_a_broken_benchmark_stops_no_run(tmp_path, content):
    training(tmp_path, 1, ended=1050, seconds=180)
    training(tmp_path, 2, ended=1050, seconds=180)
    (tmp_path / "benchmarks/train/targeted/clip/seed2.tsv").write_bytes(content.encode("latin-1"))
    (tmp_path / "benchmarks/train/targeted/clip/seed3.tsv").mkdir()
    assert "with 500 pairs/s each (as in this" in expected_time(tmp_path, [60_000], side_by_side=1)
    os.utime(tmp_path / "benchmarks/train/targeted/clip/seed2.tsv", (1050, 1050))
    assert "one training: 667" in run_times(tmp_path, 1000, 1100)


def test_without_any_measurement_the_trainings_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("roclip.experiment.run_times.BENCHMARK", tmp_path / "none.csv")
    assert expected_time(tmp_path, [1_000_000, 500_000], side_by_side=2) == "2 trainings to do, 1.5 million pairs in all."


@pytest.mark.parametrize(
    ("slots", "cores", "gpus", "taken", "expected"),
    [
        (None, 2, None, [], 2), (None, None, None, [], 1), (None, 8, 2, [1, 1], 2), (None, 8, 4, [2], 2), (None, 8, 1, [2], 1),
        (20, 16, None, [1], 20), (20, 16, 4, [1], 4), (None, 8, 2, [0, 0], 8),
    ],
)  # fmt: skip
def test_how_many_trainings_run_at_a_time(slots, cores, gpus, taken, expected):
    assert trainings_at_a_time(slots, cores, gpus, 1, taken) == expected
    assert trainings_at_a_time(None, 9, None, 4, []) == 2
