"""RoCLIP: poisoning experiments on CLIP, from the download to the figures. See README.md."""

from snakemake.utils import min_version

min_version("9.0")


include: "workflow/rules/common.smk"


rule all:
    """Tables, figures and the report, and all that they are made of."""
    default_target: True
    input:
        TARGETS.tables,
        TARGETS.drawings,
        TARGETS.report,


rule data:
    """The tables of the data set and their images."""
    input:
        TARGETS.data,


rule attacks:
    """The poisoned tables and the evaluation sets of all attacks, and whether they can do what they are for."""
    input:
        TARGETS.attack_tables,
        TARGETS.checks,


rule models:
    """All trained and repaired models."""
    input:
        TARGETS.models,


rule measures:
    """What every model gets right on every evaluation set."""
    input:
        TARGETS.measures,


rule exports:
    """The models in the forms that others read."""
    input:
        TARGETS.exports,


rule tables:
    """All tables and what they show in sentences."""
    input:
        TARGETS.tables,


rule figures:
    """All figures."""
    input:
        TARGETS.drawings,


include: "workflow/rules/download.smk"
include: "workflow/rules/attack.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"
