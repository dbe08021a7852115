"""The golden record: what the code of a commit gave, to which today's code is compared to the byte.

    python -m tests.golden make RECORD.json [COMMIT]   # runs a commit (HEAD) in a worktree; 10 minutes on 2 cores
    python -m tests.golden compare RECORD.json         # runs today's code in a copy and compares

For changes that are to leave all results as they are. Compared are weights, histories, matches, cosines, the images and
captions of attacks, and every measured value, of config/test.yaml, of a default run of two epochs, and of a training as the
authors' release has it. Records of two machines differ, so make it on the machine where you compare.
"""

import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import safe_open

from tests.conftest import ROOT, SNAKEMAKE, copy_of_the_project

TWO = """
experiment: two
attacks: [targeted, patch]
defences: [clip, roclip]
sweeps: { release: { attacks: [targeted], defences: [roclip_release] } }
train: { epochs: 2 }
defence: { roclip_release: { train: { kind: roclip, pool_fill: noise, caption_gradient: zeros, augment_captions: once } } }
"""


def run(project: Path) -> dict[str, Any]:
    """The record of a checkout."""
    (project / "two.yaml").write_text(TWO)
    environment = {**os.environ, "PYTHONPATH": str(project)}
    for config in ("config/test.yaml", "two.yaml"):
        command = [SNAKEMAKE, "--cores", "all", "--configfile", config, "--quiet", "all"]
        subprocess.run(command, cwd=project, env=environment, check=True)
    return {name: record_of(project / "results" / name) for name in ("test", "two")}


def record_of(results: Path) -> dict[str, Any]:
    """Every compared value of an experiment by name."""
    values = dict(_attacks(results))
    for model in sorted(path.parent for path in results.glob("models/*/*/seed*/history.csv")):
        name = "/".join(model.parts[-3:])
        values |= {f"{name}: {key}": value for key, value in _model(model)}
    for path in sorted(results.glob("measures/**/*.json")):
        if not path.name.endswith(".record.json"):
            values |= _measures(results, path)
    return values


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _attacks(results: Path) -> Iterator[tuple[str, Any]]:
    for folder in sorted(path.parent for path in results.glob("attacks/*/seed*/targets.csv")):
        name, root = "/".join(folder.parts[-2:]), results.parents[1]
        for table, column in (("train.csv", "caption"), ("targets.csv", "label")):
            rows = _rows(folder / table)
            made = [row["path"] for row in rows if "/attacks/" in row["path"]]  # images that the attack made
            digests = [hashlib.sha256((root / path).read_bytes()).hexdigest() for path in made]
            yield f"{name}: {table}", [[row[column] for row in rows], digests]


def _model(model: Path) -> Iterator[tuple[str, Any]]:
    for path in sorted((model / "weights").glob("*.safetensors")):
        with safe_open(path, "np") as file:
            tensors = {key: file.get_tensor(key).tobytes() for key in file.keys()}  # noqa: SIM118 (it is no mapping)
        yield path.name, {key: hashlib.sha256(tensors[key]).hexdigest() for key in sorted(tensors)}
    for row in _rows(model / "history.csv"):
        yield f"epoch {row['epoch']}", {key: cell for key, cell in row.items() if cell != "nan"}
    yield "cosines", [list(row.values()) for row in _rows(model / "cosines.csv")]
    for table in sorted((model / "tables").glob("*.csv")):
        yield table.name, [list(row.values()) for row in _rows(table)]


def _measures(results: Path, path: Path) -> dict[str, Any]:
    name = "/".join(path.relative_to(results / "measures").parts[:3])
    found = {}
    for row in json.loads(path.read_text()):
        key = f"{name}: {row['checkpoint']} {row['evaluation_set']} {row['measure']}"
        found[key] = [row["hits"], row["n"], row.get("outcomes")]
    return found


def differences(record: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The names of all values that differ, or that one side lacks."""
    pairs = [
        (f"{name} {key}", record[name].get(key), now[name].get(key)) for name in record for key in record[name] | now[name]
    ]
    return [f"{name}: {_short(old)} before, {_short(new)} now" for name, old, new in pairs if old != new]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 200 else f"{text[:200]}..."


def main(action: str, place: str, commit: str = "HEAD") -> int:
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        if action == "make":
            subprocess.run(["git", "worktree", "add", "--detach", project, commit], cwd=ROOT, check=True)
            try:
                Path(place).write_text(json.dumps(run(project)))
            finally:
                subprocess.run(["git", "worktree", "remove", "--force", project], cwd=ROOT, check=True)
            return 0
        record, now = json.loads(Path(place).read_text()), run(copy_of_the_project(project))
    found = differences(record, now)
    print(*found, f"{sum(map(len, record.values()))} values compared, {len(found)} differ", sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
