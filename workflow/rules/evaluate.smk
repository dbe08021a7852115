"""Encodes every image once per model, measures, gathers the measures in tables, says what the tables show, and exports models.

Reads   models/ATTACK/METHOD/seedN/weights/, the exams of all attacks of the seed, data/test.csv, data/probe.csv,
            data/downstream/SET/
Writes  measures/ATTACK/METHOD/seedN/features.npz
        measures/ATTACK/METHOD/seedN/quarantine.csv  table, row, path, reason: the images that were left out
        measures/ATTACK/METHOD/seedN/{attack_success,zero_shot,linear_probe}.json  checkpoint, exam, measure, hits, n;
            attack_success at top 1 also outcomes, a 1 or 0 for each exam image
        measures/ATTACK/METHOD/seedN/{features,quarantine,zero_shot,linear_probe}_SET.*  the same on a downstream set
        exports/ATTACK/METHOD/seedN/  a folder for each checkpoint in open_clip's form, results.csv; see roclip/evaluation/export.py
        tables/measures.csv  experiment, attack, method, seed, checkpoint, exam, measure, value, n, low, high
        tables/results.csv   attack, method, checkpoint, seeds; success and control, each with n, low, high; zero_shot and
            linear_probe, each with sd
        tables/differences.csv  attack, checkpoint, baseline, method, n, baseline_success, success, difference, low, high
        tables/sweeps.csv    sweep, setting, base_attack, base_method, attack, method
        tables/history.csv   attack, method, seed and the columns of the histories
        tables/measures.md   the results at a glance
        tables/claims.json   about, text
        tables/{attacks,utility,downstream,strong_attack}.{md,tex,csv}  beside the published numbers; downstream where there are
            such sets, strong_attack where sweeps vary the poisons of a target
"""


rule encode:
    input:
        weights=rules.train.output.weights,
        exams=exams,
        records=exam_records,
        test=rules.download.output.test,
        probe=rules.download.output.probe,
        classes=config["data"]["classes"],
        templates=config["data"]["templates"],
    output:
        features=f"{RESULTS}/measures/{{attack}}/{{method}}/seed{{seed}}/features.npz",
        quarantine=f"{RESULTS}/measures/{{attack}}/{{method}}/seed{{seed}}/quarantine.csv",
    log:
        f"{RESULTS}/logs/encode/{{attack}}/{{method}}/seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/encode/{{attack}}/{{method}}/seed{{seed}}.tsv"
    conda:
        "../../environment.yml"
    threads: config["train"]["threads"]
    resources:
        gpu=0,  # a profile says how many a job takes for itself; 0: the one that is there, if any, shared
    params:
        exams=exam_flags,
        precision=config["train"]["precision"],
        roots=ROOTS,
        max_bad_fraction=config["data"]["max_bad_fraction"],
    shell:
        """
        python -m roclip.experiment.gpus {resources.gpu} python -m roclip.evaluation.encode \
            --weights {input.weights:q} \
            {params.exams} \
            --classes {input.classes:q} \
            --templates {input.templates:q} \
            --out {output.features:q} \
            --quarantine {output.quarantine:q} {params.roots} \
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
        python -m roclip.evaluation.{wildcards.measure} \
            --features {input.features:q} \
            --out {output.measure:q} 2>&1 | tee {log:q}
        """


rule encode_set:
    input:
        weights=rules.train.output.weights,
        test=rules.downstream.output.test,
        probe=rules.downstream.output.probe,
        classes=rules.downstream.output.classes,
        templates=rules.downstream.output.templates,
    output:
        features=f"{RESULTS}/measures/{{attack}}/{{method}}/seed{{seed}}/features_{{set}}.npz",
        quarantine=f"{RESULTS}/measures/{{attack}}/{{method}}/seed{{seed}}/quarantine_{{set}}.csv",
    log:
        f"{RESULTS}/logs/encode_{{set}}/{{attack}}/{{method}}/seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/encode_{{set}}/{{attack}}/{{method}}/seed{{seed}}.tsv"
    wildcard_constraints:
        set="|".join(FOLDERS),
    conda:
        "../../environment.yml"
    threads: config["train"]["threads"]
    resources:
        gpu=0,  # as of encode
    params:
        precision=config["train"]["precision"],
        roots=ROOTS,
        max_bad_fraction=config["data"]["max_bad_fraction"],
    shell:
        """
        python -m roclip.experiment.gpus {resources.gpu} python -m roclip.evaluation.encode \
            --weights {input.weights:q} \
            --exams test={input.test:q} probe={input.probe:q} \
            --classes {input.classes:q} \
            --templates {input.templates:q} \
            --out {output.features:q} \
            --quarantine {output.quarantine:q} {params.roots} \
            --max_bad_fraction {params.max_bad_fraction} \
            --precision {params.precision} \
            --threads {threads} 2>&1 | tee {log:q}
        """


rule measure_set:
    input:
        features=rules.encode_set.output.features,
    output:
        measure=f"{RESULTS}/measures/{{attack}}/{{method}}/seed{{seed}}/{{measure}}_{{set}}.json",
    log:
        f"{RESULTS}/logs/{{measure}}_{{set}}/{{attack}}/{{method}}/seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/{{measure}}_{{set}}/{{attack}}/{{method}}/seed{{seed}}.tsv"
    wildcard_constraints:
        measure="zero_shot|linear_probe",
        set="|".join(FOLDERS),
    conda:
        "../../environment.yml"
    threads: config["train"]["threads"]
    shell:
        """
        python -m roclip.evaluation.{wildcards.measure} \
            --features {input.features:q} \
            --exam {wildcards.set} \
            --out {output.measure:q} 2>&1 | tee {log:q}
        """


rule export:
    input:
        weights=rules.train.output.weights,
        measures=model_measures,
    output:
        export=directory(f"{RESULTS}/exports/{{attack}}/{{method}}/seed{{seed}}"),
    log:
        f"{RESULTS}/logs/export/{{attack}}/{{method}}/seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/export/{{attack}}/{{method}}/seed{{seed}}.tsv"
    conda:
        "../../environment.yml"
    params:
        experiment=config["experiment"],
    shell:
        """
        python -m roclip.evaluation.export \
            --weights {input.weights:q} \
            --measures "$(dirname {input.measures[0]:q})" \
            --name {wildcards.attack}/{wildcards.method}/seed{wildcards.seed} \
            --experiment {params.experiment} \
            --out {output.export:q} 2>&1 | tee {log:q}
        """


rule table:
    input:
        measures=MEASURES,
        histories=MODELS,
    output:
        measures=f"{RESULTS}/tables/measures.csv",
        results=f"{RESULTS}/tables/results.csv",
        differences=f"{RESULTS}/tables/differences.csv",
        sweeps=f"{RESULTS}/tables/sweeps.csv",
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
        kinds=kind_flags(),
        sweeps=flags({"sweeps": PLAN.points()}),
    shell:
        """
        python -m roclip.reporting.gather \
            --experiment {params.experiment} {params.kinds} \
            {params.sweeps} \
            --measures {input.measures:q} \
            --histories {input.histories:q} \
            --out "$(dirname {output.measures:q})" 2>&1 | tee {log:q}
        """


rule claims:
    input:
        results=rules.table.output.results,
        differences=rules.table.output.differences,
        sweeps=rules.table.output.sweeps,
        reference="config/reference_results.csv",
    output:
        claims=f"{RESULTS}/tables/claims.json",
    log:
        f"{RESULTS}/logs/claims.log",
    benchmark:
        f"{RESULTS}/benchmarks/claims.tsv"
    conda:
        "../../environment.yml"
    shell:
        """
        python -m roclip.reporting.claims \
            --results {input.results:q} \
            --differences {input.differences:q} \
            --sweeps {input.sweeps:q} \
            --reference {input.reference:q} \
            --out {output.claims:q} 2>&1 | tee {log:q}
        """


rule paper_tables:
    input:
        results=rules.table.output.results,
        sweeps=rules.table.output.sweeps,
        measures=rules.table.output.measures,
        reference="config/reference_results.csv",
    output:
        tables=expand(f"{RESULTS}/tables/{{table}}.{{kind}}", table=PAPER_TABLES, kind=["md", "tex", "csv"]),
    log:
        f"{RESULTS}/logs/paper_tables.log",
    benchmark:
        f"{RESULTS}/benchmarks/paper_tables.tsv"
    conda:
        "../../environment.yml"
    params:
        kinds=kind_flags(),
        sets=flags({"sets": SETS or None}),
        model=config["train"]["model"],
        image_size=image_side(config["train"]["model"]),
    shell:
        """
        python -m roclip.reporting.paper_tables \
            --results {input.results:q} \
            --sweeps {input.sweeps:q} \
            --measures {input.measures:q} \
            --reference {input.reference:q} {params.kinds} {params.sets} \
            --model {params.model:q} \
            --image_size {params.image_size} \
            --out "$(dirname {output.tables[0]:q})" 2>&1 | tee {log:q}
        """
