"""What a GPU call says of the embedded experiment beside the CPUs' numbers; intervals are computed by hand."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu_result
from benchmarks.many import COLUMNS
from roclip.core.columns import RESULTS
from roclip.core.files import read_table, write_table

CPU = {
    "attack_success": {"value": 0.75, "low": 0.4, "high": 0.9, "n": 48, "seeds": 3},
    "zero_shot": {"value": 0.9, "sd": 0.02, "n": 300, "seeds": 3},
}


def lane(seed: int, epoch: int, kind: str, hits: int, zero_shot: int, epochs: int = 4) -> dict:
    return {
        "set": "embedded", "attack": "targeted", "seed": seed, "recipe": "roclip", "epochs": epochs, "epoch": epoch,
        "kind": kind, "target_hits": hits, "targets": 16, "zero_shot_hits": zero_shot, "tests": 100,
    }  # fmt: skip


def stage(seed: int, epoch: int, success: str, zero_shot: str) -> dict:
    return {
        "attack": "targeted", "defence": "roclip", "seed": seed, "epochs": 2, "targets": 16, "tests": 100, "epoch": epoch,
        "kind": "clip", "loss": "1.0", "attack_success": success, "zero_shot": zero_shot, "pairs_per_second": "100",
    }  # fmt: skip


def table(tmp_path: Path, lanes: list[dict], stages: list[dict], cpu: dict | None = None) -> list[dict[str, str]]:
    """The rows that the command writes."""
    write_table(tmp_path / "embedded.csv", COLUMNS, lanes)
    write_table(tmp_path / "stage.csv", gpu_result.STAGE, stages)
    model = {"attack": "targeted", "defence": "roclip", "checkpoint": "last_clip"}
    rows = [{**model, "measure": name, **cells} for name, cells in (cpu or CPU).items()]
    write_table(tmp_path / "results.csv", tuple(RESULTS), [row | {"learned": 1} for row in rows])
    command = [sys.executable, "-m", "benchmarks.gpu_result", tmp_path, "--cpu", tmp_path / "results.csv"]
    subprocess.run([*command, "--out", tmp_path / "result.csv"], check=True, capture_output=True)
    return read_table(tmp_path / "result.csv", gpu_result.COLUMNS)


def test_the_tracked_numbers_of_cpus_are_read(tmp_path):
    """The table that a GPU is compared with when no other is named has the columns of results.csv."""
    write_table(tmp_path / "embedded.csv", COLUMNS, [lane(11, 4, "clip", 10, 91)])
    write_table(tmp_path / "stage.csv", gpu_result.STAGE, [])
    command = [sys.executable, "-m", "benchmarks.gpu_result", tmp_path, "--out", tmp_path / "result.csv"]
    subprocess.run(command, check=True, capture_output=True)
    measures = {row["measure"] for row in read_table(tmp_path / "result.csv", gpu_result.COLUMNS)}
    assert measures == {"attack_success", "zero_shot"}


def test_the_last_epoch_of_each_kind_counts_and_seeds_are_pooled(tmp_path):
    """10 + 8 of 32 is .5625, Clopper and Pearson .3766 to .7361; t of two degrees of freedom is 4.3027."""
    lanes = [lane(11, 3, "clip", 10, 91), lane(11, 4, "matching", 0, 0), lane(11, 1, "clip", 16, 10)]
    lanes += [lane(12, 3, "clip", 8, 79), lane(12, 4, "matching", 0, 0)]
    success, zero_shot = table(tmp_path, lanes, [])
    assert success == {
        "way": "side by side", "attack": "targeted", "defence": "roclip", "checkpoint": "last_clip",
        "measure": "attack_success", "gpu": "56.2", "gpu_low": "37.7", "gpu_high": "73.6", "gpu_seeds": "2",
        "cpu": "75.0", "cpu_low": "40.0", "cpu_high": "90.0", "cpu_seeds": "3", "verdict": "inside",
    }  # fmt: skip
    # .02 * 4.3027 * sqrt(1/3 + 1/2) is .0786
    assert {**zero_shot}.items() >= {
        "gpu": "85.0", "gpu_low": "", "cpu": "90.0", "cpu_low": "82.1", "cpu_high": "97.9", "verdict": "inside",
    }.items()  # fmt: skip


def test_one_seed_has_a_wider_interval_and_overlap_is_said(tmp_path):
    """.02 * 4.3027 * sqrt(1/3 + 1) is .0994; 5 of 16 has .1102 to .5866, 1 of 16 .0016 to .3023."""
    success, zero_shot = table(tmp_path, [], [stage(11, 1, "1.0", "0.1"), stage(11, 2, "0.3125", "0.8")])
    assert (success["way"], success["gpu"], success["gpu_low"], success["gpu_high"]) == ("train stage", "31.2", "11.0", "58.7")
    assert success["verdict"] == "outside, intervals overlap"
    assert (zero_shot["cpu_low"], zero_shot["cpu_high"], zero_shot["verdict"]) == ("80.1", "99.9", "outside")
    success, _ = table(tmp_path, [], [stage(11, 2, "0.0625", "0.8")])
    assert (success["gpu_high"], success["verdict"]) == ("30.2", "outside")


def test_of_one_seed_on_cpus_no_interval_is_known(tmp_path):
    zero_shot = {"zero_shot": {"value": 0.9, "n": 100, "seeds": 1}}
    (row,) = table(tmp_path, [], [stage(11, 2, "0.5", "0.8")], zero_shot)
    assert (row["cpu_low"], row["verdict"]) == ("", "no interval")


def test_trainings_that_were_cut_do_not_count(tmp_path):
    lanes = [lane(11, 3, "clip", 10, 91), lane(12, 3, "clip", 2, 50), lane(12, 4, "matching", 2, 50)]
    success, _ = table(tmp_path, lanes, [stage(11, 1, "1.0", "0.1")])
    assert (success["way"], success["gpu_seeds"], success["gpu"]) == ("side by side", "1", "12.5")


def test_nothing_to_compare_is_one_line(tmp_path):
    with pytest.raises(subprocess.CalledProcessError) as caught:
        table(tmp_path, [lane(11, 3, "clip", 10, 91)], [])
    (line,) = caught.value.stderr.decode().splitlines()
    assert line.startswith(f"error: {tmp_path}: no training there that came to its end")


def test_a_line_that_was_cut_in_the_middle_is_left_out(tmp_path):
    lanes = [lane(11, 4, "clip", 10, 91)]
    write_table(tmp_path / "embedded.csv", COLUMNS, lanes)
    with open(tmp_path / "embedded.csv", "a", newline="") as file:
        csv.writer(file, lineterminator="").writerow(["embedded", "targeted", 12])
    found = gpu_result.checkpoints(gpu_result.rows_of([tmp_path], "embedded.csv"))
    assert [row["seed"] for rows in found.values() for row in rows] == ["11"]
