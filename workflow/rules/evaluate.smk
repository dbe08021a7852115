"""Encodes the evaluation sets that a model is judged on, measures, detects, and exports models.

Reads   models/ATTACK/DEFENCE/seedN/weights/; data/ (sets `own` and `pairs`), data/downstream/SET/, attacks/NAME/seedN/ (set
        attack-NAME; its pairs and their truth for detectors), filters/NAME/STEP/seedN/kept.csv
Writes  measures/ATTACK/DEFENCE/seedN/SET/: MEASURE.json (checkpoint, evaluation_set, measure, hits, n; of attack success at top 1
        also outcomes, a 1 or 0 for each image); of `own` and downstream sets features/, SET.npz and quarantine.csv, in that of
        `own` also the sets `pairs` and attack-NAME
        detection/ATTACK/DEFENCE/seedN/: detection.csv, quarantine.csv
        exports/ATTACK/DEFENCE/seedN/: a folder for each checkpoint in open_clip's form, results.csv
"""


rule encode:
    """Encode a downstream set, or all other evaluation sets of a model, with all its checkpoints."""
    input:
        TARGETS.encode_inputs,
        weights=f"{RESULTS}/models/{{attack}}/{{defence}}/seed{{seed}}/weights",
    output:
        features=directory(f"{RESULTS}/measures/{{attack}}/{{defence}}/seed{{seed}}/{{set}}/features"),
    log:
        f"{RESULTS}/logs/encode/{{attack}}/{{defence}}/seed{{seed}}/{{set}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/encode/{{attack}}/{{defence}}/seed{{seed}}/{{set}}.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG["train"]["threads"]
    resources:
        gpu=0,  # as of a filter
    params:
        flags=TARGETS.encode_flags,
    shell:
        """
        roclip logged {log:q} roclip gpus {resources.gpu} roclip encode --threads {threads} \
            --weights {input.weights:q} --out {output.features:q} {params.flags}
        """


rule measure:
    """Count what a model gets right on an evaluation set, or wrong as an attack wants it."""
    input:
        features=TARGETS.features,
    output:
        measure=f"{RESULTS}/measures/{{attack}}/{{defence}}/seed{{seed}}/{{set}}/{{measure}}.json",
    log:
        f"{RESULTS}/logs/{{measure}}/{{attack}}/{{defence}}/seed{{seed}}/{{set}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/{{measure}}/{{attack}}/{{defence}}/seed{{seed}}/{{set}}.tsv"
    conda:
        "../../environment.yml"
    shell:
        """
        roclip logged {log:q} roclip measure --kind {wildcards.measure:q} --evaluation_set {wildcards.set:q} \
            --features {input.features:q}/{wildcards.set:q}.npz --out {output.measure:q}
        """


rule detect:
    """Measure how well detectors find the poisoned pairs that a model was trained on."""
    input:
        pairs=rules.attack.output.train,
        truth=rules.attack.output.truth,
        record=rules.attack.output.record,
        kept=TARGETS.trained_on,
        weights=rules.encode.input.weights,
    output:
        table=f"{RESULTS}/detection/{{attack}}/{{defence}}/seed{{seed}}/detection.csv",
        quarantine=f"{RESULTS}/detection/{{attack}}/{{defence}}/seed{{seed}}/quarantine.csv",
    log:
        f"{RESULTS}/logs/detect/{{attack}}/{{defence}}/seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/detect/{{attack}}/{{defence}}/seed{{seed}}.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG["train"]["threads"]
    resources:
        gpu=0,  # as of a filter
    params:
        out=subpath(output.table, parent=True),
        flags=TARGETS.detect_flags,
    shell:
        """
        roclip logged {log:q} roclip gpus {resources.gpu} roclip detect --threads {threads} \
            --pairs {input.pairs:q} --truth {input.truth:q} --weights {input.weights:q} --out {params.out:q} {params.flags}
        """


rule export:
    """Write a model in the forms that others read."""
    input:
        weights=rules.encode.input.weights,
        measures=TARGETS.export_inputs,
    output:
        export=directory(f"{RESULTS}/exports/{{attack}}/{{defence}}/seed{{seed}}"),
    log:
        f"{RESULTS}/logs/export/{{attack}}/{{defence}}/seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/export/{{attack}}/{{defence}}/seed{{seed}}.tsv"
    conda:
        "../../environment.yml"
    params:
        flags=TARGETS.export_flags,
    shell:
        """
        roclip logged {log:q} roclip export --weights {input.weights:q} --out {output.export:q} {params.flags}
        """
