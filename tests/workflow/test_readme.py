"""What the README shows can be run."""

import copy
import re

import pytest
import yaml

from attacks import ATTACKS
from roclip.experiment.config import check
from tests.conftest import ROOT
from tests.fixtures.configs import CONFIG, merge

README = (ROOT / "README.md").read_text()


def test_its_config_is_legal():
    (example,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    check(merge(copy.deepcopy(CONFIG), yaml.safe_load(example)), ATTACKS)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:config|roclip|attacks|workflow|tests|docs)/[\w./-]+)`", README))))
def test_the_files_that_it_names_exist(path):
    assert (ROOT / path).exists()
