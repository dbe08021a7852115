"""A call on a GPU machine left whole files, or it is said what is missing."""

import shutil
from pathlib import Path

import pytest

from benchmarks import gpu, gpu_check, gpu_result, many
from roclip.core.files import write_table

PYTEST = "..s\nSKIPPED [1] tests/x.py:3: in a test\n{selected} passed, 1 skipped, {rest} deselected in 2.11s\n"
LOG = """0 s: begins
many: seed 11: done
40 s: files: status 137 after 24 of 20 s
71 s: tests, numbers: status 0 after 51 of 80 s
578 s: ends
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """What a call leaves that came to its end."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "log.txt").write_text(LOG)
    for name in ("machine.txt", "bench.txt"):
        (folder / name).write_text("something\n")
    (folder / "tests.txt").write_text("".join(PYTEST.format(selected=n, rest=20 - n - 1) for n in (2, 5, 10)))
    keys = ("loop", "compiled", "images", "method", "epoch")
    rates = [dict(zip(keys, row, strict=True)) | {"pairs_per_second": 1} for row in sorted(gpu_check.RATES)]
    write_table(folder / "gpu.csv", gpu.COLUMNS, rates)
    runs = [
        {"attack": attack, "seed": seed, "epochs": 2, "epoch": epoch} | {column: defence}
        for column in ("recipe", "defence") for seed in (11, 12) for attack in ("targeted", "patch")
        for defence in ("clip", "roclip") for epoch in (1, 2)
    ]  # fmt: skip
    write_table(folder / "embedded.csv", many.COLUMNS, [run for run in runs if "recipe" in run])
    write_table(folder / "stage.csv", gpu_result.STAGE, [run for run in runs if "defence" in run and run["seed"] == 11])
    write_table(folder / "gpu_result.csv", gpu_result.COLUMNS, [{"attack": "targeted"}])
    return folder


def found(whole: Path, folder: Path, name: str, old: str, new: str, hung: str = "files") -> list[str]:
    """The faults where one text of one file is another."""
    shutil.copytree(whole, folder)
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))
    return list(gpu_check.faults(folder, [], hung))


def test_a_whole_call_has_no_faults(whole):
    assert list(gpu_check.faults(whole, [], "files")) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "fault"),
    [
        ("log.txt", "578 s: ends\n", "", "log.txt: the call did not come to its end"),
        ("log.txt", "after 51 of", "after 87 of", "tests, numbers: 87 s, its limit was 80"),
        ("log.txt", "numbers: status 0", "numbers: status 1", "tests, numbers: status 1 after 51 of 80 s"),
        ("log.txt", "status 137 after 24", "status 0 after 3", "files: was to be ended at its limit, 20 s; status 0 after 3 s"),
        ("log.txt", "40 s: files: status 137 after 24 of 20 s\n", "", "log.txt: no part 'files'"),
        ("machine.txt", "something\n", "", "machine.txt: missing or empty"),
        ("gpu.csv", "loader alone", "loader", "gpu.csv: no rate of loader alone, files, clip"),
        ("gpu.csv", "device,loop", "device,round", "gpu.csv: its columns are"),
        ("embedded.csv", "patch,12,roclip,2,2", "patch,12,roclip,2,1", "embedded.csv: patch, seed 12, roclip: epoch 1 of 2"),
        ("embedded.csv", "patch,12,roclip", "patch,12,rclip", "embedded.csv: patch, seed 12, roclip: epoch 0 of some"),
        ("stage.csv", "patch,clip,11", "other,clip,11", "stage.csv: patch, seed 11, clip: epoch 0 of some"),
        ("tests.txt", "2 passed, 1 skipped", "1 failed, 1 passed, 1 skipped", "tests.txt: 1 tests failed"),
        ("tests.txt", "10 passed, 1 skipped, 9 d", "8 passed, 1 skipped, 11 d", "tests.txt: 18 tests ran of 20"),
        ("tests.txt", "10 passed, 1 skipped, 9 deselected in", "", "tests.txt: 2 of 3 runs of pytest came to their end"),
    ],
)  # fmt: skip
def test_each_fault_is_a_line(whole, tmp_path, name, old, new, fault):
    (line,) = found(whole, tmp_path / "call", name, old, new)
    assert line.startswith(fault)


def test_a_row_that_was_cut_and_an_error_that_was_noted(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "call")
    with open(tmp_path / "call/stage.csv", "a") as file:
        file.write("targeted,clip")
    rows = (tmp_path / "call/gpu.csv").read_text().splitlines(keepends=True)
    (tmp_path / "call/gpu.csv").write_text(
        "".join([*rows, "H100,compiled" + "," * (len(gpu.COLUMNS) - 2) + "OutOfMemoryError\n"])
    )
    (tmp_path / "call/embedded.csv").write_text((whole / "embedded.csv").read_text() + "embedded,patch\n")
    assert list(gpu_check.faults(tmp_path / "call", [], "files")) == [
        "gpu.csv: OutOfMemoryError", "stage.csv: its last line was cut", "embedded.csv: line 18 has another number of cells",
    ]  # fmt: skip


def test_photographs(tmp_path):
    """Clean data is trained on as the control; recipes are those of the set."""
    (tmp_path / "log.txt").write_text(LOG)
    (tmp_path / "machine.txt").write_text("something\n")
    rows = [
        {"attack": attack, "seed": 20, "recipe": recipe, "epochs": 2, "epoch": 2}
        for attack in ("targeted5", "clean") for recipe in many.recipes("flickr8k", attack, 2)
    ]  # fmt: skip
    write_table(tmp_path / "flickr8k.csv", many.COLUMNS, rows)
    assert list(gpu_check.faults(tmp_path, ["flickr8k"], "files")) == []
    write_table(tmp_path / "flickr8k.csv", many.COLUMNS, rows[:-1])
    assert list(gpu_check.faults(tmp_path, ["flickr8k"], "files")) == ["flickr8k.csv: clean, seed 20, roclip: epoch 0 of some"]
