"""Draws the figures and writes the report. Their modules are inputs, so an edit to a figure redraws the figures and nothing else.

Reads   tables/results.csv, history.csv, sweeps.csv; models/ATTACK/METHOD/seedN/cosines.csv; for the contact sheet
        attacks/ATTACK/seedN/, matches.csv of the models, data/test.csv; for the report all tables and figures, the attacks'
        manifests and records, those of the weights, config.yaml, benchmarks/
Writes  figures/{attack_success,utility,saw_tooth,cosines,telemetry,sweep_NAME,contact_sheet}.{png,pdf}
        report.html  one file that opens offline
"""


rule figure:
    input:
        tables=figure_tables,
        cosines=figure_cosines,
        modules=expand("roclip/reporting/figures/{module}.py", module=["draw", "results", "epochs", "style"]),
    output:
        png=f"{RESULTS}/figures/{{figure}}.png",
        pdf=f"{RESULTS}/figures/{{figure}}.pdf",
    log:
        f"{RESULTS}/logs/figures/{{figure}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures/{{figure}}.tsv"
    wildcard_constraints:
        figure="|".join(FIGURE_TABLES),
    conda:
        "../../environment.yml"
    params:
        cosines=cosines_flag,
        out=subpath(output.png, strip_suffix=".png"),
    shell:
        """
        python -m roclip.reporting.figures.draw \
            --figure {wildcards.figure} \
            --tables {input.tables:q} {params.cosines} \
            --out {params.out:q} 2>&1 | tee {log:q}
        """


rule contact_sheet:
    input:
        records=attack_records(FIRST_SEED_ATTACKS),
        matches=FIRST_SEED_MATCHES,
        test=rules.download.output.test,
        modules=["roclip/reporting/figures/contact_sheet.py", "roclip/reporting/figures/style.py"],
    output:
        png=f"{RESULTS}/figures/contact_sheet.png",
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
        roots=ROOTS,
        out=subpath(output.png, strip_suffix=".png"),
    shell:
        """
        python -m roclip.reporting.figures.contact_sheet \
            --attacks {params.attacks:q} \
            --matches {input.matches:q} \
            --test {input.test:q} \
            --image_size {params.image_size} {params.roots} \
            --out {params.out:q} 2>&1 | tee {log:q}
        """


rule report:
    input:
        tables=TABLES,
        figures=[figure for figure in FIGURES if figure.endswith(".png")],
        manifests=[str(Path(table).with_name("manifest.json")) for table in ATTACKS],
        records=attack_records(ATTACKS),
        models=MODELS,
        template="workflow/report/report.html",
        module="roclip/reporting/report.py",
    output:
        html=REPORT,
    log:
        f"{RESULTS}/logs/report.log",
    conda:
        "../../environment.yml"
    params:
        config=config,  # the report reads config.yaml, and is written again when that changes
    shell:
        """
        python -m roclip.reporting.report \
            --results "$(dirname {output.html:q})" \
            --template {input.template:q} \
            --figures {input.figures:q} \
            --out {output.html:q} 2>&1 | tee {log:q}
        """
