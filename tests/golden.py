"""The golden record: what the code of version 1 gave, to which today's code is compared to the byte.

    python -m tests.golden make RECORD.json      # runs the old commit, in a worktree of its own; about 10 minutes on 2 cores
    python -m tests.golden compare RECORD.json   # runs today's code in a copy and compares

Compared are weights, histories, matches, cosines, the images and captions of attacks, and every measured value, of
config/test.yaml, of a default run of two epochs, and of a training as the authors' release has it. Records of two machines
differ, so make it on the machine where you compare.
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

COMMIT = "9e46152"
RELEASE = "pool_fill: noise, caption_gradient: zeros, augment_captions: once"
OLD_RELEASE = f"match_every: 2, match_from: 1, pool_size: 800, augment_images: true, {RELEASE}"
TWO = {
    "old": f"""
experiment: two
attacks: [targeted, patch]
methods: [clip, roclip]
sweeps: {{ release: {{ attacks: [targeted], methods: [roclip_release] }} }}
train: {{ epochs: 2 }}
method: {{ roclip_release: {{ {OLD_RELEASE} }} }}
""",
    "new": f"""
experiment: two
attacks: [targeted, patch]
defences: [clip, roclip]
sweeps: {{ release: {{ attacks: [targeted], defences: [roclip_release] }} }}
train: {{ epochs: 2 }}
defence: {{ roclip_release: {{ train: {{ kind: roclip, {RELEASE} }} }} }}
""",
}


def run(project: Path, age: str) -> dict[str, Any]:
    """The record of a checkout: old, with methods, or new, with defences."""
    (project / "two.yaml").write_text(TWO[age])
    environment = {**os.environ, "PYTHONPATH": str(project)}
    for config in ("config/test.yaml", "two.yaml"):
        command = [SNAKEMAKE, "--cores", "all", "--configfile", config, "--quiet", "all"]
        subprocess.run(command, cwd=project, env=environment, check=True)
    return {name: record_of(project / "results" / name) for name in ("test", "two")}


def record_of(results: Path) -> dict[str, Any]:
    """Every compared value of an experiment under a name that both layouts share."""
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
    matches = next((path for path in (model / "tables/matches.csv", model / "matches.csv") if path.exists()), None)
    yield "matches", [list(row.values()) for row in _rows(matches)] if matches else []


def _measures(results: Path, path: Path) -> dict[str, Any]:
    name = "/".join(path.relative_to(results / "measures").parts[:3])
    found = {}
    for row in json.loads(path.read_text()):
        judged_on = row.get("evaluation_set") or {"test": "own"}.get(row["exam"], f"attack-{row['exam']}")
        key = f"{name}: {row['checkpoint']} {judged_on} {row['measure']}"
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


def main(action: str, place: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        if action == "make":
            subprocess.run(["git", "worktree", "add", "--detach", project, COMMIT], cwd=ROOT, check=True)
            try:
                Path(place).write_text(json.dumps(run(project, "old")))
            finally:
                subprocess.run(["git", "worktree", "remove", "--force", project], cwd=ROOT, check=True)
            return 0
        record, now = json.loads(Path(place).read_text()), run(copy_of_the_project(project), "new")
    found = differences(record, now)
    print(*found, f"{sum(map(len, record.values()))} values compared, {len(found)} differ", sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
