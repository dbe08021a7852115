"""Stage: write the report of an experiment, one HTML file with its figures inside that needs neither a network nor a script.

The text is in the template, workflow/report/report.html; here is gathered what it shows. Files of models and attacks that the
config no longer names are left out.
"""

import base64
import json
import os
import platform
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import yaml
from safetensors import safe_open

from roclip.core.atomic import atomic
from roclip.core.errors import UserError
from roclip.core.files import read_json, read_lines, read_table
from roclip.core.options import Stage, option
from roclip.core.provenance import SUFFIX, commit, read_record
from roclip.data.downstream_sets import FOLDERS, absent_sets
from roclip.experiment.plan import Plan, base, plan
from roclip.experiment.run_times import speeds
from roclip.reporting.figures.style import DPI
from roclip.reporting.labels import CHECKPOINTS
from roclip.reporting.paper_tables import plain
from roclip.reporting.results import RESULTS, accuracy, percent
from roclip.training.schedule import PACE

PAPER_TABLES = ("attacks", "utility", "downstream", "strong_attack")
VERSIONS = ("torch", "open_clip_torch", "numpy", "scikit-learn", "matplotlib", "snakemake")


@dataclass(frozen=True)
class ReportOptions:
    results: Path = option("folder of the experiment, with config.yaml, tables/, attacks/, models/ and benchmarks/")
    template: Path = option("the Jinja2 template of the page")
    figures: tuple[Path, ...] = option("the figures, as PNG")
    out: Path = option("the HTML file to write")


def result_rows(results: Iterable[dict[str, str]]) -> list[list[str]]:
    """What the attacks and methods that are no variants can do, a row for each checkpoint."""
    shares, accuracies = ("success", "control"), ("zero_shot", "linear_probe")
    return [
        [row["attack"], row["method"], CHECKPOINTS[row["checkpoint"]], row["seeds"]]
        + [percent(row, name) or "–" for name in shares]
        + [accuracy(row, name) or "–" for name in accuracies]
        for row in plain(results)
    ]


def paper_table(tables: Path, name: str) -> dict[str, Any] | None:
    """Header, rows and notes of a table in the paper's shape; None when it has no rows.

    The notes are the lines of its Markdown twin that belong to no table.
    """
    path = tables / f"{name}.csv"
    if not path.exists():
        return None
    rows = read_table(path, ())
    twin = path.with_suffix(".md")
    lines = twin.read_text(encoding="utf-8").splitlines() if twin.exists() else []
    notes = " ".join(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("|"))
    return {"header": list(rows[0]), "rows": [list(row.values()) for row in rows], "notes": notes} if rows else None


def attack_facts(results: Path, planned: Plan) -> list[dict[str, Any]]:
    """Each attack that is no variant, by what it wrote for the first seed: counts and rates are the same for all seeds.

    That is its manifest, and of its record the commit and the hashes of its inputs.
    """
    first = {attack: seed for attack, _, seed in reversed(planned.runs)}
    attacks = [attack for attack in planned.attacks() if attack == base(attack)]
    facts = []
    for attack in attacks:
        folder = results / f"attacks/{attack}/seed{first[attack]}"
        record = read_record(folder / f"attacks{SUFFIX}")
        inputs = {os.path.normpath(folder / path): digest for path, digest in record["inputs"].items()}
        facts.append({"name": attack, "commit": record["commit"], "inputs": inputs, **read_json(folder / "manifest.json")})
    return facts


def records(results: Path, models: Iterable[str]) -> list[dict[str, Any]]:
    """What the weight files say of themselves: commit, versions, hashes, options."""
    found = []
    for model in models:
        for path in sorted((results / "models" / model / "weights").glob("*.safetensors")):
            with safe_open(path, "np") as file:
                found.append(json.loads(file.metadata()["record"]))
    return found


def stage_times(results: Path, models: set[str], attacks: set[str]) -> list[dict[str, Any]]:
    """By stage: its jobs, their seconds in all, the longest, and the largest peak of memory in MB, from the benchmark files."""
    stages: dict[str, list[tuple[float, float]]] = defaultdict(list)
    folder = results / "benchmarks"
    for path in sorted(folder.rglob("*.tsv")):
        stage, *of = path.relative_to(folder).with_suffix("").parts
        if stage != "figures" and of and "/".join(of) not in (attacks if stage == "attack" else models):
            continue
        for row in read_table(path, ("s", "max_rss")):
            memory = float(row["max_rss"]) if row["max_rss"] not in ("-", "NA", "") else 0.0  # too short to be seen
            stages[stage].append((float(row["s"]), memory))
    return [
        {"stage": stage, "jobs": len(jobs), "seconds": sum(s for s, _ in jobs), "longest": max(jobs)[0],
         "memory": max(memory for _, memory in jobs)}
        for stage, jobs in sorted(stages.items(), key=lambda item: -sum(s for s, _ in item[1]))
    ]  # fmt: skip


def machine() -> dict[str, str]:
    """The machine that writes the report: processor, cores that may be used, memory, GPU."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")] if cpuinfo.exists() else []
    gpu = "none"
    if shutil.which("nvidia-smi"):
        asked = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True)
        gpu = ", ".join(asked.stdout.split("\n")).strip(", ") if asked.returncode == 0 else "none"
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "processor": names[0].partition(":")[2].strip() if names else processor,
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "memory": f"{memory:.1f} GiB",
        "GPU": gpu or "none",
    }


def embedded(path: Path) -> dict[str, Any]:
    """A PNG as a data URL, and the width at which its letters have their size, in CSS pixels (96 an inch).

    Raises UserError when it is missing.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; draw the figures first") from None
    width = int.from_bytes(content[16:20], "big")  # of the header that begins a PNG
    return {"url": "data:image/png;base64," + base64.b64encode(content).decode("ascii"), "width": width * 96 // DPI}


def gather(options: ReportOptions) -> dict[str, Any]:
    """All that the template shows. Raises UserError when a file of the experiment is missing or broken."""
    results, tables = options.results, options.results / "tables"
    try:
        config = yaml.safe_load((results / "config.yaml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{results / 'config.yaml'}: no such file; the workflow writes it when it starts") from None
    planned = plan(config)
    models = planned.model_folders()
    facts = attack_facts(results, planned)
    weights = records(results, models)
    claims = defaultdict(list)
    for claim in read_json(tables / "claims.json"):
        claims[claim["about"]].append(claim["text"])
    methods = {name: planned.method[name] for name in planned.methods() if name == base(name)}
    judged = [name for name in FOLDERS if any(results.glob(f"measures/*/*/*/zero_shot_{name}.json"))]
    hashes = {path: digest for fact in facts for path, digest in fact["inputs"].items()}
    return {
        "config": config,
        "seeds": planned.seeds(),
        "claims": claims,
        "figures": {path.stem: embedded(path) for path in options.figures},
        "attacks": facts,
        "poisoned": [fact for fact in facts if fact["poisons"]],
        "classes": len(read_lines(Path(config["data"]["classes"]))),
        "methods": methods,
        "absent_sets": absent_sets(config["downstream"], judged),
        "settings": list(dict.fromkeys(key for settings in methods.values() for key in settings)),
        "results": result_rows(read_table(tables / "results.csv", RESULTS)),
        "paper": {name: table for name in PAPER_TABLES if (table := paper_table(tables, name))},
        "commits": sorted({commit(), *(record["commit"] for record in [*facts, *weights])}),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
        "trained_with": sorted({record["versions"]["torch"] for record in weights}),
        "weights": len(weights),
        "hashes": hashes,
        "machine": machine(),
        "stages": stage_times(results, set(models), set(planned.attack_folders())),
        "speeds": speeds(row for model in models for row in read_table(results / "models" / model / "pace.csv", PACE)),
    }


def render(template: Path, content: dict[str, Any]) -> str:
    """The page; whatever comes from data is escaped. Raises UserError for a template that is missing or broken."""
    loader = jinja2.FileSystemLoader(template.parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    try:
        return environment.get_template(template.name).render(content)
    except jinja2.TemplateNotFound:
        raise UserError(f"{template}: no such file") from None
    except jinja2.TemplateError as error:
        raise UserError(f"{template}: {error}") from None


def run(options: ReportOptions) -> None:
    page = render(options.template, gather(options))
    with atomic(options.out) as temporary:
        temporary.write_text(page, encoding="utf-8")


STAGE = Stage(ReportOptions, run)
