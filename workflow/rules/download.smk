"""Draws scenes, or takes a URL list, and downloads its images; takes over splits and downstream sets on this disk.

Reads   config `data` and `downstream`; classes and sentence patterns; lists, tables and folders that the config names
Writes  data/urls.tsv, data/{train,validation,test,probe}.csv, data/download.record.json (hashes of all images too)
        data/downstream/SET/{test,probe}.csv, classes.txt, templates.txt
"""


rule scenes:
    """Draw the default data set."""
    input:
        classes=CONFIG["data"]["classes"],
        captions=CONFIG["data"]["captions"],
        module=HERE / "roclip/data/scenes.py",
    output:
        urls=f"{RESULTS}/data/urls.tsv",
    log:
        f"{RESULTS}/logs/scenes.log",
    benchmark:
        f"{RESULTS}/benchmarks/scenes.tsv"
    conda:
        "../../environment.yml"
    threads: all_cores
    params:
        flags=TARGETS.scenes_flags(),
    shell:
        """
        roclip logged {log:q} roclip scenes --threads {threads} \
            --classes {input.classes:q} --captions {input.captions:q} {params.flags}
        """


rule download:
    """Download the images of a list, and take over the splits that are on this disk."""
    input:
        sources=TARGETS.downloaded(),
    output:
        train=f"{RESULTS}/data/train.csv",
        validation=f"{RESULTS}/data/validation.csv",
        test=f"{RESULTS}/data/test.csv",
        probe=f"{RESULTS}/data/probe.csv",
        record=f"{RESULTS}/data/download.record.json",
    log:
        f"{RESULTS}/logs/download.log",
    benchmark:
        f"{RESULTS}/benchmarks/download.tsv"
    conda:
        "../../environment.yml"
    threads: all_cores
    params:
        flags=TARGETS.download_flags(),
    shell:
        """
        roclip logged {log:q} roclip download --threads {threads} {params.flags}
        """


rule downstream:
    """List the images of a downstream test set; early, for a wrong folder must show before hours of training."""
    output:
        probe=f"{RESULTS}/data/downstream/{{set}}/probe.csv",
        test=f"{RESULTS}/data/downstream/{{set}}/test.csv",
        classes=f"{RESULTS}/data/downstream/{{set}}/classes.txt",
        templates=f"{RESULTS}/data/downstream/{{set}}/templates.txt",
    log:
        f"{RESULTS}/logs/downstream/{{set}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/downstream/{{set}}.tsv"
    priority: 1
    conda:
        "../../environment.yml"
    params:
        flags=TARGETS.downstream_flags,
    shell:
        """
        roclip logged {log:q} roclip downstream {params.flags}
        """
