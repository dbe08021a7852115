"""Builds the poisoned pairs of an attack and its evaluation set, and looks whether they can do what they are for.

Reads   data/*.csv
Writes  attacks/ATTACK/seedN/: train.csv, all that a defence sees; truth.csv, read by measurements and figures alone;
        targets.csv, the evaluation set; manifest.json, counts and choices; attack.record.json, hashes of its images too;
        check.csv, what can be seen of it before any training
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


rule check:
    """Look at the data of an attack before anything is trained on it."""
    input:
        train=rules.attack.output.train,
        truth=rules.attack.output.truth,
        manifest=rules.attack.output.manifest,
        templates=CONFIG["data"]["templates"],
        record=rules.attack.output.record,
    output:
        check=f"{RESULTS}/attacks/{{attack}}/seed{{seed}}/check.csv",
    log:
        f"{RESULTS}/logs/check/{{attack}}/seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/check/{{attack}}/seed{{seed}}.tsv"
    conda:
        "../../environment.yml"
    params:
        flags=TARGETS.check_flags(),
    shell:
        """
        roclip logged {log:q} roclip check --train {input.train:q} --truth {input.truth:q} \
            --manifest {input.manifest:q} --templates {input.templates:q} --out {output.check:q} {params.flags}
        """
