"""Defends: filters pairs, trains a model on those that are kept, repairs it; each a step of a recipe, for an attack and a seed.

Reads   attacks/ATTACK/seedN/; data/probe.csv, like truth.csv and targets.csv to measure; for a repair data/train.csv
Writes  filters/ATTACK/STEP/seedN/: kept.csv, scores.csv, quarantine.csv
        models/ATTACK/STEP/seedN/: history.csv, pace.csv, cosines.csv, quarantine.csv, the defence's own tables/, weights/
"""


rule filter:
    """Choose the pairs that a training keeps."""
    input:
        pairs=rules.attack.output.train,
        record=rules.attack.output.record,
        weights=TARGETS.scored_by,
        truth=TARGETS.truth_of_filter,
    output:
        kept=f"{RESULTS}/filters/{{attack}}/{{step}}/seed{{seed}}/kept.csv",
        scores=f"{RESULTS}/filters/{{attack}}/{{step}}/seed{{seed}}/scores.csv",
        quarantine=f"{RESULTS}/filters/{{attack}}/{{step}}/seed{{seed}}/quarantine.csv",
    log:
        f"{RESULTS}/logs/filter/{{attack}}/{{step}}/seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/filter/{{attack}}/{{step}}/seed{{seed}}.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG["train"]["threads"]
    resources:
        gpu=0,  # a profile says how many a job takes for itself; 0: the one that is there, if any, shared
    params:
        label=TARGETS.label,
        out=subpath(output.kept, parent=True),
        flags=TARGETS.filter_flags,
    shell:
        """
        roclip logged --label {params.label:q} {log:q} roclip gpus {resources.gpu} roclip filter --threads {threads} \
            --pairs {input.pairs:q} --out {params.out:q} {params.flags}
        """


rule train:
    """Train a model on the pairs of an attack, with a defence or without."""
    input:
        pairs=TARGETS.pairs,
        attacked=rules.attack.output.train,  # a repair keeps off what was trained on
        truth=rules.attack.output.truth,
        targets=rules.attack.output.targets,
        validation=rules.download.output.probe,
        classes=CONFIG["data"]["classes"],
        templates=CONFIG["data"]["templates"],
        records=[rules.attack.output.record, rules.download.output.record],
        steps=TARGETS.steps_before,
        files=TARGETS.files_of_step,
    output:
        history=f"{RESULTS}/models/{{attack}}/{{step}}/seed{{seed}}/history.csv",
        pace=f"{RESULTS}/models/{{attack}}/{{step}}/seed{{seed}}/pace.csv",
        cosines=f"{RESULTS}/models/{{attack}}/{{step}}/seed{{seed}}/cosines.csv",
        quarantine=f"{RESULTS}/models/{{attack}}/{{step}}/seed{{seed}}/quarantine.csv",
        tables=directory(f"{RESULTS}/models/{{attack}}/{{step}}/seed{{seed}}/tables"),
        weights=directory(f"{RESULTS}/models/{{attack}}/{{step}}/seed{{seed}}/weights"),
    log:
        f"{RESULTS}/logs/train/{{attack}}/{{step}}/seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train/{{attack}}/{{step}}/seed{{seed}}.tsv"
    wildcard_constraints:
        step=TARGETS.steps("train"),
    conda:
        "../../environment.yml"
    threads: TARGETS.cores
    resources:
        gpu=0,  # as of a filter; of several, each has its part of every batch
        nodes=1,  # where they all are: a cluster that may choose spreads them
    params:
        label=TARGETS.label,
        stage=TARGETS.launched,
        out=subpath(output.history, parent=True),
        flags=TARGETS.train_flags,
    shell:
        """
        trap : TERM # told to stop, a training saves, and its shell waits for that
        roclip logged --label {params.label:q} {log:q} roclip gpus {resources.gpu} {params.stage} \
            --pairs {input.pairs:q} --targets {input.targets:q} --validation {input.validation:q} \
            --classes {input.classes:q} --templates {input.templates:q} \
            --out {params.out:q} {params.flags}
        """


use rule train as repair with:
    """Repair a trained model by a further training on clean pairs."""
    log:
        f"{RESULTS}/logs/repair/{{attack}}/{{step}}/seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/repair/{{attack}}/{{step}}/seed{{seed}}.tsv"
    wildcard_constraints:
        step=TARGETS.steps("repair"),
