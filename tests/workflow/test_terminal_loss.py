"""A run whose terminal is taken away half way, or that never had one, gives what a run gives that was watched to its end."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import SNAKEMAKE
from tests.fixtures.runs import RESULTS, made
from tests.fixtures.terminals import OnTerminal

pytestmark = pytest.mark.slow
MADE_AGAIN = RESULTS / "models/targeted/clip"
ENDED = MADE_AGAIN / "seed10/history.csv"
COMMAND = [SNAKEMAKE, str(ENDED), "--cores", "all", "--configfile", "config/test.yaml"]
LOG = RESULTS / "logs/train/targeted/clip/seed10.log"
LABEL = b"[targeted clip seed 10]"


@pytest.fixture(scope="module")
def expected(finished) -> dict[str, bytes]:
    """What a run makes that nobody watched."""
    return made(finished)


@pytest.fixture
def fresh(finished, tmp_path) -> Path:
    """A project in which the workflow has run, but for one of its models."""
    project = shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(project / MADE_AGAIN)
    (project / LOG).unlink()
    return project


def test_its_terminal_is_taken_away_as_it_trains(fresh, expected):
    process = OnTerminal(COMMAND, fresh)
    process.see(LABEL, 600)
    process.take_away()
    assert process.wait(900) == 0
    assert made(fresh) == expected
    assert b"epoch 2/2" in (fresh / LOG).read_bytes()


def test_what_reads_its_output_goes_away_as_it_trains(fresh, expected):
    """A `tee` or `less` that was closed."""
    with subprocess.Popen(COMMAND, cwd=fresh, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        while LABEL not in process.stdout.readline():
            assert process.poll() is None
        process.stdout.close()
        assert process.wait(900) == 0
    assert made(fresh) == expected


def test_stdout_is_closed_from_the_beginning(finished, tmp_path, expected):
    project = shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(project / RESULTS / "tables")
    done = subprocess.run(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", SNAKEMAKE, "tables", *COMMAND[2:]], cwd=project)
    assert done.returncode == 0
    assert made(project) == expected


def test_after_ctrl_c_it_resumes_where_it_was_with_bars_on_the_terminal_and_whole_lines_in_its_log(fresh, expected):
    process = OnTerminal(COMMAND, fresh)
    process.see(LABEL + b" epoch 1/2", 600)  # the bar
    process.type(b"\x03")
    assert process.wait(300) != 0
    assert not (fresh / ENDED).exists()
    saved = list(fresh.glob(f"{RESULTS}/models/targeted/*/seed10/state/*/*.safetensors"))
    process = OnTerminal(COMMAND, fresh)
    assert process.wait(900) == 0, process.shown[-4000:].decode()
    assert (b"resumed from step" in process.shown) == bool(saved)
    assert any(LABEL + b" epoch" in part and b"pair/s" in part for part in process.shown.split(b"\r\x1b[K"))
    log = (fresh / LOG).read_bytes()
    assert all(line.startswith(LABEL) and b"\r" not in line for line in log.splitlines())
    assert log.endswith(b"\n")
    assert b"epoch 2/2" in log
    assert made(fresh) == expected
