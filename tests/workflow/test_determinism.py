"""The same code on the same data writes the same bytes: in any folder, on any number of cores, however Python hashes."""

import shutil
from pathlib import Path

import pytest

from roclip.core.files import sha256
from roclip.core.provenance import read_record
from tests.conftest import copy_of_the_project, snakemake

pytestmark = pytest.mark.slow
TIMED = ("logs", "benchmarks", "report.html", "pace.csv")  # say when, or how long


def digests(results: Path) -> dict[str, str]:
    """The sha256 of each file by its path, without hidden ones and those that say how long something took."""
    files = (path for path in results.rglob("[!.]*") if path.is_file())
    return {
        str(path.relative_to(results)): sha256(path)
        for path in files
        if not {*TIMED} & {path.name, path.relative_to(results).parts[0]}
    }


def differing(first: dict[str, str], second: dict[str, str]) -> list[str]:
    """The files whose bytes differ; both have the same files."""
    assert first.keys() == second.keys()
    return [name for name, digest in first.items() if second[name] != digest]


def test_two_runs_draw_and_poison_the_same_bytes(finished, tmp_path):
    again = copy_of_the_project(tmp_path / "in another/folder")
    snakemake(again, "--cores", "1", "--", "attacks", PYTHONHASHSEED="23")
    first, second = (digests(project / "results/test") for project in (finished, again))
    assert differing({name: first[name] for name in second}, second) == []
    assert {name for name in first if name.startswith(("data/", "attacks/"))} <= second.keys()


def test_two_runs_write_the_same_bytes_from_the_training_on(finished, tmp_path):
    """Of one of four models; what the others made is there, and goes into the tables and figures again."""
    again = tmp_path / "in another/folder"
    shutil.copytree(finished, again)
    for part in ("models/targeted/roclip", "measures/targeted/roclip", "tables", "figures"):
        shutil.rmtree(again / "results/test" / part)
    snakemake(again, "--cores", "1", PYTHONHASHSEED="23")
    first, second = (digests(project / "results/test") for project in (finished, again))
    assert {name.rpartition(".")[2] for name in first} == {
        "csv", "json", "md", "npz", "pdf", "png", "safetensors", "tex", "tsv", "yaml",
    }  # fmt: skip
    assert differing(first, second) == []


def test_all_defences_are_trained_on_the_same_poisons(finished):
    """There is one set of them, whose place names no defence."""
    results = finished / "results/test"
    for attack in ("targeted", "patch"):
        (table,) = (results / "attacks" / attack).rglob("train.csv")
        for defence in ("clip", "roclip"):
            inputs = read_record(results / f"models/{attack}/{defence}/seed10/train.record.json")["inputs"]
            assert inputs[f"../../../../{table.relative_to(results)}"] == sha256(table)
