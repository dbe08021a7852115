"""Gathers the measures in tables, says what they show, draws the figures and writes the report.

The modules of figures and report are inputs: an edit to a figure redraws it, writes the report again and does nothing else.
Among the params is what plan.json says, for that is written when a run starts.

Reads   plan.json, config.yaml; of models and measures those that the plan names; for figures what their registry says
Writes  tables/*.{csv,md,tex,json}, figures/NAME.{png,pdf}, report.html
"""


rule gather:
    """Gather all measures and histories in tables."""
    input:
        measures=TARGETS.measures,
        histories=TARGETS.histories,
        detections=TARGETS.detections,
        filtered=TARGETS.filtered,
        checks=TARGETS.checks,
        classes=CONFIG["data"]["classes"],
        validation=rules.download.output.probe,
    output:
        tables=TARGETS.gathered,
    log:
        f"{RESULTS}/logs/gather.log",
    benchmark:
        f"{RESULTS}/benchmarks/gather.tsv"
    conda:
        "../../environment.yml"
    params:
        **TARGETS.planned,
        results=subpath(output[0], ancestor=2),
        validation_images=CONFIG["train"]["validation_images"],
        flags=TARGETS.gather_flags(),
    shell:
        """
        roclip logged {log:q} roclip gather --plan {params.plan:q} \
            --measures {params.results:q}/measures --models {params.results:q}/models --attacks {params.results:q}/attacks \
            --classes {input.classes:q} --validation {input.validation:q} --validation_images {params.validation_images:q} \
            --out {params.results:q}/tables {params.flags}
        """


rule claims:
    """Say in sentences what the tables show."""
    input:
        results=f"{RESULTS}/tables/results.csv",
        differences=f"{RESULTS}/tables/differences.csv",
        equal_accuracy=f"{RESULTS}/tables/equal_accuracy.csv",
        equal_differences=f"{RESULTS}/tables/equal_differences.csv",
        took=f"{RESULTS}/tables/took.csv",
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
        **TARGETS.planned,
    shell:
        """
        roclip logged {log:q} roclip claims --plan {params.plan:q} \
            --results {input.results:q} --differences {input.differences:q} --reference {input.reference:q} \
            --equal_accuracy {input.equal_accuracy:q} --equal_differences {input.equal_differences:q} \
            --took {input.took:q} --classes {input.classes:q} --out {output.claims:q}
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
        **TARGETS.planned,
        results=subpath(output[0], ancestor=2),
    shell:
        """
        roclip logged {log:q} roclip paper_tables --plan {params.plan:q} \
            --results {input.results:q} --measures {input.measures:q} --reference {input.reference:q} \
            --out {params.results:q}/tables
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
        **TARGETS.planned,
        results=subpath(output[0], ancestor=2),
    shell:
        """
        roclip logged {log:q} roclip figure --figure {wildcards.figure:q} --plan {params.plan:q} \
            --results {params.results:q} --out {params.results:q}/figures/{wildcards.figure:q} --inputs {input.files:q}
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
        results=subpath(output.html, parent=True),
        config=CONFIG,  # what config.yaml says
    shell:
        """
        roclip logged {log:q} roclip report --results {params.results:q} --template {input.template:q} --out {output.html:q}
        """
