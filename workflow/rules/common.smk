"""Checks the config and names the targets; no rules here."""

import os
import sys
import time
from pathlib import Path

import yaml

sys.path.insert(0, workflow.basedir)

from roclip.config import check, check_duplicates
from roclip.errors import UserError
from roclip.options import flags
from roclip.times import run_times

try:
    check_duplicates(workflow.configfiles)
    check(config, Path(workflow.basedir) / "workflow/schemas/config.schema.yaml")
except UserError as error:
    sys.exit(f"config: {error}")

STARTED = time.time()
RESULTS = f"results/{config['experiment']}"

# `python` in the rules is the interpreter that runs Snakemake, in an activated environment or not
os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]))


wildcard_constraints:
    attack="[a-z0-9_]+",
    method="[a-z0-9_]+",
    seed=r"\d+",


MODEL = expand(
    "{attack}/{method}/seed{seed}",
    attack=config["attacks"],
    method=config["methods"],
    seed=config["seeds"],
)
DATA = [f"{RESULTS}/data/{split}.csv" for split in ("train", "validation", "test", "probe")]
ATTACKS = expand(
    f"{RESULTS}/attacks/{{attack}}/seed{{seed}}/train.csv",
    attack=config["attacks"],
    seed=config["seeds"],
)
MODELS = [f"{RESULTS}/models/{model}/history.csv" for model in MODEL]
MEASURES = [
    f"{RESULTS}/measures/{model}/{measure}.json"
    for model in MODEL
    for measure in ("attack_success", "zero_shot", "linear_probe")
]
TABLES = [f"{RESULTS}/tables/{name}" for name in ("measures.csv", "history.csv", "measures.md")]
# the contact sheet shows one seed
FIRST_SEED_ATTACKS = expand(
    f"{RESULTS}/attacks/{{attack}}/seed{config['seeds'][0]}/train.csv", attack=config["attacks"]
)
FIRST_SEED_MATCHES = expand(
    f"{RESULTS}/models/{{attack}}/{{method}}/seed{config['seeds'][0]}/matches.csv",
    attack=config["attacks"],
    method=config["methods"],
)
FIGURES = expand(
    f"{RESULTS}/figures/{{figure}}.{{kind}}",
    figure=["attack_success", "utility", "saw_tooth", "contact_sheet"],
    kind=["png", "pdf"],
)


def attack_kind(wildcards):
    return config["attack"][wildcards.attack]["kind"]


def attack_flags(wildcards):
    settings = dict(config["attack"][wildcards.attack])
    del settings["kind"]
    return flags(settings)


def train_flags(wildcards):
    return flags(config["train"] | config["method"][wildcards.method])


def exams(wildcards):
    """The exams of all attacks of a seed: every model sits every one."""
    return expand(f"{RESULTS}/attacks/{{attack}}/seed{wildcards.seed}/targets.csv", attack=config["attacks"])


def figure_table(wildcards):
    return f"{RESULTS}/tables/{'history' if wildcards.figure == 'saw_tooth' else 'measures'}.csv"


def exam_flags(wildcards):
    tables = [f"{attack}={table}" for attack, table in zip(config["attacks"], exams(wildcards))]
    return flags({"exams": [f"test={RESULTS}/data/test.csv", f"probe={RESULTS}/data/probe.csv", *tables]})


onstart:
    # the merged config of a run lies beside its results
    Path(RESULTS).mkdir(parents=True, exist_ok=True)
    Path(RESULTS, "config.yaml").write_text(yaml.safe_dump(dict(config), sort_keys=False))


onsuccess:
    print(run_times(Path(RESULTS), STARTED, time.time()))
