"""Checks the config and names the targets; no rules here."""

import os
import sys
import time
from pathlib import Path

import yaml

sys.path.insert(0, workflow.basedir)

from roclip.experiment.config import check, check_duplicates, image_side, pair_count
from roclip.core.errors import UserError
from roclip.core.orphan import STARTER, claim, starter
from roclip.core.options import flags
from roclip.experiment.plan import VARIANT, base
from roclip.data.downstream_sets import FOLDERS, absent_sets, present_sets
from roclip.experiment.run_times import expected_time, run_times
from roclip.data.url_list import SPLITS, by_split, paths, words

try:
    check_duplicates(workflow.configfiles)
    PLAN = check(config, Path(workflow.basedir) / "workflow/schemas/config.schema.yaml")
    SETS = present_sets(config["downstream"])
except UserError as error:
    sys.exit(f"config: {error}")

STARTED = time.time()
RESULTS = f"results/{config['experiment']}"

# `python` in the rules is the interpreter that runs Snakemake, in an activated environment or not
os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]))
# jobs end with the Snakemake that runs them, on a cluster the one in their own job
os.environ[STARTER] = starter()


wildcard_constraints:
    attack=VARIANT,
    method=VARIANT,
    seed=r"\d+",


LOCAL = words(config["data"]["tables"])
URL_LIST = [] if len(LOCAL) == len(SPLITS) else words(config["data"]["url_list"] or f"{RESULTS}/data/urls.tsv")
ROOTS = flags({"roots": config["data"]["roots"]})
DATA = [f"{RESULTS}/data/{split}.csv" for split in ("train", "validation", "test", "probe")]
ATTACKS = [f"{RESULTS}/attacks/{attack}/train.csv" for attack in PLAN.attack_folders()]
MODELS = [f"{RESULTS}/models/{model}/history.csv" for model in PLAN.model_folders()]
MEASURES = [
    f"{RESULTS}/measures/{model}/{measure}.json"
    for model in PLAN.model_folders()
    for measure in ("attack_success", "zero_shot", "linear_probe")
]
# models of variants are not judged on downstream sets: sweeps would spend more time on them than on training
PLAIN_MODELS = [
    f"{attack}/{method}/seed{seed}"
    for attack, method, seed in PLAN.runs
    if attack == base(attack) and method == base(method)
]
MEASURES += expand(
    f"{RESULTS}/measures/{{model}}/{{measure}}_{{set}}.json",
    model=PLAIN_MODELS,
    measure=["zero_shot", "linear_probe"],
    set=SETS,
)
EXPORTS = [f"{RESULTS}/exports/{model}" for model in PLAIN_MODELS]
PAPER_TABLES = ["attacks", "utility"] + (["downstream"] if SETS else [])
if any("captions_per_target" in point.changes for points in PLAN.sweeps.values() for point in points):
    PAPER_TABLES.append("strong_attack")
GATHERED = ["measures.csv", "results.csv", "differences.csv", "sweeps.csv", "history.csv", "measures.md", "claims.json"]
TABLES = [
    f"{RESULTS}/tables/{name}"
    for name in GATHERED + expand("{table}.{kind}", table=PAPER_TABLES, kind=["md", "tex", "csv"])
]
# the contact sheet shows one seed
FIRST_SEED_ATTACKS = expand(
    f"{RESULTS}/attacks/{{attack}}/seed{config['seeds'][0]}/train.csv", attack=config["attacks"]
)
FIRST_SEED_MATCHES = expand(
    f"{RESULTS}/models/{{attack}}/{{method}}/seed{config['seeds'][0]}/matches.csv",
    attack=config["attacks"],
    method=config["methods"],
)
# cosines are shown of the first attack that poisons, for the first method of each sort: one that never matches, one that does
SORTS = {PLAN.method[method]["match_every"] > 0: method for method in reversed(config["methods"])}
COSINES = [
    f"{RESULTS}/models/{attack}/{SORTS[matches]}/seed{config['seeds'][0]}/cosines.csv"
    for attack in [name for name in config["attacks"] if PLAN.attack[name]["kind"] != "clean"][:1]
    for matches in sorted(SORTS)
]
FIGURE_TABLES = {
    "attack_success": ["results"],
    "utility": ["results"],
    "saw_tooth": ["history", "sweeps"],
    **{f"sweep_{name}": ["results", "sweeps"] for name in PLAN.sweeps},
}
if COSINES:
    FIGURE_TABLES["cosines"] = ["history"]
if any(PLAN.method[method]["match_every"] for method in PLAN.methods()):
    FIGURE_TABLES["telemetry"] = ["history"]
FIGURES = expand(
    f"{RESULTS}/figures/{{figure}}.{{kind}}", figure=[*FIGURE_TABLES, "contact_sheet"], kind=["png", "pdf"]
)
REPORT = f"{RESULTS}/report.html"


def download_flags():
    names = ("image_size", "image_format", "output_format", "max_bad_fraction", "allow", "distributor")
    return flags({"url_list": URL_LIST, "tables": LOCAL, **{name: config["data"][name] for name in names}})


def attack_kind(wildcards):
    return PLAN.attack[wildcards.attack]["kind"]


def attack_flags(wildcards):
    settings = dict(PLAN.attack[wildcards.attack])
    del settings["kind"]
    return f"{ROOTS} {flags(settings)}"


def kind_flags():
    return flags({"kinds": [f"{name}={settings['kind']}" for name, settings in PLAN.attack.items()]})


def train_start(wildcards, resources):
    """What starts a training: a process for each of its GPUs."""
    if resources.gpu > 1:
        return f"torchrun --standalone --nproc_per_node {resources.gpu} -m roclip.training.train"
    return "python -m roclip.training.train"


def train_flags(wildcards):
    return f"{ROOTS} {flags(config['train'] | PLAN.method[wildcards.method])}"


def exam_names(wildcards):
    """The exams that a model sits: its own attack's, and those of all attacks of its seed that are no variants."""
    others = [name for name in PLAN.attacks(int(wildcards.seed)) if name == base(name)]
    return list(dict.fromkeys([wildcards.attack, *others]))


def exams(wildcards):
    return expand(f"{RESULTS}/attacks/{{attack}}/seed{wildcards.seed}/targets.csv", attack=exam_names(wildcards))


def attack_records(tables):
    """The records of the attacks that wrote these tables."""
    return [str(Path(table).with_name("attacks.record.json")) for table in tables]


def exam_records(wildcards):
    return attack_records(exams(wildcards))


def model_measures(wildcards):
    """The measures of a model, on all its test images."""
    model = f"{wildcards.attack}/{wildcards.method}/seed{wildcards.seed}"
    return [path for path in MEASURES if path.startswith(f"{RESULTS}/measures/{model}/")]


def figure_tables(wildcards):
    return [f"{RESULTS}/tables/{table}.csv" for table in FIGURE_TABLES[wildcards.figure]]


def figure_cosines(wildcards):
    return COSINES if wildcards.figure == "cosines" else []


def cosines_flag(wildcards):
    return flags({"cosines": figure_cosines(wildcards) or None})


def exam_flags(wildcards):
    tables = [f"{attack}={table}" for attack, table in zip(exam_names(wildcards), exams(wildcards))]
    return flags({"exams": [f"test={RESULTS}/data/test.csv", f"probe={RESULTS}/data/probe.csv", *tables]})


def pairs_to_train():
    """For each training that will run, the pairs that it sees in all its epochs."""
    everything = pair_count(config)
    jobs = [job.wildcards for job in workflow.dag.needrun_jobs() if job.rule.name == "train"]
    return [
        PLAN.method[job.method]["epochs"] * (PLAN.attack[job.attack].get("clean_pairs") or everything) for job in jobs
    ]


def trainings_at_a_time():
    """How many trainings run side by side: as many as the cores, the GPUs or, on a cluster, the jobs allow."""
    limits = [workflow.nodes or workflow.cores // (config["train"]["threads"] + config["train"]["workers"])]
    gpus = max((job.resources.gpu for job in workflow.dag.needrun_jobs() if job.rule.name == "train"), default=0)
    if gpus and "gpu" in workflow.global_resources:
        limits.append(workflow.global_resources["gpu"].value // gpus)
    return max(1, min(limits))


onstart:
    try:
        claim(Path(RESULTS))
    except UserError as error:
        sys.exit(f"error: {error}")
    # the merged config of a run lies beside its results
    Path(RESULTS, "config.yaml").write_text(yaml.safe_dump(dict(config), sort_keys=False))
    for name, folder in absent_sets(config["downstream"], SETS).items():
        print(f"No model is judged on {name}: there is no folder {folder}.")
    print(expected_time(Path(RESULTS), pairs_to_train(), trainings_at_a_time()))


onsuccess:
    print(run_times(Path(RESULTS), STARTED, time.time()))
