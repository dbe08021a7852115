"""Encodes every image once per model, measures, and gathers the measures in one table.

Reads   models/ATTACK/METHOD/seedN/weights/, the exams of all attacks of the seed, data/test.csv, data/probe.csv
Writes  measures/ATTACK/METHOD/seedN/features.npz
        measures/ATTACK/METHOD/seedN/{attack_success,zero_shot,linear_probe}.json  checkpoint, exam, measure, hits, n
        tables/measures.csv  experiment, attack, method, seed, checkpoint, exam, measure, value, n, low, high
        tables/history.csv   attack, method, seed and the columns of the histories
        tables/measures.md   the pooled results at a glance
"""


rule encode:
    input:
        weights=rules.train.output.weights,
        exams=exams,
        test=rules.download.output.test,
        probe=rules.download.output.probe,
        classes=config["data"]["classes"],
        templates=config["data"]["templates"],
    output:
        features=f"{RESULTS}/measures/{{attack}}/{{method}}/seed{{seed}}/features.npz",
    log:
        f"{RESULTS}/logs/encode/{{attack}}/{{method}}/seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/encode/{{attack}}/{{method}}/seed{{seed}}.tsv"
    conda:
        "../../environment.yml"
    threads: config["train"]["threads"]
    params:
        exams=exam_flags,
        precision=config["train"]["precision"],
        max_bad_fraction=config["data"]["max_bad_fraction"],
    shell:
        """
        python -m roclip.encode \
            --weights {input.weights:q} \
            {params.exams} \
            --classes {input.classes:q} \
            --templates {input.templates:q} \
            --out {output.features:q} \
            --max_bad_fraction {params.max_bad_fraction} \
            --precision {params.precision} \
            --threads {threads} 2>&1 | tee {log:q}
        """


rule measure:
    input:
        features=rules.encode.output.features,
    output:
        measure=f"{RESULTS}/measures/{{attack}}/{{method}}/seed{{seed}}/{{measure}}.json",
    log:
        f"{RESULTS}/logs/{{measure}}/{{attack}}/{{method}}/seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/{{measure}}/{{attack}}/{{method}}/seed{{seed}}.tsv"
    wildcard_constraints:
        measure="attack_success|zero_shot|linear_probe",
    conda:
        "../../environment.yml"
    shell:
        """
        python -m roclip.{wildcards.measure} \
            --features {input.features:q} \
            --out {output.measure:q} 2>&1 | tee {log:q}
        """


rule table:
    input:
        measures=MEASURES,
        histories=MODELS,
    output:
        measures=f"{RESULTS}/tables/measures.csv",
        history=f"{RESULTS}/tables/history.csv",
        markdown=f"{RESULTS}/tables/measures.md",
    log:
        f"{RESULTS}/logs/table.log",
    benchmark:
        f"{RESULTS}/benchmarks/table.tsv"
    conda:
        "../../environment.yml"
    params:
        experiment=config["experiment"],
        kinds=flags({"kinds": [f"{name}={settings['kind']}" for name, settings in PLAN.attack.items()]}),
    shell:
        """
        python -m roclip.table \
            --experiment {params.experiment} {params.kinds} \
            --measures {input.measures:q} \
            --histories {input.histories:q} \
            --out "$(dirname {output.measures:q})" 2>&1 | tee {log:q}
        """
