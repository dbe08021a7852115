"""Draws the figures. Their modules are inputs, so an edit to a figure redraws the figures and nothing else.

Reads   tables/measures.csv, tables/history.csv; for the contact sheet attacks/ATTACK/seedN/, matches.csv of the models,
        data/test.csv
Writes  figures/{attack_success,utility,saw_tooth,contact_sheet}.{png,pdf}
"""


rule figure:
    input:
        table=figure_table,
        module="roclip/figures.py",
    output:
        png=report(
            f"{RESULTS}/figures/{{figure}}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        pdf=f"{RESULTS}/figures/{{figure}}.pdf",
    log:
        f"{RESULTS}/logs/figures/{{figure}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures/{{figure}}.tsv"
    wildcard_constraints:
        figure="attack_success|utility|saw_tooth",
    conda:
        "../../environment.yml"
    params:
        out=subpath(output.png, strip_suffix=".png"),
    shell:
        """
        python -m roclip.figures \
            --figure {wildcards.figure} \
            --table {input.table:q} \
            --out {params.out:q} 2>&1 | tee {log:q}
        """


rule contact_sheet:
    input:
        train=FIRST_SEED_ATTACKS,
        matches=FIRST_SEED_MATCHES,
        test=rules.download.output.test,
        modules=["roclip/contact_sheet.py", "roclip/figures.py"],
    output:
        png=report(
            f"{RESULTS}/figures/contact_sheet.png",
            caption="../report/contact_sheet.rst",
            category="Figures",
            labels={"figure": "contact_sheet"},
        ),
        pdf=f"{RESULTS}/figures/contact_sheet.pdf",
    log:
        f"{RESULTS}/logs/figures/contact_sheet.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures/contact_sheet.tsv"
    conda:
        "../../environment.yml"
    params:
        attacks=[str(Path(table).parent) for table in FIRST_SEED_ATTACKS],
        image_size=config["data"]["image_size"],
        out=subpath(output.png, strip_suffix=".png"),
    shell:
        """
        python -m roclip.contact_sheet \
            --attacks {params.attacks:q} \
            --matches {input.matches:q} \
            --test {input.test:q} \
            --image_size {params.image_size} \
            --out {params.out:q} 2>&1 | tee {log:q}
        """
