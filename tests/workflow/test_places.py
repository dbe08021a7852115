"""The workflow in other folders than its own, as a module of another workflow, and for accounts that lack what others have.

Of the oddities all at once; `pytest --torture tests/workflow/test_places.py`: each alone too, and all of config/test.yaml.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from roclip.core.columns import HISTORY
from roclip.core.files import read_table
from tests.conftest import ROOT, SNAKEMAKE, copy_of_the_project

pytestmark = pytest.mark.slow
MINE = {
    "experiment": "mine",
    "attacks": ["targeted"],
    "defences": ["clip"],
    "data": {"train_scenes": 300, "validation_scenes": 20, "test_scenes": 40, "probe_scenes": 40},
    "attack": {"targeted": {"targets": 4, "captions_per_target": 3}},
    "train": {"epochs": 1, "warmup_steps": 1, "validation_images": 20},
}
MODULE = f"""
configfile: "mine.yaml"


module roclip:
    snakefile:
        "{ROOT}/Snakefile"
    config:
        config["poisoning"]


use rule * from roclip as poisoning_*


rule summary:
    default_target: True
    input:
        "results/mine/tables/measures.md",
    output:
        "summary.md",
    shell:
        "cp {{input}} {{output}}"
"""
HISTORY_FILE = "results/mine/models/targeted/clip/seed10/history.csv"


def run(folder: Path, *arguments: str) -> str:
    """What Snakemake prints, with nothing of this project in its environment."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([SNAKEMAKE, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr


def test_it_is_a_module_of_another_workflow(tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"poisoning": MINE}))
    (tmp_path / "Snakefile").write_text(MODULE)
    assert "poisoning_gather" in run(tmp_path, "-n")
    assert not (tmp_path / "results").exists()
    before = {path.name for path in ROOT.iterdir()}
    run(tmp_path, "--cores", "2")
    assert "| targeted | clip |" in (tmp_path / "summary.md").read_text()
    assert len(read_table(tmp_path / HISTORY_FILE, tuple(HISTORY))) == 1
    assert (tmp_path / "results/mine/plan.json").exists()
    assert {path.name for path in ROOT.iterdir()} == before
    assert "Nothing to be done" in run(tmp_path, "--cores", "2")


AS_NOBODY = ["unshare", "--user", "--map-user=4242", "--map-group=4242"]  # a number without a name, and without root's rights
SMALL = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
SMALL += ['mount -t tmpfs -o size=64k,mode=1777 none "$TMPDIR" && exec "$@"', "sh"]
ODDITIES = ("no name and no root", "HOME cannot be written to", "TMPDIR of 64 kB", "no locale", "source cannot be written to")
CAN_UNSHARE = not subprocess.run([*AS_NOBODY, "true"], capture_output=True).returncode if shutil.which("unshare") else False


def run_oddly(folder: Path, project: Path, configfile: Path, odd: tuple[str, ...]) -> None:
    """The workflow of a project in a folder, under such conditions."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"), "LC_ALL": "C.UTF-8"}
    (folder / "home").mkdir(0o500 if "HOME cannot be written to" in odd else 0o700)
    (folder / "tmp").mkdir()
    if "no locale" in odd:
        environment["LC_ALL"] = "POSIX"
    command = [SNAKEMAKE, "-s", str(project / "Snakefile"), "--cores", "2", "--configfile", str(configfile)]
    command = [*(SMALL if "TMPDIR of 64 kB" in odd else []), *(AS_NOBODY if "no name and no root" in odd else []), *command]
    if "source cannot be written to" in odd:
        subprocess.run(["chmod", "-R", "a-w", project], check=True)
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    finally:
        subprocess.run(["chmod", "-R", "u+w", project], check=True)
    assert done.returncode == 0, f"{odd}: {(done.stdout + done.stderr)[-4000:]}"


@pytest.mark.skipif(not CAN_UNSHARE, reason="this system lets nobody make namespaces of users, by which an account is made odd")
def test_it_runs_for_odd_accounts_in_a_path_with_umlauts_and_spaces(tmp_path, torture):
    folder = tmp_path / "Größe mit Leerzeichen & Söhne"
    project = copy_of_the_project(folder / "Projekt")
    (folder / "mine.yaml").write_text(yaml.safe_dump(MINE))
    whole = project / "config/test.yaml" if torture else folder / "mine.yaml"
    cases = [(whole, ODDITIES), *((folder / "mine.yaml", (odd,)) for odd in (ODDITIES if torture else ()))]
    for number, (configfile, odd) in enumerate(cases):
        (folder / str(number)).mkdir()
        run_oddly(folder / str(number), project, configfile, odd)
        (results,) = folder.glob(f"{number}/results/*")
        assert "| targeted | clip |" in (results / "tables/measures.md").read_text(), odd
        assert (results / "report.html").exists(), odd


@pytest.mark.skipif(not CAN_UNSHARE, reason="this system lets nobody make namespaces of users, by which /dev/shm is hidden")
def test_without_shared_memory_a_line_says_so(tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(MINE))
    hidden = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    hidden += ['mount -t tmpfs -o ro,mode=000 none /dev/shm && exec setpriv --bounding-set=-all --inh-caps=-all "$@"', "sh"]
    command = [*hidden, SNAKEMAKE, "data", "-s", str(ROOT / "Snakefile"), "--cores", "2", "--configfile", "mine.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    said = (tmp_path / "results/mine/logs/scenes.log").read_text().splitlines()
    assert said == ["error: processes can share no locks: /dev/shm is not there or cannot be written to; mount it"]
