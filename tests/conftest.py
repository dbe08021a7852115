"""Small embedded data, drawn once for all tests that need images."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from attacks import build
from roclip.core.columns import PAIRS, TRUTH
from roclip.core.files import read_table, write_table
from roclip.data.scenes import ScenesOptions
from roclip.data.scenes import run as draw

ROOT = Path(__file__).resolve().parent.parent
SCENES = ROOT / "config/scenes"
SNAKEMAKE = str(Path(sys.executable).parent / "snakemake")

os.chdir(ROOT)  # paths in the config are relative to the project's root
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # img2dataset imports it, and it would ask the network


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, of whole workflows, then of trainings, so that processes which share the files end together."""
    longest = ("workflow", "training")
    items.sort(key=lambda item: [folder not in item.path.parts for folder in longest])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--torture", action="store_true", help="kill more often: the long form of the tests that kill at random")


@pytest.fixture(scope="session")
def torture(request: pytest.FixtureRequest) -> bool:
    """Whether the long form is asked for."""
    return request.config.getoption("--torture")


def copy_of_the_project(folder: Path) -> Path:
    """A copy without results and the user's data, in which a workflow can run and be edited."""
    patterns = shutil.ignore_patterns(
        ".git", ".venv", ".rehearsal", ".gpu_carry", ".snakemake", "results", "*.egg-info", ".*_cache", ".hypothesis",
    )  # fmt: skip

    def ignored(copied: str, names: list[str]) -> set[str]:
        return {*patterns(copied, names), *(["data"] if Path(copied) == ROOT else [])}

    shutil.copytree(ROOT, folder, dirs_exist_ok=True, ignore=ignored)
    return folder


def snakemake(project: Path, *arguments: str, **environment: str) -> str:
    """Run the workflow on test.yaml, and on config files that the arguments begin with; what it printed."""
    command = [SNAKEMAKE, "--configfile", "config/test.yaml", *arguments]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, env=os.environ | environment)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-4000:]
    return output


@pytest.fixture(scope="session")
def finished(tmp_path_factory, worker_id) -> Path:
    """A copy of the project in which the workflow has run once; tests that change something there have a copy of their own.

    Processes of pytest that run side by side share it.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "finished"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            unfinished = folder.with_name("unfinished")
            snakemake(copy_of_the_project(unfinished), "--cores", "all", PYTHONHASHSEED="1")
            unfinished.rename(folder)
    return folder


@pytest.fixture(scope="session")
def scenes(tmp_path_factory) -> Path:
    """A data folder with urls.tsv and the tables that the download stage would write from it.

    The variable SCENES_KEPT may name a folder for it that outlives the tests; then they are drawn once for many runs.
    """
    data = Path(os.environ.get("SCENES_KEPT") or tmp_path_factory.mktemp("scenes"))
    if (data / "probe.csv").exists():  # the last that is written
        return data
    draw(
        ScenesOptions(
            data=data, classes=SCENES / "classes.txt", captions=SCENES / "captions.txt", image_size=32,
            train_scenes=600, validation_scenes=40, test_scenes=100, probe_scenes=100, seed=0,
        )
    )  # fmt: skip
    rows = read_table(data / "urls.tsv", ("split", "url", "caption", "label"))
    for split, column in (("train", "caption"), ("validation", "caption"), ("test", "label"), ("probe", "label")):
        kept = [{"path": str(data / r["url"][5:]), column: r[column]} for r in rows if r["split"] == split]
        write_table(data / f"{split}.csv", ("path", column), kept)
    return data


@pytest.fixture(scope="session")
def poisoned(scenes, tmp_path_factory) -> Path:
    """A small targeted attack on the small data: 8 poisoned pairs for 4 targets."""
    out = tmp_path_factory.mktemp("poisoned")
    options = build.STAGE.options_of("targeted")(
        train=scenes / "train.csv", validation=scenes / "validation.csv", test=scenes / "test.csv",
        classes=SCENES / "classes.txt", templates=SCENES / "templates.txt", image_size=32, out=out, roots=(str(scenes),),
        seed=0, targets=4, captions_per_target=2,
    )  # fmt: skip
    build.run(options)
    return out


@pytest.fixture(scope="session")
def few(poisoned, tmp_path_factory) -> Path:
    """A folder as that of the attack, with the last 136 of its pairs, for trainings of two steps an epoch, and one template."""
    out = tmp_path_factory.mktemp("few")
    for name, columns in (("train.csv", PAIRS), ("truth.csv", TRUTH)):
        write_table(out / name, tuple(columns), read_table(poisoned / name, tuple(columns))[-136:])
    shutil.copy(poisoned / "targets.csv", out)
    (out / "templates.txt").write_text("a picture of a {}\n")
    return out
