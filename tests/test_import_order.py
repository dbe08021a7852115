"""What the parts may know of each other, what they may load, and how long a file may be."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from roclip_command import STAGES
from tests.conftest import ROOT

# each may import itself and what stands before it; only the command knows roclip and attacks both
ORDER = (
    "roclip", "roclip.core", "roclip.data", "roclip.model", "roclip.evaluation", "roclip.defences", "roclip.training",
    "roclip.experiment", "roclip.reporting", "attacks", "roclip_command",
)  # fmt: skip
FOLDERS = ("attacks", "benchmarks", "install", "roclip", "tests", "workflow")
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted([*ROOT.glob("roclip/**/*.py"), *ROOT.glob("attacks/**/*.py"), ROOT / "roclip_command.py"])
}
REGISTRIES = (
    "attacks", "roclip.defences", "roclip.defences.filters", "roclip.defences.repair", "roclip.evaluation",
    "roclip.reporting.figures", "roclip.experiment.config", "roclip.experiment.plan", "roclip.experiment.targets",
)  # fmt: skip
SLOW = ("matplotlib", "open_clip", "pandas", "scipy", "sklearn", "torch", "torchvision")
BY_NAME = ("Deferred", "import_module", "__import__")  # calls that import what a text says
LONGEST = 300  # lines of a file


def named(node: ast.AST) -> list[str]:
    """What a statement or call imports, now or when it is first used; of `from a import b` both a and a.b."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "a relative import hides what it imports"
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BY_NAME:
        return [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
    return []


def all_imports(path: Path) -> set[str]:
    """The modules of this project that a file imports anywhere, in functions, for annotations and by name too."""
    names = {name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) for name in named(node)}
    return names & MODULES.keys()


def first_imports(path: Path) -> Iterator[str]:
    """The modules of this project that are loaded when a file is imported."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (name for name in named(node) if name in MODULES)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)


def circle(graph: dict[str, set[str]]) -> set[str]:
    """What is left of a graph without that which leads to nothing else, again and again: circles, and what leads to them."""
    while ends := {name for name, found in graph.items() if not found & graph.keys() - {name}}:
        graph = {name: found for name, found in graph.items() if name not in ends}
    return set(graph)


def loaded(*modules: str) -> set[str]:
    """The slow packages that are loaded with these modules, without those that `defer_package` has put off."""
    code = f"""
import {", ".join(modules)}, sys
for name in sys.modules.keys() & {SLOW}:
    load = vars(sys.modules[name]).get("__getattr__")
    if getattr(load, "__module__", "") != "roclip.core.deferred":
        print(name)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def place(module: str) -> int:
    """Where its package stands in the order; of a module of roclip that is in none of the packages, an error."""
    first, _, rest = module.partition(".")
    return ORDER.index(f"{first}.{rest.partition('.')[0]}" if first == "roclip" and rest else first)


@pytest.mark.parametrize("module", MODULES)
def test_a_package_imports_itself_and_what_stands_before_it(module):
    own = place(module)
    assert {name for name in all_imports(MODULES[module]) if place(name) > own} == set()


def test_no_module_imports_itself_by_way_of_others():
    assert circle({name: set(first_imports(path)) for name, path in MODULES.items()}) == set()


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"e"}, "e": set(), "f": {"f"}}) == {"a", "b", "c"}


def test_a_dry_run_loads_nothing_slow():
    """What the workflow's files import, and with it all registries."""
    rules = [path.read_text(encoding="utf-8") for path in [ROOT / "Snakefile", *ROOT.glob("workflow/rules/*.smk")]]
    imported = {
        name for text in rules for name in re.findall(r"^(?:from|import) ((?:roclip|attacks)[\w.]*)", text, re.MULTILINE)
    }
    assert imported & {*REGISTRIES}
    assert loaded(*sorted(imported | {*REGISTRIES})) == set()


def test_measuring_and_reporting_start_without_torch():
    modules = [STAGES["evaluation"]["measure"], *STAGES["reporting"].values()]
    assert loaded(*modules).isdisjoint(("open_clip", "torch", "torchvision"))


def test_test_modules_share_by_fixtures_alone():
    tests = {path: ast.walk(ast.parse(path.read_text(encoding="utf-8"))) for path in ROOT.glob("tests/**/*.py")}
    imported = {(str(path.relative_to(ROOT)), name) for path, nodes in tests.items() for node in nodes for name in named(node)}
    assert {(path, name) for path, name in imported if name.startswith("tests.") and ".test_" in name} == set()


def test_no_file_is_too_long():
    files = [*ROOT.glob("*.py"), ROOT / "Snakefile"]
    files += [path for folder in FOLDERS for ending in ("py", "smk") for path in ROOT.glob(f"{folder}/**/*.{ending}")]
    lines = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n") for path in files}
    assert {name: count for name, count in lines.items() if count > LONGEST} == {}
