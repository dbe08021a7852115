"""What leaves the project loads elsewhere: weights in open_clip, both ways, and measures as CLIP_benchmark's rows."""

import copy
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch
import yaml
from safetensors.torch import load_file
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

from roclip.core.errors import UserError
from roclip.core.files import read_json, read_table, write_json
from roclip.evaluation import measures_of
from roclip.evaluation.export import METRICS, ExportOptions, run
from roclip.model import towers
from tests.fixtures.weights import SMALL, record

NAME = "targeted/roclip/seed10"
SETS = ("own", "cifar10", "aircraft")


def used(model: torch.nn.Module, side: int) -> torch.nn.Module:
    """The model, whose weights are random anyway, with statistics that are not the first ones, in evaluation mode."""
    with torch.no_grad():
        model.train().encode_image(torch.randn(2, 3, side, side))
    return model.eval()


def assert_same_features(ours: torch.nn.Module, theirs: torch.nn.Module, side: int) -> None:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, side, side, generator=generator)
    tokens = torch.randint(1, 1000, (3, ours.context_length), generator=generator)
    tokens[:, 5] = ours.vocab_size - 1  # the end token is the highest
    with torch.no_grad():
        for one, other in (
            (ours.encode_image(images), theirs.encode_image(images)),
            (ours.encode_text(tokens), theirs.encode_text(tokens)),
        ):
            assert one.abs().max() > 1e-3
            assert torch.allclose(one, other, rtol=0, atol=1e-5)
    assert torch.equal(ours.logit_scale, theirs.logit_scale)


def features(rng: np.random.Generator, classes: int) -> dict[str, np.ndarray]:
    """Features of 60 test images that are often, not always, nearest to their class, which has few or many images."""
    labels = np.minimum(rng.geometric(0.3, 60) - 1, classes - 1)
    names = rng.normal(size=(classes, 16))
    images = names[labels] + 1.5 * rng.normal(size=(60, 16))
    return {"test/labels": labels, "c/class_features": names / np.linalg.norm(names, axis=1, keepdims=True), "c/test": images}


def measure(folder, checkpoints=("last_clip", "last_matching")) -> dict[str, dict]:
    """Measures of our own images, of two downstream sets and of an attack's evaluation set; the features by set."""
    made = {}
    for seed, name in enumerate(("own", "cifar10", "aircraft", "attack-patch")):
        (folder / name / "features").mkdir(parents=True)
        made[name] = features(np.random.default_rng(seed), 8)
        arrays = {
            key.replace("c/", f"{c}/", 1) if key[:2] == "c/" else key: v for key, v in made[name].items() for c in checkpoints
        }
        np.savez(folder / name / f"features/{name}.npz", **arrays)
        for kind in measures_of(name):
            rows = [
                {"checkpoint": c, "evaluation_set": name, "measure": kind, "hits": 30 + n, "n": 60}
                for n, c in enumerate(checkpoints)
            ]
            write_json(folder / name / f"{kind}.json", rows)
    return made


def options(folder, out) -> ExportOptions:
    named = {"name": NAME, "experiment": "embedded", "sets": SETS}
    return ExportOptions(weights=folder / "weights", measures=folder / "measures", out=out, **named)


def follow_the_card(folder) -> list[torch.nn.Module]:
    """The models that one gets who does what the card says: its lines of Python, and then each of its ways to read the .pt."""
    text = (folder / "README.md").read_text()
    scope = {"torch": torch, "PATH": str(folder / "open_clip_model.pt")}
    exec(text.split("```python")[1].split("```")[0].replace("FOLDER", str(folder)), scope)
    found = [scope["model"]]
    for line in re.findall(r"`([^`]*\(.*PATH.*)`", text):
        fresh = scope["model"] = copy.deepcopy(found[0])
        for tensor in fresh.state_dict().values():
            tensor.zero_()
        result = eval(line, scope)
        found.append(result if isinstance(result, torch.nn.Module) else fresh)
    return found


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The export of a small model with two checkpoints: folder, model, features."""
    folder = tmp_path_factory.mktemp("small")
    model = used(towers.create(towers.model_config(SMALL)), 32)
    for checkpoint in ("last_clip", "last_matching"):
        towers.save(model, folder / f"weights/{checkpoint}.safetensors", record(SMALL))
    made = measure(folder / "measures")
    run(options(folder, folder / "out"))
    return folder / "out", model, made


@pytest.mark.slow
def test_rn50_goes_to_open_clip_and_back(tmp_path):
    ours = used(towers.create(towers.model_config("RN50")), 224)
    towers.save(ours, tmp_path / "weights/last_clip.safetensors", record("RN50"))
    run(options(tmp_path, tmp_path / "out"))
    folder = tmp_path / "out/last_clip"
    models = follow_the_card(folder)
    assert len(models) == 3
    for theirs in models:
        assert_same_features(ours, theirs.eval(), 224)

    back = used(theirs, 224)  # other statistics, in open_clip's own model
    towers.save(back, tmp_path / "theirs.safetensors", record("RN50"))
    assert_same_features(towers.load(tmp_path / "theirs.safetensors")[0], back, 224)


def test_an_export_repeats_itself_to_the_bit(small, tmp_path):
    folder, _, _ = small
    run(options(folder.parent, tmp_path))
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if (folder / path).read_bytes() != (tmp_path / path).read_bytes()] == []


def test_measures_of_sets_that_left_the_config_are_left_out(small, tmp_path):
    folder = small[0].parent
    run(replace(options(folder, tmp_path), sets=("own", "aircraft")))
    written = {path.name.rpartition("_")[0] for path in (tmp_path / "last_clip/results").glob("*.json")}
    assert written == {f"{name}_{task}" for name in ("embedded", "fgvc_aircraft") for task in ("zeroshot", "linear")}


def test_a_checkpoint_that_was_not_measured_is_one_line(small, tmp_path):
    folder = small[0].parent
    shutil.copytree(folder / "measures", tmp_path / "measures")
    write_json(tmp_path / "measures/own/linear_probe.json", read_json(folder / "measures/own/linear_probe.json")[1:])
    with pytest.raises(UserError, match="measures/own: nothing was measured of last_clip; run the workflow, which measures"):
        run(replace(options(folder, tmp_path / "out"), measures=tmp_path / "measures"))


def test_every_file_of_weights_holds_the_model_and_nothing_else(small):
    folder, model, _ = small
    for checkpoint in ("last_clip", "last_matching"):
        state = torch.load(folder / checkpoint / "open_clip_model.pt", weights_only=True)
        assert all(isinstance(value, torch.Tensor) for value in state.values())
        for weights in (state, load_file(folder / checkpoint / "open_clip_model.safetensors")):
            assert weights.keys() == model.state_dict().keys()
            assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())


def test_open_clip_loads_the_folder(small):
    folder, model, _ = small
    theirs, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder / 'last_clip'}")
    assert_same_features(model, theirs.eval(), 32)
    assert tuple(preprocess.transforms[-1].mean) == open_clip.OPENAI_DATASET_MEAN
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder / 'last_clip'}")
    assert torch.equal(tokenizer(["a cat"]), towers.tokenizer(towers.model_config(SMALL))(["a cat"]))


def test_what_the_card_says_of_loading_is_true(small):
    folder, model, _ = small
    models = follow_the_card(folder / "last_clip")
    assert len(models) == 2
    for theirs in models:
        assert_same_features(model, theirs.eval(), 32)


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_rows_are_clip_benchmarks_and_their_numbers_scikit_learns(small):
    folder, _, made = small
    rows = read_table(
        folder / "results.csv", (*METRICS, "dataset", "model", "pretrained", "task", "language", "model_fullname")
    )
    assert len(rows) == 12
    names = {"embedded": "own", "cifar10": "cifar10", "fgvc_aircraft": "aircraft"}
    for row in rows:
        one = made[names[row["dataset"]]]
        labels, scores = one["test/labels"], one["c/test"] @ one["c/class_features"].T
        if row["task"] == "zeroshot_classification":
            assert float(row["acc1"]) == pytest.approx((scores.argmax(1) == labels).mean())
            assert float(row["acc5"]) == pytest.approx(top_k_accuracy_score(labels, scores, k=5, labels=range(8)))
            assert float(row["mean_per_class_recall"]) == pytest.approx(balanced_accuracy_score(labels, scores.argmax(1)))
            assert float(row["mean_per_class_recall"]) != pytest.approx(float(row["acc1"]))
            assert row["lp_acc1"] == ""
        else:
            assert row["task"] == "linear_probe"
            assert float(row["lp_acc1"]) == pytest.approx((31 if "matching" in row["pretrained"] else 30) / 60)
        assert row["model"] == "small"
        assert row["model_fullname"] == f"small {row['pretrained']}"
    one = read_json(folder / "last_clip/results/cifar10_zeroshot_classification.json")
    assert set(one) == {"dataset", "model", "pretrained", "task", "metrics", "language"}
    assert set(one["metrics"]) == {"acc1", "acc5", "mean_per_class_recall"}


def test_the_card_has_a_legal_head_a_warning_and_the_inputs(small):
    text = (small[0] / "last_matching/README.md").read_text()
    head = yaml.safe_load(text.split("---")[1])
    assert head["library_name"] == "open_clip"
    assert "poisoned pairs" in text
    for part in (
        "last matching epoch",
        "c0ffee",
        "| train.csv | ab |",
        "| match_every | 2 |",
        "import roclip.model.small_resnet",
    ):
        assert part in text
    config = json.loads((small[0] / "last_matching/open_clip_config.json").read_text())
    assert set(config) == {"model_cfg", "preprocess_cfg"}


def test_a_folder_without_weights_is_named(tmp_path):
    with pytest.raises(UserError, match=r"weights: no checkpoints .* train the model first"):
        run(options(tmp_path, tmp_path / "out"))
