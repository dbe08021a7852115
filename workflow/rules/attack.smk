"""Builds the poisoned pairs and the exam of an attack.

Reads   data/*.csv
Writes  attacks/ATTACK/seedN/train.csv      path, caption, is_poison, adversary_class (of poisons, empty for clean pairs)
        attacks/ATTACK/seedN/targets.csv    path, label (the class that the adversary wants)
        attacks/ATTACK/seedN/manifest.json  counts, rates, chosen rows
        attacks/ATTACK/seedN/sample.png     backdoors: the first test image with the trigger
"""


rule attack:
    input:
        train=rules.download.output.train,
        validation=rules.download.output.validation,
        test=rules.download.output.test,
        classes=config["data"]["classes"],
        templates=config["data"]["templates"],
    output:
        train=f"{RESULTS}/attacks/{{attack}}/seed{{seed}}/train.csv",
        targets=f"{RESULTS}/attacks/{{attack}}/seed{{seed}}/targets.csv",
        manifest=f"{RESULTS}/attacks/{{attack}}/seed{{seed}}/manifest.json",
    log:
        f"{RESULTS}/logs/attack/{{attack}}/seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/attack/{{attack}}/seed{{seed}}.tsv"
    conda:
        "../../environment.yml"
    params:
        kind=attack_kind,
        settings=attack_flags,
    shell:
        """
        python -m attacks.{params.kind} \
            --train {input.train:q} \
            --validation {input.validation:q} \
            --test {input.test:q} \
            --classes {input.classes:q} \
            --templates {input.templates:q} \
            --out "$(dirname {output.train:q})" \
            --seed {wildcards.seed} {params.settings} 2>&1 | tee {log:q}
        """
