"""What the README shows can be run."""

import copy
import os
import re
import subprocess
import sys

import pytest
import yaml

from attacks import ATTACKS
from roclip.experiment.config import check
from tests.conftest import ROOT, SNAKEMAKE, copy_of_the_project
from tests.fixtures.configs import CONFIG, merge
from tests.fixtures.pictures import landscape, stored
from tests.fixtures.published import flickr8k_captions

README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)


def test_its_config_is_legal():
    example, _ = EXAMPLES
    check(merge(copy.deepcopy(CONFIG), yaml.safe_load(example)), ATTACKS)


def test_it_is_no_longer_than_people_read():
    assert len(README.split()) <= 1300


@pytest.mark.slow
def test_data_of_one_s_own_as_it_says(tmp_path):
    """Its config and its command, on 700 images; the workflow as far as the attacks."""
    project = copy_of_the_project(tmp_path / "project")
    names = ["dog", "horse", "boat", "guitar", "pizza", "tree", "car", "cake", "lamp", "shoe"]
    captions = {f"{n}.jpg": [f"a {names[n % 10]} on day {n}", f"look, a {names[n % 10]}!"] for n in range(700)}
    made = flickr8k_captions(tmp_path / "made", captions)
    made.with_name("Images").rename(tmp_path / "made/images")
    for n, name in enumerate(captions):
        (tmp_path / "made/images" / name).write_bytes(stored(landscape(n, (64, 48))))
    (tmp_path / "made/classes.txt").write_text("\n".join(names))
    (project / "data").mkdir(exist_ok=True)
    (tmp_path / "made").rename(project / "data/own")
    (project / "config/own.yaml").write_text(EXAMPLES[1])
    (command,) = re.findall(r"^roclip (check-data .*?) +#", README, re.MULTILINE)
    ours = {**os.environ, "PYTHONPATH": os.pathsep.join([str(project), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])}
    checked = [sys.executable, "-P", "-m", "roclip_command", *command.split()]
    done = subprocess.run(checked, cwd=project, capture_output=True, text=True, env=ours)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "can targeted take? yes" in done.stdout
    told = [SNAKEMAKE, "--cores", "2", "--configfile", "config/own.yaml", "--", "attacks"]
    done = subprocess.run(told, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert "can targeted take? yes" in done.stdout + done.stderr, "said before the run too"


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:config|roclip|attacks|workflow|tests|docs)/[\w./-]+)`", README))))
def test_the_files_that_it_names_exist(path):
    assert (ROOT / path).exists()
