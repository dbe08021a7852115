"""Stage: write the report of an experiment, one HTML file with its figures inside that needs neither a network nor a script.

The text is in the template, workflow/report/report.html; here is gathered what it shows, by the plan: files of models and
attacks that the config no longer names are left out.
"""

import base64
import html
import json
import os
import platform
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from inspect import getdoc
from pathlib import Path
from typing import Any

import jinja2
from safetensors import SafetensorError, safe_open

from roclip.core.atomic import atomic
from roclip.core.columns import PACE
from roclip.core.errors import UserError
from roclip.core.files import read_lines, read_table, read_text
from roclip.core.options import Stage, option
from roclip.core.provenance import SUFFIX, commit, read_record
from roclip.core.words import checkpoint_label, counted
from roclip.data.downstream_sets import absent_sets
from roclip.data.url_list import SPLITS
from roclip.experiment.plan import Plan, base, nothing_to_detect, read_plan
from roclip.experiment.run_times import positive, rows_of, speeds
from roclip.experiment.schema import STEPS
from roclip.reporting.detection import FILTER_HEADINGS, cautions, filter_glance, read_detections, read_filtered
from roclip.reporting.detection import HEADINGS as DETECTION_HEADINGS
from roclip.reporting.detection import glance as detection_glance
from roclip.reporting.equal_accuracy import read_equal
from roclip.reporting.equal_claims import HEADINGS as EQUAL_HEADINGS
from roclip.reporting.equal_claims import equal_table
from roclip.reporting.figures import figures_of
from roclip.reporting.figures.style import DPI
from roclip.reporting.front import HEADINGS as FRONT_HEADINGS
from roclip.reporting.front import front_table, read_front
from roclip.reporting.gather import glance, headings
from roclip.reporting.gathered import check_planned
from roclip.reporting.machine import machine
from roclip.reporting.planned import paper_tables
from roclip.reporting.power import measured_spread, power, what_seeds_show
from roclip.reporting.results import INTERVALS, pivot, read_results
from roclip.reporting.run_files import read_claims, read_config, read_manifest
from roclip.reporting.took import HEADINGS as TOOK_HEADINGS
from roclip.reporting.took import read_took
from roclip.reporting.took import table as took_table

VERSIONS = ("torch", "open_clip_torch", "numpy", "scikit-learn", "matplotlib", "snakemake")
DRAWN = "scenes drawn with emoji"


@dataclass(frozen=True)
class ReportOptions:
    results: Path = option("folder of the experiment, with config.yaml, plan.json and what the other stages wrote")
    template: Path = option("the Jinja2 template of the page")
    out: Path = option("the HTML file to write")


def sources(data: Mapping[str, Any]) -> dict[str, list[str]]:
    """By source its splits: a table on this disk, a list of URLs, or, where there is neither, drawn scenes."""
    lists, found = data["url_list"] or {}, defaultdict(list)
    for split in SPLITS:
        listed = lists.get(split) if isinstance(lists, Mapping) else lists
        found[data["tables"].get(split) or listed or DRAWN].append(split)
    return dict(found)


def result_rows(rows: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """What the attacks and defences that are no variants can do, a row for each checkpoint."""
    return [[attack, defence, checkpoint_label(name), *cells] for attack, defence, name, *cells in glance(rows)]


def settings_of_step(settings: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    """The settings of a step as text, those of a step within it too: `filter.scored_by.kind`, `clip`."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from settings_of_step(value, f"{prefix}.{key}")
        else:
            yield f"{prefix}.{key}", str(value).lower()


def recipes(defences: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """A row for each setting of any recipe, with its value in each of them."""
    rows = []
    for step in STEPS:
        columns = [dict(settings_of_step(recipe.get(step, {}), step)) for recipe in defences.values()]
        keys = dict.fromkeys(key for column in columns for key in column)
        rows += [[key, *(column.get(key, "–") for column in columns)] for key in keys]
    return rows


def kinds(defences: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Step, kind and what it does, of each kind that a recipe has."""
    used = dict.fromkeys((step, r[step]["kind"]) for step in STEPS for r in defences.values() if step in r)
    return [(step, kind, first_sentence(STEPS[step][kind])) for step, kind in used]


def first_sentence(documented: type) -> str:
    return " ".join(getdoc(documented).partition("\n\n")[0].split())


def paper_table(tables: Path, name: str) -> dict[str, Any] | None:
    """Header, rows and notes of a table in the paper's shape; None when it has no rows.

    The notes are the lines of its Markdown twin that belong to no table.
    """
    rows = read_table(tables / f"{name}.csv", ())
    lines = read_text(tables / f"{name}.md").splitlines()
    notes = " ".join(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("|"))
    shown = {"header": list(rows[0]), "rows": [list(row.values()) for row in rows]} if rows else {}
    return {**shown, "notes": html.unescape(notes)} if rows else None


def attack_facts(results: Path, plan: Plan) -> list[dict[str, Any]]:
    """Each attack that is no variant, by what it wrote for the first seed: counts and rates are the same for all seeds.

    That is its manifest, and of its record the commit and the hashes of its inputs.
    """
    first = {attack: seed for attack, _, seed in reversed(plan.runs)}
    facts = []
    for attack in (attack for attack in plan.attacks() if attack == base(attack)):
        folder = results / f"attacks/{attack}/seed{first[attack]}"
        record = read_record(folder / f"attack{SUFFIX}")
        inputs = {os.path.normpath(folder / path): digest for path, digest in record["inputs"].items()}
        facts.append({**read_manifest(folder), "name": attack, "commit": record["commit"], "inputs": inputs})
    return facts


def records(results: Path, models: Iterable[str]) -> list[dict[str, Any]]:
    """What the weight files say of themselves: commit and version of torch. Raises UserError for one that says nothing."""
    found = []
    for model in models:
        for path in sorted((results / "models" / model / "weights").glob("*.safetensors")):
            try:
                with safe_open(path, "np") as file:
                    record = json.loads(file.metadata()["record"])
                found.append({"commit": str(record["commit"]), "versions": {"torch": str(record["versions"]["torch"])}})
            except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError):
                raise UserError(f"{path}: not a checkpoint of roclip train; train the model again") from None
    return found


def folders_of(plan: Plan) -> set[str]:
    """The folders of attacks, models and filters that the plan names: `ATTACK/seedN`, `ATTACK/STEP/seedN`."""
    filters = {f"{attack}/{name}/seed{seed}" for attack, _, seed in plan.runs for name in plan.filters}
    return {*plan.attack_folders(), *plan.steps(), *plan.model_folders(), *filters}


def stage_times(results: Path, planned: set[str]) -> list[dict[str, Any]]:
    """By stage: its jobs, their seconds in all, the longest, and the largest peak of memory in MB, from the benchmark files.

    planned: the folders of `folders_of`; jobs of others, which the config no longer names, are left out.
    """
    stages: dict[str, list[tuple[float, float]]] = defaultdict(list)
    folder = results / "benchmarks"
    for path in sorted(folder.rglob("*.tsv")):
        stage, *of = path.relative_to(folder).with_suffix("").parts
        seeds = [place for place, part in enumerate(of) if re.fullmatch(r"seed\d+", part)]
        if seeds and not any("/".join(of[: place + 1]) in planned for place in seeds):  # an attack may be called so
            continue
        for row in rows_of(path, ("s", "max_rss")):
            stages[stage].append((positive(row["s"]), positive(row["max_rss"])))  # of memory, `-`: too short to be seen
    return [
        {"stage": stage, "jobs": len(jobs), "seconds": sum(s for s, _ in jobs), "longest": max(jobs)[0],
         "memory": max(memory for _, memory in jobs)}
        for stage, jobs in sorted(stages.items(), key=lambda item: -sum(s for s, _ in item[1]))
    ]  # fmt: skip


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


def figures(results: Path, plan: Plan) -> dict[str, dict[str, Any]]:
    """The figures of the plan, each with its caption, which is the documentation of its class."""
    return {
        name: embedded(results / f"figures/{name}.png") | {"caption": " ".join(getdoc(figure).split())}
        for name, figure in figures_of(plan).items()
    }


def gather(results: Path) -> dict[str, Any]:
    """All that the template shows. Raises UserError when a file of the experiment is missing or broken."""
    config, plan, tables = read_config(results), read_plan(results / "plan.json"), results / "tables"
    facts, weights = attack_facts(results, plan), records(results, plan.steps())
    rows, claims = read_results(tables / "results.csv"), defaultdict(list)
    check_planned(rows, plan, tables / "results.csv")
    measured = pivot(rows)
    for claim in read_claims(tables / "claims.json"):
        claims[claim["about"]].append(claim["text"])
    defences = {name: plan.defence[name] for name in plan.defences() if name == base(name)}
    paces = [path for model in plan.steps() if (path := results / "models" / model / "pace.csv").exists()]
    return {
        "config": config,
        "baseline": plan.baseline,
        "seeds": plan.seeds(),
        "claims": claims,
        "what_seeds_show": what_seeds_show(plan),
        "power": power(plan, measured_spread(measured, plan)),
        "intervals": INTERVALS,
        "figures": figures(results, plan),
        "attacks": facts,
        "poisoned": [fact for fact in facts if fact["poisons"]],
        "classes": len(read_lines(Path(config["data"]["classes"]))),
        "sources": sources(config["data"]),
        "drawn": sources(config["data"]).get(DRAWN, []),
        "defences": list(defences),
        "kinds": kinds(defences),
        "recipes": recipes(defences),
        "absent_sets": absent_sets(config["downstream"], plan.sets),
        "took_headings": TOOK_HEADINGS,
        "took": took_table(read_took(tables / "took.csv")),
        "headings": headings(measured),
        "results": result_rows(measured),
        "equal_headings": EQUAL_HEADINGS,
        "equal": equal_table(read_equal(tables / "equal_accuracy.csv")),
        "front_headings": FRONT_HEADINGS,
        "front": front_table(read_front(tables / "front.csv")),
        **of_pairs(tables, plan),
        "paper": {name: table for name in paper_tables(plan) if (table := paper_table(tables, name))},
        "commits": sorted({commit(), *(record["commit"] for record in [*facts, *weights])}),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
        "trained_with": sorted({record["versions"]["torch"] for record in weights}),
        "weights": len(weights),
        "hashes": {path: digest for fact in facts for path, digest in fact["inputs"].items()},
        "machine": machine(),
        "stages": stage_times(results, folders_of(plan)),
        "speeds": speeds(row for path in paces for row in rows_of(path, tuple(PACE))),
        "config_file": shlex.quote(str(results / "config.yaml")),
    }


def of_pairs(tables: Path, plan: Plan) -> dict[str, Any]:
    """What detectors and filters found, where the plan has some."""
    rows = read_detections(tables / "detection.csv", plan) if plan.detectors else []
    removed = read_filtered(tables / "filters.csv") if plan.filtered() else []
    return {
        "detectors": list(plan.detectors),
        "detection_headings": DETECTION_HEADINGS,
        "detection": detection_glance(rows),
        "cautions": [*cautions(rows, plan), *nothing_to_detect(plan)],
        "filter_headings": FILTER_HEADINGS,
        "filters": filter_glance(removed),
    }


def render(template: Path, content: dict[str, Any]) -> str:
    """The page; whatever comes from data is escaped. Raises UserError for a template that is missing or broken."""
    loader = jinja2.FileSystemLoader(template.parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["counted"] = counted
    try:
        return environment.get_template(template.name).render(content)
    except jinja2.TemplateNotFound:
        raise UserError(f"{template}: no such file") from None
    except jinja2.TemplateError as error:
        raise UserError(f"{template}: {error}") from None


def run(options: ReportOptions) -> None:
    page = render(options.template, gather(options.results))
    with atomic(options.out) as temporary:
        temporary.write_text(page, encoding="utf-8")


STAGE = Stage(ReportOptions, run)
