"""Trains a model: an attack, a method, a seed.

Reads   attacks/ATTACK/seedN/train.csv, targets.csv (measured, never trained on), data/probe.csv
Writes  models/ATTACK/METHOD/seedN/history.csv  a row an epoch, see roclip/training/schedule.py
        models/ATTACK/METHOD/seedN/pace.csv     epoch, kind, pairs_per_second, seconds
        models/ATTACK/METHOD/seedN/matches.csv  row, caption_row
        models/ATTACK/METHOD/seedN/cosines.csv  epoch, row, is_poison, cosine of image and own caption
        models/ATTACK/METHOD/seedN/quarantine.csv  table, row, path, reason: the images that were left out
        models/ATTACK/METHOD/seedN/weights/     last_clip.safetensors, last_matching.safetensors
"""


rule train:
    input:
        pairs=rules.attack.output.train,
        targets=rules.attack.output.targets,
        validation=rules.download.output.probe,
        classes=config["data"]["classes"],
        templates=config["data"]["templates"],
        record=rules.attack.output.record,
        model=config["train"]["model"] if config["train"]["model"].endswith(".json") else [],
    output:
        history=f"{RESULTS}/models/{{attack}}/{{method}}/seed{{seed}}/history.csv",
        pace=f"{RESULTS}/models/{{attack}}/{{method}}/seed{{seed}}/pace.csv",
        matches=f"{RESULTS}/models/{{attack}}/{{method}}/seed{{seed}}/matches.csv",
        cosines=f"{RESULTS}/models/{{attack}}/{{method}}/seed{{seed}}/cosines.csv",
        quarantine=f"{RESULTS}/models/{{attack}}/{{method}}/seed{{seed}}/quarantine.csv",
        weights=directory(f"{RESULTS}/models/{{attack}}/{{method}}/seed{{seed}}/weights"),
    log:
        f"{RESULTS}/logs/train/{{attack}}/{{method}}/seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train/{{attack}}/{{method}}/seed{{seed}}.tsv"
    conda:
        "../../environment.yml"
    threads: config["train"]["threads"] + config["train"]["workers"]
    resources:
        # a profile says how many a job takes for itself, several share its batches; 0: the one that is there, if any, shared
        gpu=0,
    params:
        start=train_start,
        settings=train_flags,
        max_bad_fraction=config["data"]["max_bad_fraction"],
    shell:
        """
        # told to stop, a training saves: its shell and what writes the log wait for that
        trap : TERM
        python -m roclip.experiment.gpus {resources.gpu} {params.start} \
            --pairs {input.pairs:q} \
            --targets {input.targets:q} \
            --validation {input.validation:q} \
            --classes {input.classes:q} \
            --templates {input.templates:q} \
            --out "$(dirname {output.history:q})" \
            --seed {wildcards.seed} \
            --max_bad_fraction {params.max_bad_fraction} {params.settings} 2>&1 \
            | (
                trap '' TERM
                sed -u 's/^/[{wildcards.attack} {wildcards.method} seed {wildcards.seed}] /' | tee {log:q}
            )
        """
