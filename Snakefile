"""RoCLIP: poisoning experiments on CLIP, from the download to the figures. See README.md."""

from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


include: "workflow/rules/common.smk"


rule all:
    default_target: True
    input:
        TABLES,
        FIGURES,
        REPORT,


rule data:
    input:
        DATA,


rule attacks:
    input:
        ATTACKS,


rule models:
    input:
        MODELS,


rule measures:
    input:
        MEASURES,


rule exports:
    input:
        EXPORTS,


rule tables:
    input:
        TABLES,


rule figures:
    input:
        FIGURES,


include: "workflow/rules/download.smk"
include: "workflow/rules/attack.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/figures.smk"
