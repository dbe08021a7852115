"""Draws the embedded scenes, or takes a URL list, and downloads its images; takes over splits on this disk; lists those of
downstream sets.

Reads   config `data`; classes and sentence patterns; config `downstream`
Writes  data/urls.tsv                          split, url, caption, label
        data/train.csv, data/validation.csv    path, caption
        data/test.csv, data/probe.csv          path, label
        data/download.record.json              hashes of the tables and of all images, so that what reads them sees when images change
        data/downstream/SET/test.csv, probe.csv  path, label
        data/downstream/SET/classes.txt, templates.txt
"""


rule scenes:
    input:
        classes=config["data"]["classes"],
        captions=config["data"]["captions"],
        module="roclip/data/scenes.py",
    output:
        urls=f"{RESULTS}/data/urls.tsv",
    log:
        f"{RESULTS}/logs/scenes.log",
    benchmark:
        f"{RESULTS}/benchmarks/scenes.tsv"
    conda:
        "../../environment.yml"
    threads: workflow.cores
    params:
        data=config["data"],
    shell:
        """
        python -m roclip.data.scenes \
            --data "$(dirname {output.urls:q})" \
            --classes {input.classes:q} \
            --captions {input.captions:q} \
            --image_size {params.data[image_size]} \
            --train_scenes {params.data[train_scenes]} \
            --validation_scenes {params.data[validation_scenes]} \
            --test_scenes {params.data[test_scenes]} \
            --probe_scenes {params.data[probe_scenes]} \
            --seed {params.data[seed]} \
            --threads {threads} 2>&1 | tee {log:q}
        """


rule download:
    input:
        urls=sorted({str(path) for path in paths(URL_LIST).values()}),
        tables=[str(path) for path in by_split(LOCAL, "tables").values()],
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
    threads: workflow.cores
    params:
        settings=download_flags(),
    shell:
        """
        python -m roclip.data.download \
            --data "$(dirname {output.train:q})" \
            --threads {threads} {params.settings} 2>&1 | tee {log:q}
        """


rule downstream:
    output:
        probe=f"{RESULTS}/data/downstream/{{set}}/probe.csv",
        test=f"{RESULTS}/data/downstream/{{set}}/test.csv",
        classes=f"{RESULTS}/data/downstream/{{set}}/classes.txt",
        templates=f"{RESULTS}/data/downstream/{{set}}/templates.txt",
    log:
        f"{RESULTS}/logs/downstream/{{set}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/downstream_{{set}}.tsv"
    wildcard_constraints:
        set="|".join(FOLDERS),
    # a folder with the wrong layout shows before hours of training
    priority: 1
    conda:
        "../../environment.yml"
    params:
        root=config["downstream"]["root"],
        max_bad_fraction=config["data"]["max_bad_fraction"],
    shell:
        """
        python -m roclip.data.downstream \
            --root {params.root:q} \
            --set {wildcards.set} \
            --out "$(dirname {output.test:q})" \
            --max_bad_fraction {params.max_bad_fraction} 2>&1 | tee {log:q}
        """
