"""What decides a training is told apart by name; what does not change its results does not count."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from roclip.defences.base import Defence
from roclip.defences.roclip import RoCLIP
from roclip.model import towers
from roclip.training import identity as identities
from roclip.training import repair, train
from roclip.training.identity import code, differences, fingerprint_of, identity, listed
from tests.conftest import ROOT
from tests.fixtures.trainings import options

CPU = towers.Runtime(torch.device("cpu"), bf16=False)
FILE = "the code of roclip/training/trainer.py"


def parts(o, defence=RoCLIP) -> dict[str, str]:
    return identity(o, CPU, defence.__module__, train.__name__)


@pytest.fixture
def o(few, scenes, tmp_path):
    return options(few, scenes, tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"learning_rate": 2e-3}, ["train.learning_rate was 0.001, is 0.002"]),
        ({"pool_size": 99, "seed": 4}, ["pool_size was 100, is 99", "seed was 3, is 4"]),
        ({"model": "RN50"}, ["the model's config differs", "the content of small.json is gone"]),
        ({"roots": ("/a", "/b c")}, None),
    ],
)
def test_options_that_differ_are_named_with_their_values(o, change, said):
    before, now = parts(o), parts(replace(o, **change))
    assert fingerprint_of(before) != fingerprint_of(now)
    found = differences(before, now)
    assert sorted(found) == sorted(said or [f"roots was {' '.join(o.roots)}, is /a /b c"])


def test_another_arithmetic_is_another_training(o):
    runtimes = [towers.Runtime(torch.device("cpu"), bf16=bf16) for bf16 in (True, False)]
    before, now = (identity(o, runtime, RoCLIP.__module__, train.__name__) for runtime in runtimes)
    assert differences(before, now) == ["the arithmetic was bf16, is float32"]
    assert fingerprint_of(before) != fingerprint_of(now)


def test_files_count_by_their_content_wherever_they_lie(o, few, tmp_path):
    names = ("pairs", "truth", "targets", "templates")
    moved, edited = (
        replace(o, **{name: folder / getattr(o, name).name for name in names})
        for folder in (shutil.copytree(few, tmp_path / name) for name in ("moved", "edited"))
    )
    assert differences(parts(o), parts(moved)) == []
    edited.templates.write_text("a drawing of a {}.\n")
    assert differences(parts(o), parts(edited)) == ["the content of templates.txt differs"]


def test_what_leaves_results_as_they_are_does_not_count(o, tmp_path, monkeypatch):
    changes = {"out": tmp_path / "b", "checkpoint_minutes": 1.0, "workers": 3, "resume_anyway": True}
    assert parts(o) == parts(replace(o, **changes))
    monkeypatch.setattr(identities, "versions", lambda: {"torch": "another", "scikit-learn": "another"})
    changed = parts(o)
    monkeypatch.undo()
    assert "torch was another, is " + torch.__version__.partition("+")[0] in " ".join(differences(changed, parts(o)))
    assert "scikit-learn" not in parts(o)


def test_the_number_of_processes_is_named_and_changes_no_fingerprint(o, monkeypatch):
    before = parts(o)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert fingerprint_of(parts(o)) == fingerprint_of(before)
    assert differences(before, parts(o)) == ["the number of processes was 1, is 4 (equal up to rounding)"]


@pytest.mark.parametrize("change", [{"batch_norm": "per_rank"}, {"micro_batch": 4}])
def test_it_does_where_statistics_of_batch_norms_depend_on_it(o, monkeypatch, change):
    before = parts(replace(o, **change))
    monkeypatch.setenv("WORLD_SIZE", "4")
    now = parts(replace(o, **change))
    assert fingerprint_of(now) != fingerprint_of(before)
    assert "the number of processes, on which batch norms depend, was 1, is 4" in differences(before, now)


def test_of_the_code_that_counts_which_the_training_uses(o, few, scenes, tmp_path):
    files = {name.removeprefix("the code of ") for name in parts(o) if name.startswith("the code of ")}
    used = {"roclip/defences/pool.py", "roclip/training/trainer.py", "roclip/model/small_resnet.py", "roclip/data/pairs.py",
            "roclip/training/train.py", "roclip/core/randomness.py", "roclip/defences/augmentation.py"}  # fmt: skip
    assert used <= files
    unused = {"roclip/training/run.py", "roclip/training/resume.py", "roclip/training/estimate.py", "roclip/core/verify.py",
              "roclip/training/settings.py", "roclip/defences/repair/finetune.py", "roclip/experiment/plan.py"}  # fmt: skip
    assert not unused & files
    plain = parts(options(few, scenes, tmp_path, kind="clip"), Defence)
    assert not [name for name in plain if name.endswith(("pool.py", "defences/roclip.py"))]
    repairs = options(few, scenes, tmp_path, kind="finetune", stage=repair.STAGE, start_from=str(tmp_path))
    names = identity(repairs, CPU, repair.REPAIRS["finetune"].__module__, repair.__name__)
    assert {"the code of roclip/defences/repair/finetune.py", "the code of roclip/training/repair.py"} <= names.keys()


CODE = '''"""A module."""


class A:
    def b(self, c: int = 1) -> int:
        """What b does."""
        return c + 1  # one more
'''


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("  # one more", "", True), ("A module.", "Another text.", True), ("What b does.", "What it does.", True),
        ("\n\n\nclass", "\nclass", True), ("c + 1", "(c\n                + 1)", True), ("c + 1", "c + 2", False),
        ("= 1)", "= 2)", False), ("def b", "def d", False), ('"""What b does."""', 'c = "What b does."', False),
    ],
)  # fmt: skip
def test_comments_layout_and_docstrings_are_no_code(tmp_path, old, new, same):
    assert CODE.count(old) == 1
    (tmp_path / "a.py").write_text(CODE)
    (tmp_path / "b.py").write_text(CODE.replace(old, new))
    assert (code(tmp_path / "a.py") == code(tmp_path / "b.py")) == same


def test_edited_code_is_named_last_and_many_differences_are_cut_short(o, monkeypatch, tmp_path):
    before = parts(o)
    for name in ("roclip", "config"):
        shutil.copytree(ROOT / name, tmp_path / name)
    trainer = tmp_path / "roclip/training/trainer.py"
    trainer.write_text(trainer.read_text().replace("options.warmup_steps", "options.warmup_steps + 0"))
    monkeypatch.setattr(towers, "HOME", tmp_path)
    found = differences(before, parts(replace(o, epochs=9, learning_rate=1.0, seed=7, threads=2)))
    assert found[-1] == f"{FILE} differs"
    assert len(found) == 5
    assert listed(found) == ", ".join(found[:4]) + " and 1 more"
    assert listed(found[:1]) == found[0]
    assert "is new" in differences({}, {FILE: "x"})[0]
    assert json.loads(json.dumps(before)) == before
