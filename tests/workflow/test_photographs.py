"""config/coco.yaml and flickr30k.yaml run to the end on miniatures in their makers' form; only paths and sizes differ."""

import subprocess
from pathlib import Path

import pytest
import yaml

from attacks import ATTACKS
from roclip.core.columns import LABELLED, PAIRS, RESULTS, VERDICTS
from roclip.core.files import read_table
from roclip.experiment.config import check
from tests.conftest import ROOT, SNAKEMAKE, copy_of_the_project
from tests.fixtures import published
from tests.fixtures.configs import on_top

COCO = yaml.safe_load((ROOT / "config/coco.yaml").read_text())
NAMED = COCO["attack"]["targeted"]["adversary_classes"]  # pizza is among them
SMALL = {
    "train": {
        "model": "config/models/small_32_tokens.json", "epochs": 3, "batch_size": 32, "warmup_steps": 1,
        "validation_images": 20, "workers": 1, "threads": 1, "device": "cpu",
    },
}  # fmt: skip


def miniature(folder: Path) -> None:
    """260 training and 40 validation images, each named by its five captions and marked with its category."""
    for split, first, count in (("train2014", 0, 260), ("val2014", 300, 40)):
        numbers = range(first, first + count)
        shown = {n: [NAMED[n % len(NAMED)]] for n in numbers}
        captions = {n: [f"A {label} seen from side {turn} ." for turn in range(5)] for n, (label,) in shown.items()}
        published.coco(folder, split, captions, shown)


def small_coco() -> dict:
    attacks = {name: {"clean_pairs": 240} for name in COCO["attack"]}
    backdoors = {name: {"poisons": 4, "evaluation_images": 8} for name in COCO["attack"] if name != "targeted"}
    sizes = {name: attacks[name] | backdoors.get(name, {"captions_per_target": 2}) for name in attacks}
    defences = {"roclip": {"train": {"pool_size": 60}}, "safeclip": {"train": {"unimodal_epochs": 1, "pool_size": 60}}}
    return {**SMALL, "attack": sizes, "defence": defences}


def run(project: Path, name: str, sizes: dict, *targets: str) -> str:
    (project / "sizes.yaml").write_text(yaml.safe_dump(sizes))
    command = [SNAKEMAKE, "--cores", "2", "--configfile", f"config/{name}.yaml", "sizes.yaml", "--", *targets]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return (project / f"results/{name}/logs/download.log").read_text()


@pytest.mark.slow
def test_coco_from_its_annotations_to_tables(tmp_path):
    project = copy_of_the_project(tmp_path / "project")
    miniature(project / "data/coco")
    results = project / "results/coco"
    sizes = small_coco() | {"attacks": ["label_consistent"], "downstream": {"sets": []}}
    log = run(project, "coco", sizes, "tables")
    findings = read_table(results / "data_check/attacks.csv", tuple(VERDICTS))
    assert [(row["attack"], row["can_take"]) for row in findings] == [("label_consistent", "yes")]
    assert "captions_train2014.json: taken for COCO's captions" in log
    assert "instances_val2014.json: taken for COCO's objects" in log
    train = read_table(results / "data/train.csv", tuple(PAIRS))
    assert len({row["path"] for row in train[:260]}) == 260, "the first caption of each image comes first"
    assert len(train) == 5 * 260
    assert len(read_table(results / "data/test.csv", tuple(LABELLED))) == 40
    models = {(row["attack"], row["defence"]) for row in read_table(results / "tables/results.csv", tuple(RESULTS))}
    assert models == {(attack, defence) for attack in sizes["attacks"] for defence in COCO["defences"]}


def test_coco_is_legal_on_its_own_counts(tmp_path, monkeypatch):
    """With annotations as long as COCO's, of which none is read."""
    (tmp_path / "config").symlink_to(ROOT / "config")
    folder = tmp_path / "data/coco/annotations"
    folder.mkdir(parents=True)
    for split in ("train2014", "val2014"):
        (folder / f"captions_{split}.json").write_text(
            '{"images": [1], "annotations": [' + '{"caption": "x"},' * 414_112 + '{"caption": "x"}]}'
        )
    monkeypatch.chdir(tmp_path)
    whole, plan = check(on_top("coco"), ATTACKS)
    assert len(plan.runs) == 5 * 3
    assert whole["attack"]["targeted"]["captions_per_target"] / 80_000 == 0.0005
    assert {whole["attack"][name]["poisons"] / 80_000 for name in ("label_consistent", "blended", "warped")} == {0.0015}
    assert set(NAMED) <= set((ROOT / "config/photographs/coco.txt").read_text().splitlines())


@pytest.mark.slow
def test_flickr30k_is_taken_over_and_attacked(tmp_path):
    project = copy_of_the_project(tmp_path / "project")
    classes = (project / "config/photographs/flickr30k.txt").read_text().split()
    captions = {f"{n}.jpg": [f"A {classes[n % 20]} {turn} ." for turn in range(5)] for n in range(420)}
    published.flickr30k(tmp_path / "made", captions)
    (project / "data").mkdir()
    (tmp_path / "made/flickr30k_images").rename(project / "data/flickr30k")
    backdoors = {name: {"poisons": 4, "evaluation_images": 8} for name in ("patch", "blended")}
    sizes = {**SMALL, "attack": {"targeted": {"captions_per_target": 2}, **backdoors}, "downstream": {"sets": []}}
    sizes |= {"defence": {"half": {"train": {"epochs": 2}}, "roclip": {"train": {"pool_size": 60}}}}
    log = run(project, "flickr30k", sizes, "data", "results/flickr30k/attacks/targeted/seed10/check.csv")
    assert "its images are shared out among train, validation, test, probe" in log
    rows = {split: read_table(project / f"results/flickr30k/data/{split}.csv", ("path",)) for split in ("train", "test")}
    assert {row["path"] for row in rows["train"]}.isdisjoint(row["path"] for row in rows["test"])
    assert {classes[int(Path(row["path"]).stem) % 20] == row["label"] for row in rows["test"]} == {True}
