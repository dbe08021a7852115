"""A run whose terminal is taken away half way, or that never had one, gives what a run gives that was watched to its end."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import SNAKEMAKE
from tests.fixtures.runs import CONFIGS, RESULTS, made, small_project
from tests.fixtures.terminals import OnTerminal

pytestmark = pytest.mark.slow
ENDED = RESULTS / "measures/targeted/clip/seed10/own/zero_shot.json"  # training, encoding and counting have ended
COMMAND = [SNAKEMAKE, str(ENDED), "--cores", "all", "--configfile", *CONFIGS]
LABEL = b"[targeted clip seed 10]"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return small_project(tmp_path_factory.mktemp("project"), defences=["clip"])


@pytest.fixture(scope="module")
def expected(project) -> dict[str, bytes]:
    """What a run makes that is watched on a terminal, in which it shows progress bars and leaves whole lines in its logs."""
    process = OnTerminal(COMMAND, project)
    assert process.wait(900) == 0, process.shown[-4000:].decode()
    assert any(LABEL + b" epoch" in part and b"pair/s" in part for part in process.shown.split(b"\r\x1b[K"))
    log = (project / RESULTS / "logs/train/targeted/clip/seed10.log").read_bytes()
    assert all(line.startswith(LABEL) and b"\r" not in line for line in log.splitlines())
    assert log.endswith(b"\n")
    assert b"epoch 2/2" in log
    return made(project)


@pytest.fixture
def fresh(project, expected) -> Path:
    """A project that has its data and its attack, and nothing else."""
    for path in (project / RESULTS).iterdir():
        if path.is_dir() and path.name not in ("data", "attacks"):
            shutil.rmtree(path)
    return project


def test_its_terminal_is_taken_away_as_it_trains(fresh, expected):
    process = OnTerminal(COMMAND, fresh)
    process.see(LABEL, 600)
    process.take_away()
    assert process.wait(900) == 0
    assert made(fresh) == expected
    assert b"epoch 2/2" in (fresh / RESULTS / "logs/train/targeted/clip/seed10.log").read_bytes()


def test_what_reads_its_output_goes_away_as_it_trains(fresh, expected):
    """A `tee` or `less` that was closed."""
    with subprocess.Popen(COMMAND, cwd=fresh, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        while LABEL not in process.stdout.readline():
            assert process.poll() is None
        process.stdout.close()
        assert process.wait(900) == 0
    assert made(fresh) == expected


def test_stdout_is_closed_from_the_beginning(fresh, expected):
    done = subprocess.run(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *COMMAND], cwd=fresh)
    assert done.returncode == 0
    assert made(fresh) == expected


def test_after_ctrl_c_it_resumes_where_it_was(fresh, expected):
    process = OnTerminal(COMMAND, fresh)
    process.see(LABEL + b" epoch 1/2", 600)  # the bar
    process.type(b"\x03")
    assert process.wait(300) != 0
    assert not (fresh / ENDED).exists()
    saved = list(fresh.glob(f"{RESULTS}/models/targeted/*/seed10/state/*/*.safetensors"))
    done = subprocess.run(COMMAND, cwd=fresh, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert ("resumed from step" in done.stdout) == bool(saved)
    assert made(fresh) == expected
