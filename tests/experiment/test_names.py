"""Names that users choose, of attacks, defences and classes, never meet ours."""

import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

from attacks import ATTACKS
from roclip.core.errors import UserError
from roclip.core.options import flags, option, parse
from roclip.experiment.config import check
from tests.conftest import ROOT
from tests.fixtures.configs import changed


@pytest.mark.parametrize("name", ["test", "probe", "own", "class_features", "labels", "none", "kind"])
def test_no_name_is_taken(name):
    config = changed(
        f"defence.{name}", {"train": {"kind": "roclip", "pool_size": 3}}, changed(f"attack.{name}", {"kind": "patch"})
    )
    check(config | {"attacks": [name], "defences": ["clip", name]}, ATTACKS)


@pytest.mark.parametrize(
    ("key", "entry", "message"),
    [
        ("attack.patch", {"kind": "targeted"}, r"attack\.patch\.kind: 'targeted' under the name of the kind 'patch'; rename"),
        (
            "defence.clip",
            {"train": {"kind": "roclip", "pool_size": 9}},
            r"defence\.clip\.train\.kind: 'roclip' under the name of the kind 'clip'; rename",
        ),
    ],
)
def test_an_entry_is_not_called_as_another_kind(key, entry, message):
    """Published numbers of that kind would stand beside it, and readers take it for that."""
    with pytest.raises(UserError, match=message):
        check(changed(key, entry), ATTACKS)


@dataclass(frozen=True)
class OfClass:
    target_class: str = option("class of which images with the trigger are to be taken for")


def with_class(folder: Path, name: str) -> dict:
    """The config with a further class, which the patch is for."""
    (folder / "classes.txt").write_text((ROOT / "config/scenes/classes.txt").read_text() + f"{name}\n")
    config = changed("data.classes", str(folder / "classes.txt"), changed("attack.patch.target_class", name))
    return config | {"attacks": ["patch"]}


@pytest.mark.parametrize("name", ["-dash", "a, b", "a=b", "it's $HOME", '"x"', "a;b"])
def test_a_class_may_have_any_name_that_a_line_holds(tmp_path, name):
    """It passes the check, and a job's command line brings it to the stage as it is."""
    settings = check(with_class(tmp_path, name), ATTACKS)[1].attack["patch"]
    assert parse(OfClass, shlex.split(flags({"target_class": settings["target_class"]}))).target_class == name


def test_a_class_may_not_hold_what_stands_between_classes(tmp_path):
    with pytest.raises(UserError, match=r"data\.classes: .*classes\.txt: 'a\|b' holds \|, which stands between classes"):
        check(with_class(tmp_path, "a|b"), ATTACKS)
