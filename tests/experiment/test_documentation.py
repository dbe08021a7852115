"""The pages that are made from the code are as the code says."""

import re

import pytest

from attacks import ATTACKS
from roclip.core.errors import UserError
from roclip.experiment.documentation import PAGE, main, page, replaced, written
from tests.conftest import ROOT
from tests.fixtures.configs import COMPLETE


@pytest.mark.parametrize("path", written(ATTACKS), ids=lambda path: path.name)
def test_it_is_as_the_code_says(path):
    stale = path.read_text(encoding="utf-8") != written(ATTACKS)[path]
    assert not stale, f"{path.relative_to(ROOT)} is not as the code says; run `roclip docs` and commit what it writes"


def keys(config) -> set[str]:
    """All keys of a config but for names."""
    inner = config.values() if isinstance(config, dict) else ()
    return set(config) | {key for value in inner for key in keys(value)} if isinstance(config, dict) else set()


def test_every_key_of_a_config_is_listed():
    documented = set(re.findall(r"^\\| `(\w+)` \\|", page(ATTACKS), re.MULTILINE)) | set(re.findall(r"`(\w+)`", page(ATTACKS)))
    assert keys(COMPLETE) - {*COMPLETE["attack"], *COMPLETE["defence"]} <= documented


def test_a_default_can_be_copied_into_a_config():
    assert "| `1.0e-08` |" in page(ATTACKS)  # 1e-08 is a text to YAML


def test_only_what_is_between_the_marks_is_replaced():
    text = README = "before\n<!-- written by `roclip docs` -->\nold\n<!-- until here -->\nafter\n"
    assert replaced(text, "new\n") == README.replace("\nold\n", "\n\nnew\n\n")
    with pytest.raises(UserError, match=r"README\.md: the lines"):
        replaced("nothing", "new")


def test_it_takes_no_arguments():
    with pytest.raises(UserError, match="usage: roclip docs"):
        main(["--check"], ATTACKS)
    assert PAGE.is_file()
