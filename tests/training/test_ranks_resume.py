"""Ranks resume from one state, whatever each of them sees of the folder; when one of them ends, the others end with a line."""

import json
import logging
import re
import shutil
import subprocess
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from roclip.core.files import read_table
from roclip.model import towers
from roclip.training import distributed, restart, train
from roclip.training.trainer import Training
from tests.conftest import ROOT
from tests.fixtures.ranks import as_rank, free_port, options_from, said, torchrun, transformer
from tests.fixtures.trainings import options, same, states, stopped, weights

pytestmark = pytest.mark.slow
AT = 6  # the step at which one process stopped, of 4 an epoch
CASES = ("absent", "stale", "data", "hangs", "late")
LOST = (
    r"another process of this training ended or hangs \([^\n]+\); its own last line says why; start again to resume from the "
    r"last state"
)


def of_rank(rank: int, case: str, values: dict[str, Any], ports: dict[str, int], **changes: Any) -> Any:
    """The options of a rank that sees a folder of its own, as if what it knows of the shared one were old.

    Each case meets at a port of its own: where the last one met, the other rank may still be.
    """
    as_rank(rank, ports[case])
    return options_from(values | changes | {"out": values["out"] / f"{case}{rank}"})


def late(source: Path, target: Path) -> None:
    time.sleep(1.5)
    shutil.copytree(source / "state", target / "state", dirs_exist_ok=True)


def worker(rank: int, values: dict[str, Any], ports: dict[str, int]) -> None:
    """What a rank says of a state that it does not see in time, of one with other content, of other data, and of a rank that
    hangs; then both train to the end from a state that one sees late."""
    restart.APPEARS = 2.0
    faults = {}
    for case in ("absent", "stale"):
        faults[case] = said(lambda: train.run(of_rank(rank, case, values, ports)))  # noqa: B023 (called at once)
    pairs = values["pairs"] if rank == 0 else values["out"] / "train.csv"
    faults["other data"] = said(lambda: train.run(of_rank(rank, "data", values, ports, pairs=pairs)))

    distributed.TIMEOUT, take_step = timedelta(seconds=3), Training.take_step
    Training.take_step = lambda *arguments: (time.sleep(6 if rank == 1 else 0), take_step(*arguments))
    started = time.monotonic()
    faults["hangs"] = said(lambda: train.run(of_rank(rank, "hangs", values, ports)))
    faults["seconds"] = time.monotonic() - started
    Training.take_step, distributed.TIMEOUT, restart.APPEARS = take_step, timedelta(minutes=5), 300.0
    (values["out"] / f"{rank}.json").write_text(json.dumps(faults))

    o = of_rank(rank, "late", values, ports)
    logging.basicConfig(filename=values["out"] / f"{rank}.log", level=logging.INFO, force=True)
    if rank:
        threading.Thread(target=late, args=(values["out"] / "late0", o.out)).start()
    train.run(o)


@pytest.fixture(scope="module")
def whole(few, scenes, tmp_path_factory) -> Any:
    """The options of a training, and what one process made of them undisturbed."""
    folder = tmp_path_factory.mktemp("ranks")
    # some gradients, such as those of key biases, are 0 but for rounding; an eps above that keeps AdamW from blowing them up
    o = options(few, scenes, folder / "whole", model=transformer(folder), batch_size=30, eps=1e-4, roots=("/",))
    train.run(o)
    return o


@pytest.fixture(scope="module")
def ranks(whole, tmp_path_factory) -> Path:
    """The folders of two ranks, of which rank 0's hold a state of one process."""
    out = tmp_path_factory.mktemp("states")
    stopped(replace(whole, out=out / "one"), AT)
    for case in CASES:
        shutil.copytree(out / "one", out / f"{case}0")
        (out / f"{case}1").mkdir()
    shutil.copytree(out / "one", out / "hangs1", dirs_exist_ok=True)
    stopped(replace(whole, out=out / "stale1", seed=4), AT)
    (seed3,), (seed4,) = ([*(out / name / "state").glob("*/")] for name in ("stale0", "stale1"))
    seed4.rename(seed4.with_name(seed3.name))  # what this rank sees under the name is something else
    (out / "train.csv").write_text(whole.pairs.read_text().replace("a ", "the ", 1))
    torch.multiprocessing.spawn(worker, (vars(whole) | {"out": out}, {case: free_port() for case in CASES}), 2)
    return out


def test_a_state_that_a_rank_does_not_see_is_one_line_on_each_and_stays(ranks):
    first, second = (json.loads((ranks / f"{rank}.json").read_text()) for rank in (0, 1))
    for case in ("absent", "stale"):
        for rank, faults in enumerate((first, second)):
            assert re.fullmatch(
                rf"{ranks}/{case}{rank}/state/[0-9a-f]{{12}}/step{AT:09d}\.safetensors: rank 0 resumes from it, and rank 1 did "
                r"not see it within 2 s; give all of them the same folder, on a file system that they share",
                faults[case],
            )
        assert states(ranks / f"{case}0")[0] == f"step{AT:09d}.safetensors"


def test_other_data_on_a_rank_is_one_line_on_each(ranks):
    for rank in (0, 1):
        assert json.loads((ranks / f"{rank}.json").read_text())["other data"] == (
            "what is trained on, or how, differs between ranks 0 and 1; give all of them the same files and options"
        )


def test_a_rank_that_hangs_is_one_line_in_time(ranks):
    faults = json.loads((ranks / "0.json").read_text())
    assert re.fullmatch(LOST, faults["hangs"])
    assert faults["seconds"] < 20
    assert states(ranks / "hangs0")


def test_both_resume_from_a_state_that_one_sees_late_and_end_as_one_process_does(ranks, whole):
    log = (ranks / "0.log").read_text()
    assert f"resumed from step {AT}, in epoch 2" in log
    assert "resumed although the number of processes was 1, is 2 (equal up to rounding)" in log
    out = ranks / "late0"
    assert [row["kind"] for row in read_table(out / "history.csv", ("kind",))] == ["clip", "matching"]
    path = "weights/last_matching.safetensors"
    mine, others = weights(out / path), weights(whole.out / path)
    for name, tensor in others.items():
        torch.testing.assert_close(mine[name], tensor, atol=5e-4, rtol=0)
    (resumed,) = towers.read_record(out / path)["resumed"]
    assert resumed == f"at step {AT}: the number of processes was 1, is 2 (equal up to rounding)"
    path = "weights/last_clip.safetensors"
    assert same(weights(out / path), weights(whole.out / path))


def test_a_rank_that_is_killed_in_an_epoch_ends_the_other_with_a_line(whole, tmp_path):
    """Under torchrun, which stops the others too."""
    o = replace(whole, out=tmp_path / "model", batch_size=2, epochs=200, checkpoint_minutes=1e-9)
    words = torchrun(o, "--redirects=3", f"--log-dir={tmp_path}/logs")
    launcher = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        saved = wait_for_a_state_in_an_epoch(o.out, launcher)
        (second,) = [child for child in psutil.Process(launcher.pid).children() if child.environ().get("RANK") == "1"]
        second.kill()
        killed = time.monotonic()
        assert launcher.wait(60) == 1
        assert time.monotonic() - killed < 40
    finally:
        for child in psutil.Process(launcher.pid).children() if launcher.poll() is None else []:
            child.kill()
        launcher.kill()
    (log,) = (tmp_path / "logs").glob("**/0/stderr.log")
    assert "Traceback" not in log.read_text()
    assert re.fullmatch(f"error: {LOST}", log.read_text().splitlines()[-1])
    assert states(o.out)[0] >= saved


def wait_for_a_state_in_an_epoch(out: Path, process: subprocess.Popen) -> str:
    """The name of a state that was saved at least 20 steps before the end of an epoch, where nothing is measured."""
    while process.poll() is None:
        found = states(out)
        if found and 0 < int(found[0][4:13]) % 68 <= 40:
            return found[0]
        time.sleep(0.02)
    raise AssertionError("it ended before that")
