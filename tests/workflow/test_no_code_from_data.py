"""No code comes from data: nothing in the runtime code could run a file that it reads, and files that try are refused."""

import ast
import pickle
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from snakemake.parser import parse
from snakemake.sourcecache import infer_source_file

from attacks import ATTACKS
from roclip.core.errors import UserError
from roclip.core.files import read_json, read_lines, read_table
from roclip.data.images import Intake
from roclip.evaluation.features import Features
from roclip.evaluation.zero_shot_classifier import prompts
from roclip.experiment.config import check
from roclip.experiment.files import check_files
from roclip.model import towers
from roclip.training.resume import States
from tests.conftest import ROOT
from tests.fixtures.configs import changed

DEFERRED = ROOT / "roclip/core/deferred.py"  # imports what other modules name
MODULES = sorted({*ROOT.glob("roclip/**/*.py"), *ROOT.glob("attacks/*.py")} - {DEFERRED})
RULES = [ROOT / "Snakefile", *sorted(ROOT.glob("workflow/rules/*.smk"))]

# modules that turn bytes into objects or code, whatever is taken from them
IMPORTS = {
    "pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "runpy", "imp", "codeop", "pty",
    "zipimport", "ctypes", "cffi",
}  # fmt: skip
CALLS = {
    "eval", "exec", "compile", "__import__", "breakpoint", "builtins.eval", "builtins.exec", "builtins.compile",
    "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput",
    "importlib.util.spec_from_file_location", "importlib.util.module_from_spec", "importlib.machinery.SourceFileLoader",
    "yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load", "yaml.full_load_all",
    "torch.jit.load", "torch.export.load", "torch.hub.load", "torch.package.PackageImporter", "torch.ops.load_library",
    "torch._inductor.aoti_load_package", "torch.utils.cpp_extension.load", "numpy.lib.format.read_array",
    "pandas.read_pickle", "pandas.eval",
}  # fmt: skip
IMPORTERS = {"importlib.import_module", "importlib.__import__", "roclip.core.deferred.Deferred"}  # import what a text names
SAFE_LOADERS = {"yaml.SafeLoader", "yaml.CSafeLoader", "yaml.loader.SafeLoader"}
LOOKED_AT = {("weight_files", "pickle")}  # its Unpickler finds a few names alone: tests/model/test_weight_files.py


def names(tree: ast.AST) -> dict[str, str]:
    """What each imported name stands for: numpy after `import numpy as np`, os.system after `from os import system as s`."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.asname or alias.name.split(".")[0]: alias.name if alias.asname else alias.name.split(".")[0]
                      for alias in node.names}  # fmt: skip
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def dotted(node: ast.AST, known: dict[str, str]) -> str:
    """The full name of what is called, `?` for a part that is computed."""
    if isinstance(node, ast.Name):
        return known.get(node.id, node.id)
    return f"{dotted(node.value, known)}.{node.attr}" if isinstance(node, ast.Attribute) else "?"


def is_constant(node: ast.AST | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def offences(source: str) -> list[str]:
    """What a module could run code of its data with, each as `line: what`."""
    tree = ast.parse(source)
    known, found = names(tree), []
    own = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}

    def offend(node: ast.AST, what: str) -> None:
        found.append(f"{node.lineno}: {what}")

    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for module in modules:
                if module.split(".")[0] in IMPORTS:
                    offend(node, module)
        # also where it is not called at once: `run = eval`, `map(eval, lines)`
        if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):
            name = dotted(node, known)
            if name in CALLS:
                offend(node, name)
        if not isinstance(node, ast.Call):
            continue
        name, given = dotted(node.func, known), {keyword.arg: keyword.value for keyword in node.keywords}
        if "shell" in given and not is_constant(given["shell"], False):
            offend(node, "shell")
        if "allow_pickle" in given and not is_constant(given["allow_pickle"], False):
            offend(node, "allow_pickle")
        if name == "numpy.load" and len(node.args) > 2:
            offend(node, "allow_pickle")
        if name in ("torch.load", "torch.serialization.load") and not is_constant(given.get("weights_only"), True):
            offend(node, "torch.load without weights_only")
        module, _, function = name.rpartition(".")
        if module == "yaml" and function in ("load", "load_all", "compose", "compose_all"):
            loaders = [*node.args[1:], *([given["Loader"]] if "Loader" in given else [])]
            if not loaders or any(dotted(loader, known) not in SAFE_LOADERS for loader in loaders):
                offend(node, f"{name} without a safe loader")
        if name in IMPORTERS and not isinstance(node.args[0], ast.Constant):
            offend(node, "a module chosen by data")
        if function in ("load", "loads") and name not in LOADERS | own:
            offend(node, f"{name}, which nobody has looked at")
        if "trust_remote_code" in given and not is_constant(given["trust_remote_code"], False):
            offend(node, "trust_remote_code")
    return found


# functions called `load` that have been looked at: those with rules of their own, and those that read safetensors and images
LOADERS = {
    "json.loads", "yaml.load", "torch.load", "numpy.load", "roclip.model.towers.load", "intake.load", "self.intake.load",
    "image.load", "?.load",
}  # fmt: skip


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_modules_run_no_code_from_data(path):
    assert [line for line in offences(path.read_text()) if (path.stem, line.partition(": ")[2]) not in LOOKED_AT] == []


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_rules_run_no_code_from_data(path):
    """The Python that Snakemake makes of them."""
    cache = SimpleNamespace(open=lambda _: StringIO(path.read_text()))
    code, _ = parse(infer_source_file(str(path)), SimpleNamespace(sourcecache=cache), {})
    assert "rule" in code
    assert offences(code) == []


BAD = """
import pickle
from pickle import loads
import marshal as m
import shelve, json
import importlib; importlib.import_module(name)
from importlib import import_module; import_module("a" + name)
import importlib.util; importlib.util.spec_from_file_location("a", path)
eval(text)
exec(text)
compile(text, "a", "exec")
list(map(eval, lines))
run = exec
__import__(name)
import os; os.system(command)
from os import system as s; s(command)
import os; os.popen(command)
import subprocess; subprocess.run(command, shell=True)
import subprocess; subprocess.run(command, shell=flag)
from subprocess import Popen; Popen(command, shell=1)
import subprocess; subprocess.getoutput(command)
import yaml; yaml.load(text)
import yaml; yaml.load(text, yaml.Loader)
import yaml; yaml.load(text, Loader=yaml.UnsafeLoader)
import yaml; yaml.load(text, Loader=yaml.FullLoader)
from yaml import load; load(text)
import yaml; yaml.unsafe_load(text)
import yaml as y; y.full_load(text)
import torch; torch.load(path)
import torch; torch.load(path, weights_only=False)
import torch; torch.load(path, weights_only=flag)
from torch import load as read; read(path)
import torch as t; t.jit.load(path)
import torch; torch.export.load("a.pt2")
import torch; torch.hub.load(repository, name)
import torch; torch.package.PackageImporter(path)
import torch; torch.ops.load_library(path)
import numpy as np; np.load(path, allow_pickle=True)
import numpy; numpy.load(path, None, True)
from numpy import load; load(path, allow_pickle=flag)
import pandas as pd; pd.read_pickle(path)
import joblib; joblib.load(path)
import sklearn.externals.joblib as j; j.load(path)
import ctypes; ctypes.CDLL(path)
import dill
import runpy; runpy.run_path(path)
from roclip.core.deferred import Deferred; Deferred(name)
model.load(path)
AutoModel.from_pretrained(name, trust_remote_code=True)
"""
GOOD = """
import yaml; yaml.safe_load(text)
import yaml; yaml.load(text, Loader=yaml.SafeLoader)
import yaml; yaml.compose(text, Loader=yaml.SafeLoader)
import torch; torch.load(path, weights_only=True)
import numpy as np; np.load(path)
import numpy as np; np.load(path, allow_pickle=False)
import re; re.compile(pattern)
import subprocess; subprocess.run(["git", "describe"])
import subprocess; subprocess.run(command, shell=False)
import json; json.loads(text)
from importlib import import_module; import_module("img2dataset.main")
model.visual.compile()
model.eval()
"""


@pytest.mark.parametrize("snippet", BAD.strip().splitlines())
def test_the_test_finds_what_runs_code(snippet):
    assert offences(snippet)


@pytest.mark.parametrize("snippet", GOOD.strip().splitlines())
def test_the_test_lets_the_rest_pass(snippet):
    assert offences(snippet) == []


# canaries: files that would create another one if anything in them were run


class Trap:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def trap(tmp_path):
    path = tmp_path / "trap"
    yield Trap(path)
    assert not path.exists()


def test_the_trap_works(tmp_path):
    pickle.loads(pickle.dumps(Trap(tmp_path / "trap")))
    assert (tmp_path / "trap").exists()


def malicious(folder: Path, trap: Trap) -> list[Path]:
    """A pickle, a .pt, a .npy, a .npz with objects, a script and YAML, each under its own name."""
    folder.mkdir()
    (folder / "a.pkl").write_bytes(pickle.dumps(trap))
    torch.save(trap, folder / "a.pt")
    torch.save({"weight": trap}, folder / "state.pt")
    np.save(folder / "a.npy", np.array([trap], object), allow_pickle=True)
    np.savez(folder / "a.npz", **{"test/labels": np.array([trap], object), "last_clip/class_features": np.zeros(1)})
    (folder / "classes.py").write_text(f"open({str(trap.path)!r}, 'w')\n")
    (folder / "a.yaml").write_text(f"!!python/object/apply:os.mknod [{trap.path}]\n")
    (folder / "cut.npz").write_bytes((folder / "a.npz").read_bytes()[:300])
    (folder / "empty").write_bytes(b"")
    return sorted(folder.iterdir())


def test_no_reader_runs_what_it_reads(tmp_path, trap):
    files = malicious(tmp_path / "files", trap)
    readers = {
        "features.npz": Features, "last_clip.safetensors": towers.load, "t.csv": lambda path: read_table(path, ("path",)),
        "a.json": read_json, "model.json": lambda path: towers.create(towers.model_config(str(path))),
    }  # fmt: skip
    for name, read in readers.items():
        for file in files:
            (tmp_path / name).write_bytes(file.read_bytes())
            with pytest.raises(UserError) as caught:
                read(tmp_path / name)
            assert str(tmp_path / name) in str(caught.value), (name, file)
            assert str(caught.value).isprintable()
    for file in files:
        (tmp_path / "a.png").write_bytes(file.read_bytes())
        assert len(Intake([str(tmp_path)], 1).readable(tmp_path / "t.csv", [str(tmp_path / "a.png"), str(file)], 1)) == 0


def test_no_checkpoint_runs_what_it_holds(tmp_path, trap, caplog):
    for number, file in enumerate(malicious(tmp_path / "files", trap)):
        (tmp_path / f"step{number:09d}.safetensors").write_bytes(file.read_bytes())
    save_file({"a": torch.zeros(1)}, tmp_path / "step000000999.safetensors", metadata={"record": "!!python/none"})
    assert States(tmp_path, {}).newest(tmp_path) is None
    assert caplog.text.count("is passed over") == 10


def test_a_config_with_objects_is_refused(tmp_path, trap):
    malicious(tmp_path / "files", trap)
    path = tmp_path / "files/a.yaml"
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load(path.read_text())
    check_files([path])  # which composes a tree, and makes no objects
    with pytest.raises(UserError):
        check(changed("data.classes", str(tmp_path / "files/a.pkl")), ATTACKS)


def test_templates_and_classes_are_text_only(tmp_path, trap):
    (tmp_path / "classes.py").write_text(f"open({str(trap.path)!r}, 'w')\n{{0.__class__}}\n")
    classes = read_lines(tmp_path / "classes.py")
    assert prompts(classes, ["a {}", "{} {0.__class__} {name!r:>9}"])[2:] == [
        "a {0.__class__}", "{0.__class__} {0.__class__} {name!r:>9}",
    ]  # fmt: skip
