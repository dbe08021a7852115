"""Draws the embedded scenes, or takes a URL list, and downloads its images.

Reads   config `data`; classes and sentence patterns
Writes  data/urls.tsv                          split, url, caption, label
        data/train.csv, data/validation.csv    path, caption
        data/test.csv, data/probe.csv          path, label
"""


rule scenes:
    input:
        classes=config["data"]["classes"],
        captions=config["data"]["captions"],
        module="roclip/scenes.py",
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
        python -m roclip.scenes \
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
    output:
        train=f"{RESULTS}/data/train.csv",
        validation=f"{RESULTS}/data/validation.csv",
        test=f"{RESULTS}/data/test.csv",
        probe=f"{RESULTS}/data/probe.csv",
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
        python -m roclip.download \
            --data "$(dirname {output.train:q})" \
            --threads {threads} {params.settings} 2>&1 | tee {log:q}
        """
