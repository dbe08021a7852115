"""Builds the poisoned pairs of an attack and its evaluation set.

Reads   data/*.csv
Writes  attacks/ATTACK/seedN/: train.csv, all that a defence sees; truth.csv, read by measurements and figures alone;
        targets.csv, the evaluation set; manifest.json, counts and choices; attack.record.json, hashes of its images too
"""


rule attack:
    """Build the poisoned pairs of an attack, the truth about them, and its evaluation set."""
    input:
        train=rules.download.output.train,
        validation=rules.download.output.validation,
        test=rules.download.output.test,
        classes=CONFIG["data"]["classes"],
        templates=CONFIG["data"]["templates"],
        record=rules.download.output.record,
    output:
        train=f"{RESULTS}/attacks/{{attack}}/seed{{seed}}/train.csv",
        truth=f"{RESULTS}/attacks/{{attack}}/seed{{seed}}/truth.csv",
        targets=f"{RESULTS}/attacks/{{attack}}/seed{{seed}}/targets.csv",
        manifest=f"{RESULTS}/attacks/{{attack}}/seed{{seed}}/manifest.json",
        record=f"{RESULTS}/attacks/{{attack}}/seed{{seed}}/attack.record.json",
    log:
        f"{RESULTS}/logs/attack/{{attack}}/seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/attack/{{attack}}/seed{{seed}}.tsv"
    conda:
        "../../environment.yml"
    params:
        out=subpath(output.train, parent=True),
        flags=TARGETS.attack_flags,
    shell:
        """
        roclip logged {log:q} roclip attack \
            --train {input.train:q} --validation {input.validation:q} --test {input.test:q} \
            --classes {input.classes:q} --templates {input.templates:q} \
            --out {params.out:q} {params.flags}
        """
