"""One Snakemake holds an experiment: by a lock that ends with its process, however that ends.

What a run that was killed left half-written is removed by the next one, in the folders that the workflow writes and by the
names that roclip/core/atomic.py gives. Whatever else lies there is left alone.
"""

import logging
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from roclip.core.atomic import atomic, remove_unfinished
from roclip.core.errors import UserError
from roclip.core.locks import lock, open_lock
from roclip.core.yaml_files import read_mapping
from roclip.experiment.kept import check_kept
from roclip.experiment.plan import Plan, write_plan
from roclip.experiment.terminal import outlive_terminal

FOLDERS = ("data", "attacks", "filters", "models", "measures", "detection", "exports", "tables", "figures")
# folders of up to millions of files, none of them written by roclip.core.atomic, and the states of a training that may still
# write: it cleans up there when it resumes
LEFT_ALONE = ("data/scenes", "data/images", "data/download", "attacks/*/*/images", "models/*/*/*/state")
CONFIG = "config.yaml"  # the complete config of a run, beside its results
OWNER = re.compile(r"process \d+ on .*")


def folder_of(experiment: str) -> str:
    """The folder of an experiment. Raises UserError where something else is in its place, or that of another."""
    results = Path("results", experiment)
    for path in (results.parent, results):
        if path.is_symlink() and not path.exists():
            raise UserError(f"{path}: is a link to nothing; remove it, or name the experiment otherwise")
        if path.exists() and not path.is_dir():
            raise UserError(f"{path}: is no folder; remove it, or name the experiment otherwise")
    for path in (results / name for name in (*FOLDERS, "logs", "benchmarks")):
        if (path.exists() or path.is_symlink()) and not path.is_dir():
            raise UserError(f"{path}: is no folder; remove it")
    made = _experiment_in(results / CONFIG)
    if made not in (experiment, None):  # its tables name images by the folder that they were made in
        raise UserError(
            f"{results}: was copied or renamed: its {CONFIG} is of the experiment {made}; rename it so, or remove it"
        )
    return str(results)


def _experiment_in(path: Path) -> str | None:
    """The experiment of a config that a run wrote down; None where there is none that can be read."""
    try:
        return read_mapping(path).get("experiment") if path.is_file() else None
    except UserError:  # it is written anew
        return None


def begin(results: Path, config: Mapping[str, Any], plan: Plan, dag: Any, logger: logging.Logger) -> None:
    """What comes before the first job: results that are kept are looked at, the experiment is held, config and plan are
    written, the terminal may go away.

    dag, logger: Snakemake's. Raises UserError as `check_kept`, `claim` and `write_down`.
    """
    check_kept(dag)
    claim(results)
    write_down(results, config, plan)
    outlive_terminal(logger)


def write_down(results: Path, config: Mapping[str, Any], plan: Plan) -> None:
    """Write the complete config and the plan of a run beside its results, where they say something else yet.

    Raises UserError where they cannot be written.
    """
    text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
    path = results / CONFIG
    try:
        if not path.is_file() or path.read_bytes() != text.encode():
            with atomic(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        write_plan(results / "plan.json", plan)
    except OSError as error:
        what = error.filename2 or error.filename or path
        raise UserError(f"{what}: cannot be written ({error.strerror}); is it a folder, or another's?") from None


def claim(results: Path) -> None:
    """Hold an experiment for as long as this process lives, and remove what a killed run left half-written.

    Raises UserError while another process holds it, and where the folder cannot be used.
    """
    try:
        results.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{results}: cannot be made ({error.strerror})") from None
    _lock(results)
    remove_unfinished(results)
    for name in FOLDERS:
        for place, folders, _ in os.walk(results / name):
            folder = Path(place)
            inside = {each: (folder / each).relative_to(results) for each in folders}
            folders[:] = [each for each, path in inside.items() if not _is_left_alone(path.parts)]
            remove_unfinished(folder)
    for folder, _, names in os.walk(results / "benchmarks"):
        for path in (Path(folder, name) for name in names if name.endswith(".tsv")):
            if not path.lstat().st_size:  # Snakemake was killed as it wrote it
                path.unlink()


def _is_left_alone(parts: tuple[str, ...]) -> bool:
    """Whether a folder is one of LEFT_ALONE; an attack or a defence may be called as they are."""
    wanted = (each.split("/") for each in LEFT_ALONE)
    return any(len(each) == len(parts) and all(a in ("*", b) for a, b in zip(each, parts, strict=True)) for each in wanted)


def _lock(results: Path) -> None:
    """Raises UserError as `claim`, and for a `.lock` that is not ours: nothing is written to that."""
    path = results / ".lock"
    file = open_lock(path)  # never closed
    owner = os.read(file, 1000).decode(errors="replace")
    if os.fstat(file).st_nlink > 1 or (owner and not OWNER.fullmatch(owner)):
        os.close(file)
        raise UserError(f"{path}: is no lock of this workflow; rename it")
    if not lock(file, results):
        raise UserError(f"{results}: another snakemake runs this experiment ({owner}); wait for it or stop it")
    os.ftruncate(file, 0)
    os.pwrite(file, f"process {os.getpid()} on {platform.node()}".encode(), 0)
