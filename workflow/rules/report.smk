"""Gathers the measures in tables, says what they show, draws the figures and writes the report.

The modules of figures and report are inputs: an edit to a figure redraws it, writes the report again and does nothing else.
`plan` among the params is what plan.json says, for that is written when a run starts.

Reads   plan.json, config.yaml; of models and measures those that the plan names; for figures what their registry says
Writes  tables/*.{csv,md,tex,json}, figures/NAME.{png,pdf}, report.html
"""


rule gather:
    """Gather all measures and histories in tables."""
    input:
        measures=TARGETS.measures,
        histories=TARGETS.histories,
    output:
        tables=TARGETS.gathered,
    log:
        f"{RESULTS}/logs/gather.log",
    benchmark:
        f"{RESULTS}/benchmarks/gather.tsv"
    conda:
        "../../environment.yml"
    params:
        plan=TARGETS.fingerprint,
    shell:
        """
        roclip logged {log:q} roclip gather --plan {RESULTS:q}/plan.json \
            --measures {RESULTS:q}/measures --models {RESULTS:q}/models \
            --out {RESULTS:q}/tables
        """


rule claims:
    """Say in sentences what the tables show."""
    input:
        results=f"{RESULTS}/tables/results.csv",
        differences=f"{RESULTS}/tables/differences.csv",
        reference=HERE / "config/reference_results.csv",
        classes=CONFIG["data"]["classes"],
    output:
        claims=f"{RESULTS}/tables/claims.json",
    log:
        f"{RESULTS}/logs/claims.log",
    benchmark:
        f"{RESULTS}/benchmarks/claims.tsv"
    conda:
        "../../environment.yml"
    params:
        plan=TARGETS.fingerprint,
    shell:
        """
        roclip logged {log:q} roclip claims --plan {RESULTS:q}/plan.json \
            --results {input.results:q} --differences {input.differences:q} --reference {input.reference:q} \
            --classes {input.classes:q} --out {output.claims:q}
        """


rule paper_tables:
    """Set the results beside the published numbers, in the shape of the paper's tables."""
    input:
        results=f"{RESULTS}/tables/results.csv",
        measures=f"{RESULTS}/tables/measures.csv",
        reference=HERE / "config/reference_results.csv",
    output:
        tables=TARGETS.published,
    log:
        f"{RESULTS}/logs/paper_tables.log",
    benchmark:
        f"{RESULTS}/benchmarks/paper_tables.tsv"
    conda:
        "../../environment.yml"
    params:
        plan=TARGETS.fingerprint,
    shell:
        """
        roclip logged {log:q} roclip paper_tables --plan {RESULTS:q}/plan.json \
            --results {input.results:q} --measures {input.measures:q} --reference {input.reference:q} \
            --out {RESULTS:q}/tables
        """


rule figure:
    """Draw a figure."""
    input:
        files=TARGETS.figure_inputs,
        sources=TARGETS.figure_sources,
    output:
        png=f"{RESULTS}/figures/{{figure}}.png",
        pdf=f"{RESULTS}/figures/{{figure}}.pdf",
    log:
        f"{RESULTS}/logs/figure/{{figure}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/figure/{{figure}}.tsv"
    conda:
        "../../environment.yml"
    params:
        plan=TARGETS.fingerprint,
    shell:
        """
        roclip logged {log:q} roclip figure --figure {wildcards.figure} --plan {RESULTS:q}/plan.json \
            --results {RESULTS:q} --out {RESULTS:q}/figures/{wildcards.figure} --inputs {input.files:q}
        """


rule report:
    """Write the report of the experiment, one HTML file that opens offline."""
    input:
        tables=TARGETS.tables,
        figures=TARGETS.drawings,
        attacks=TARGETS.manifests,
        models=TARGETS.models,
        template=HERE / "workflow/report/report.html",
        module=HERE / "roclip/reporting/report.py",
    output:
        html=TARGETS.report,
    log:
        f"{RESULTS}/logs/report.log",
    conda:
        "../../environment.yml"
    params:
        config=CONFIG,  # what config.yaml says, as `plan`
    shell:
        """
        roclip logged {log:q} roclip report --results {RESULTS:q} --template {input.template:q} --out {output.html:q}
        """
