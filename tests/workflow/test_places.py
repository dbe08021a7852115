"""The workflow in other folders than its own, as a module of another workflow, and for accounts that lack what others have.

It writes the same bytes in all of them, on any number of cores, however Python hashes. Of the oddities all at once;
`pytest --torture tests/workflow/test_places.py`: each alone too, and all of config/test.yaml.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from roclip.core.columns import HISTORY
from roclip.core.files import read_table, sha256
from tests.conftest import ROOT, SNAKEMAKE, copy_of_the_project

pytestmark = pytest.mark.slow
MINE = {
    "experiment": "mine",
    "attacks": ["targeted"],
    "defences": ["clip", "roclip"],
    "data": {"train_scenes": 300, "validation_scenes": 20, "test_scenes": 40, "probe_scenes": 40},
    "attack": {"targeted": {"targets": 4, "captions_per_target": 3}},
    "train": {"epochs": 2, "warmup_steps": 1, "validation_images": 20},
    "defence": {"roclip": {"train": {"pool_size": 50}}},
}
MODULE = """
configfile: "mine.yaml"


module roclip:
    snakefile:
        "PROJECT/Snakefile"
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
        "cp {input} {output}"
"""
TIMED = ("logs", "benchmarks", "report.html", "pace.csv")  # say when, or how long
KINDS = {"csv", "json", "md", "npz", "pdf", "png", "safetensors", "tex", "tsv", "yaml"}  # of files that do not
HISTORY_FILE = "results/mine/models/targeted/clip/seed10/history.csv"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return copy_of_the_project(tmp_path_factory.mktemp("places") / "Größe mit Leerzeichen & Söhne/Projekt")


@pytest.fixture(scope="module")
def module(project) -> Path:
    """A folder in which the project is a module of another workflow, which has run."""
    folder = project.parent / "module"
    folder.mkdir()
    (folder / "mine.yaml").write_text(yaml.safe_dump({"poisoning": MINE}))
    (folder / "Snakefile").write_text(MODULE.replace("PROJECT", str(project)))
    assert "poisoning_gather" in run(folder, "-n")
    assert not (folder / "results").exists()
    run(folder, "--cores", "1", "summary", "poisoning_report", "poisoning_figures")
    return folder


def digests(results: Path) -> dict[str, str]:
    """The sha256 of each file by its path, without hidden ones and those that say how long something took."""
    files = (path for path in results.rglob("[!.]*") if path.is_file())
    return {
        str(path.relative_to(results)): sha256(path)
        for path in files
        if not {*TIMED} & {path.name, path.relative_to(results).parts[0]}
    }


def run(folder: Path, *arguments: str) -> str:
    """What Snakemake prints, with nothing of this project in its environment."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PYTHONHASHSEED": "23"}
    done = subprocess.run([SNAKEMAKE, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr


def test_it_is_a_module_of_another_workflow(project, module):
    assert "| targeted | clip |" in (module / "summary.md").read_text()
    assert len(read_table(module / HISTORY_FILE, tuple(HISTORY))) == 2
    assert (module / "results/mine/plan.json").exists()
    assert {path.name for path in project.iterdir()} <= {*(path.name for path in ROOT.iterdir()), ".snakemake"}
    assert "Nothing to be done" in run(module, "--cores", "2")


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
def test_it_runs_for_odd_accounts_in_a_path_with_umlauts_and_spaces(project, module, torture):
    folder = project.parent
    (folder / "mine.yaml").write_text(yaml.safe_dump(MINE))
    whole = project / "config/test.yaml" if torture else folder / "mine.yaml"
    cases = [(whole, ODDITIES), *((folder / "mine.yaml", (odd,)) for odd in (ODDITIES if torture else ()))]
    for number, (configfile, odd) in enumerate(cases):
        (folder / str(number)).mkdir()
        run_oddly(folder / str(number), project, configfile, odd)
        (results,) = folder.glob(f"{number}/results/*")
        assert "| targeted | clip |" in (results / "tables/measures.md").read_text(), odd
        assert (results / "report.html").exists(), odd
        if results.name == "mine":
            first, second = (digests(path) for path in (module / "results/mine", results))
            assert {name.rpartition(".")[2] for name in first} == KINDS
            assert first.keys() == second.keys()
            assert [name for name in first if first[name] != second[name]] == []


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
