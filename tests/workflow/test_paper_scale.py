"""config/cc3m.yaml and cc100k.yaml: legal on lists as long as CC3M's, and run to the end through the same code on few pairs."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from attacks import ATTACKS
from roclip.core.columns import PAIRS, RESULTS, TRUTH
from roclip.core.files import read_table, write_table
from roclip.experiment.config import check
from tests.conftest import ROOT, SNAKEMAKE, copy_of_the_project
from tests.fixtures.configs import on_top
from tests.fixtures.pretended_gpus import two_gpus
from tests.fixtures.webserver import picture, serving

pytestmark = pytest.mark.slow
CHOSEN = yaml.safe_load((ROOT / "config/cc3m.yaml").read_text())["attack"]["targeted"]["adversary_classes"]
CLASSES = [*CHOSEN, "mushroom"]
TOWERS = {
    "embed_dim": 32,
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}
# as RN50 is built, with an attention pool; and without batch norms, which processes on CPUs cannot share
MODELS = {
    "small_rn": TOWERS | {"vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8}},
    "small_vit": TOWERS | {"vision_cfg": {"image_size": 64, "patch_size": 16, "layers": 1, "width": 64, "head_width": 32}},
}


def write_imagenet(folder: Path) -> None:
    """Labelled images, as `roclip.data.downstream` lists those of ImageNet."""
    folder.mkdir(parents=True)
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    (folder / "templates.txt").write_text("a photo of a {}.\n{} in the wild\n")
    for split, count in (("test", 40), ("probe", 60)):
        for n in range(count):
            (folder / f"{split}{n}.jpg").write_bytes(picture(n % 12, "jpeg", (90, 70)))
        rows = [{"path": f"data/imagenet/{split}{n}.jpg", "label": CLASSES[n % len(CLASSES)]} for n in range(count)]
        write_table(folder / f"{split}.csv", ("path", "label"), rows)


def write_list(path: Path, count: int, url: str) -> None:
    """A list in CC3M's form, of which each class is named in every 17th caption."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        file.writelines(
            f"the {CLASSES[n % len(CLASSES)]} of person {n}\t{url}/jpg/{n % 12}?{path.stem}{n}\n" for n in range(count)
        )


def lists_of(config: str) -> tuple[str, str]:
    urls = yaml.safe_load((ROOT / f"config/{config}.yaml").read_text())["data"]["url_list"]
    return urls["train"], urls["validation"]


@pytest.mark.parametrize(("name", "pairs"), [("cc3m", 1_100_000), ("cc100k", 200_000)])
def test_the_configs_are_legal_on_lists_of_their_length(tmp_path, monkeypatch, name, pairs):
    (tmp_path / "config").symlink_to(ROOT / "config")
    write_imagenet(tmp_path / "data/imagenet")
    train, validation = lists_of(name)
    write_list(tmp_path / train, pairs, "http://h")
    write_list(tmp_path / validation, 100, "http://h")
    monkeypatch.chdir(tmp_path)
    _, plan = check(on_top(name), ATTACKS)
    assert len(plan.runs) == 2 * 6
    assert {plan.attack[attack]["kind"] for attack in plan.attacks()} == {"targeted", "patch", "blended", "sinusoid", "warped"}


def test_the_small_config_is_the_large_one_with_other_numbers():
    large, small = (yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()) for name in ("cc3m", "cc100k"))

    def differences(a, b, key=""):
        if isinstance(a, dict):
            assert a.keys() == b.keys(), key
            return {k for name in a for k in differences(a[name], b[name], name)}
        return set() if a == b else {key}

    assert differences(large, small) == {
        "experiment", "train", "clean_pairs", "captions_per_target", "poisons", "warmup_steps", "pool_size",
    }  # fmt: skip
    for config, pairs in ((large, 1_000_000), (small, 100_000)):
        assert {attack["clean_pairs"] for attack in config["attack"].values()} == {pairs}
        assert config["attack"]["targeted"]["captions_per_target"] / pairs == 0.0005
        assert config["defence"]["roclip"]["train"]["pool_size"] / pairs == pytest.approx(0.0218, abs=1e-4)


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory) -> tuple[Path, str]:
    """A copy of the project that has downloaded what cc3m.yaml asks for, but few of it; what the download printed."""
    folder = copy_of_the_project(tmp_path_factory.mktemp("paper_scale") / "project")
    write_imagenet(folder / "data/imagenet")
    for name, model in MODELS.items():
        (folder / f"{name}.json").write_text(json.dumps(model))
    train, validation = lists_of("cc3m")
    with serving() as server:
        write_list(folder / train, 300, server.url)
        with open(folder / train, "a") as file:
            file.writelines(f"dead link {n}\t{server.url}/status/404?{n}\n" for n in range(100))
        write_list(folder / validation, 40, server.url)
        return folder, run(folder, few("targeted"), "data")


def few(attack: str, **train) -> dict:
    """What makes cc3m.yaml small, with one of its attacks; all else stays as it is."""
    backdoor = {"clean_pairs": 200, "poisons": 6, "evaluation_images": 10}
    return {
        "data": {"allow": ["loopback"]},
        "downstream": {"sets": []},
        "attacks": [attack],
        "defences": ["roclip"],
        "baseline": "roclip",
        "attack": {
            "targeted": {"clean_pairs": 200, "captions_per_target": 2},
            "patch": backdoor, "label_consistent": backdoor, "blended": backdoor, "sinusoid": backdoor, "warped": backdoor,
        },
        "train": {
            "model": "small_rn.json", "epochs": 2, "batch_size": 32, "warmup_steps": 2, "validation_images": 20, "workers": 2,
            "threads": 1, "device": "cpu",
        } | train,
        "defence": {"roclip": {"train": {"pool_size": 40}}},
    }  # fmt: skip


def run(project: Path, changes: dict, *arguments: str, **environment) -> str:
    (project / "few.yaml").write_text(yaml.safe_dump(changes))
    command = [SNAKEMAKE, *arguments, "--cores", "all", "--configfile", "config/cc3m.yaml", "few.yaml"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, **environment)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    return done.stdout + done.stderr


def test_the_paper_s_experiment_runs_from_urls_to_tables_on_few_pairs(downloaded):
    project, output = downloaded
    assert " 100  22.7%  HTTP status 404" in output
    run(project, few("targeted"), "tables")
    results = project / "results/cc3m"
    pairs = read_table(results / "attacks/targeted/seed10/train.csv", tuple(PAIRS))
    truth = read_table(results / "attacks/targeted/seed10/truth.csv", tuple(TRUTH))
    assert [row["is_poison"] for row in truth] == ["0"] * 200 + ["1"] * 32
    assert all(re.fullmatch(r"results/cc3m/data/images/\d{5}\.tar/\d+\.jpg@\d+\+\d+", row["path"]) for row in pairs)
    success = read_table(results / "tables/results.csv", tuple(RESULTS))
    assert {(row["attack"], row["defence"], row["checkpoint"]) for row in success} == {
        ("targeted", "roclip", checkpoint) for checkpoint in ("last_clip", "last_matching")
    }


def test_two_gpus_share_a_training(downloaded, tmp_path):
    """On pretended GPUs: two processes train on the CPU, from files, and stop and resume as one does."""
    project, _ = downloaded
    model = "results/cc3m/models/warped/roclip/seed10/history.csv"
    gpus = two_gpus(tmp_path)
    arguments = (model, "--profile", "profiles/gpu", "--resources", "gpu=2", "--set-resources", "train:gpu=2")
    output = run(project, few("warped", model="small_vit.json"), *arguments, env=next(gpus).environment)
    next(gpus, None)
    assert "torchrun --standalone --nproc_per_node 2 -m roclip_command train" in output
    assert [row["kind"] for row in read_table(project / model, ("kind",))] == ["clip", "matching"]
