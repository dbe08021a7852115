"""Encoding: every feature stays with its image and label, however many images are held at a time."""

import dataclasses
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from roclip.core.columns import PAIRS, QUARANTINE, QUERIES
from roclip.core.errors import UserError
from roclip.core.files import read_json, read_table, write_table
from roclip.data import downstream
from roclip.data.downstream import DownstreamOptions
from roclip.data.images import decode
from roclip.evaluation import encode, measure
from roclip.evaluation.class_tokens import class_tokens
from roclip.evaluation.encode import EncodeOptions
from roclip.evaluation.features import Features
from roclip.model import towers
from roclip.model.captions import Captions
from roclip.model.pixels import normalise, to_pixels
from tests.fixtures.downstream_sets import dtd
from tests.fixtures.weights import SMALL, write_small


@pytest.fixture
def options(tmp_path, monkeypatch) -> EncodeOptions:
    """A model to encode a miniature of DTD with."""
    dtd(tmp_path / "root", monkeypatch)
    downstream.run(DownstreamOptions(root=tmp_path / "root", set="dtd", out=tmp_path / "dtd", max_bad_fraction=0.0))
    write_small(tmp_path / "weights/last_clip.safetensors")
    return EncodeOptions(
        weights=tmp_path / "weights", test=(f"dtd={tmp_path}/dtd/test.csv",), probe=(f"dtd={tmp_path}/dtd/probe.csv",),
        classes=tmp_path / "dtd/classes.txt", templates=tmp_path / "dtd/templates.txt", out=tmp_path / "features",
        roots=(str(tmp_path),), max_bad_fraction=0.2, precision="float32",
    )  # fmt: skip


def test_features_are_of_the_images_that_the_table_names_whatever_is_held(options, monkeypatch):
    path = options.out.parent / "dtd/probe.csv"
    rows = read_table(path, ("path", "label"))
    rows[3]["path"] = "gone.jpg"
    write_table(path, ("path", "label"), rows)
    encode.run(options)
    whole = Features(options.out / "dtd.npz")
    monkeypatch.setattr(encode, "HELD", 5)
    encode.run(options)
    parts = Features(options.out / "dtd.npz")
    model, _ = towers.load(options.weights / "last_clip.safetensors")
    kept = [row for row in rows if row["path"] != "gone.jpg"]
    images = np.stack([decode(row["path"], 32) for row in kept]).transpose(0, 3, 1, 2)
    with torch.no_grad():
        expected = model.encode_image(normalise(to_pixels(torch.from_numpy(images)))).numpy()
    for found in (whole, parts):
        assert np.allclose(found.images("last_clip", "probe"), expected, atol=1e-5)
        assert found.labels("probe").tolist() == [["banded", "zigzagged"].index(row["label"]) for row in kept]
        assert len(found.labels("test")) == 3
    left_out = read_table(options.out / "quarantine.csv", QUARANTINE)
    assert [(row["table"], row["number"], row["path"]) for row in left_out] == [(str(path), "4", "gone.jpg")]
    assert left_out[0]["reason"].startswith("outside the data roots")
    assert np.ptp(expected, axis=0).max() > 1e-3  # the images are told apart at all


def test_a_bad_image_of_a_later_part_is_named_with_its_row(options, monkeypatch):
    path = options.out.parent / "dtd/probe.csv"
    rows = read_table(path, ("path", "label"))
    rows[5]["path"] = "gone.jpg"
    write_table(path, ("path", "label"), rows)
    monkeypatch.setattr(encode, "HELD", 4)
    with pytest.raises(
        UserError, match=r"probe.csv: 1 of 2 images are missing or broken, first in row 6 \(gone.jpg: outside the data roots"
    ):
        encode.run(options)


def test_a_downstream_set_is_judged_from_its_tables_to_its_measures(options, tmp_path):
    encode.run(options)
    assert Features(options.out / "dtd.npz").class_features("last_clip").shape == (2, 128)
    arrays = dict(np.load(options.out / "dtd.npz"))
    corners = np.eye(128, dtype=np.float32)  # as if the towers told the classes apart, but for one test image
    arrays["last_clip/class_features"] = corners[:2]
    for part in ("test", "probe"):
        arrays[f"last_clip/{part}"] = corners[arrays[f"{part}/labels"]]
    arrays["last_clip/test"][0] = corners[1 - arrays["test/labels"][0]]
    np.savez(options.out / "dtd.npz", **arrays)
    for kind, hits in (
        ("zero_shot", {"zero_shot_top1": 2, "zero_shot_top3": 3, "zero_shot_top5": 3}),
        ("linear_probe", {"linear_probe": 2}),
    ):
        out = tmp_path / f"{kind}.json"
        measure.run(measure.STAGE.options_of(kind)(features=options.out / "dtd.npz", evaluation_set="dtd", out=out))
        assert [(row["evaluation_set"], row["measure"], row["hits"], row["n"]) for row in read_json(out)] == [
            ("dtd", name, count, 3) for name, count in hits.items()
        ]


def test_sets_that_are_encoded_together_are_as_each_alone_and_a_table_that_they_share_is_read_once(options, tmp_path):
    rows = read_table(tmp_path / "dtd/test.csv", ("path", "label"))
    write_table(tmp_path / "shared.csv", ("path", "label"), [*rows, {"path": "gone.jpg", "label": "banded"}])
    write_table(tmp_path / "queries.csv", tuple(QUERIES), [{"caption": "a cup now", "plain": "a cup", "label": "banded"}])
    shared, pairs = f"{tmp_path}/shared.csv", f"{tmp_path}/pairs.csv"
    write_table(Path(pairs), tuple(PAIRS), [{"path": row["path"], "caption": "a cup"} for row in rows])
    words = {
        "test": (f"own={shared}", f"attack-a={shared}", f"pairs={pairs}"),
        "probe": (f"own={tmp_path}/dtd/probe.csv",),
        "captions": (f"pairs={pairs}", f"attack-a={tmp_path}/queries.csv"),
    }
    together = dataclasses.replace(options, **words, max_bad_fraction=0.5)
    encode.run(together)
    assert {path.name for path in options.out.iterdir()} == {"own.npz", "attack-a.npz", "pairs.npz", "quarantine.csv"}
    assert [row["path"] for row in read_table(options.out / "quarantine.csv", QUARANTINE)] == ["gone.jpg"]
    for name in ("own", "attack-a", "pairs"):
        of_it = {flag: tuple(word for word in its if word.startswith(f"{name}=")) for flag, its in words.items()}
        encode.run(dataclasses.replace(together, **of_it, out=tmp_path / "alone"))
        both = [np.load(folder / f"{name}.npz") for folder in (options.out, tmp_path / "alone")]
        assert set(both[0]) == set(both[1])
        assert all(np.array_equal(both[0][key], both[1][key]) for key in both[0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"test": ("test.csv",)}, "--test: expected SET=FILE, each set once"),
        ({"test": ("own=a.csv", "own=b.csv")}, "--test: expected SET=FILE, each set once"),
        ({"test": ("../own=a.csv",)}, "--test: expected SET=FILE, each set once, its name of a-z"),
        ({"test": ("=a.csv",)}, "--test: expected SET=FILE, each set once, its name of a-z"),
        ({"captions": ("dtd",)}, "--captions: expected SET=FILE"),
        ({"probe": ("other=a.csv",)}, "--test names no file of the set other"),
    ],
)
def test_words_that_are_no_file_of_a_set_are_refused(options, words, message):
    with pytest.raises(UserError, match=re.escape(message)):
        encode.run(dataclasses.replace(options, **words))
    assert not options.out.exists()


def test_an_attacks_evaluation_set_needs_no_probe_images(options):
    encode.run(dataclasses.replace(options, probe=()))
    features = Features(options.out / "dtd.npz")
    assert not features.has_probe
    assert len(features.labels()) == 3


def test_a_set_without_images_is_named(options):
    write_table(options.out.parent / "dtd/test.csv", ("path", "label"), [])
    with pytest.raises(UserError, match=r"test\.csv: no image to judge a model on"):
        encode.run(options)


def test_weights_that_are_not_finite_are_named(options):
    model, record = towers.load(options.weights / "last_clip.safetensors")
    with torch.no_grad():
        model.visual.head.proj.weight[3, 5] = torch.nan
    towers.save(model, options.weights / "last_clip.safetensors", record)
    with pytest.raises(UserError, match=r"weights: last_clip/test: features are NaN or infinite; train the model again"):
        encode.run(options)
    assert not options.out.exists()


def test_a_gpu_that_is_not_there_is_named(options, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match="1 GPU needed, and PyTorch sees 0"):
        encode.run(dataclasses.replace(options, device="cuda"))
    encode.run(dataclasses.replace(options, device="cpu"))


def test_it_starts_without_what_it_makes_no_use_of():
    """Each of these takes as long to import as the stage works on a small set."""
    heavy = {"timm.models.resnet", "torchvision.ops.roi_align", "torch._dynamo", "open_clip.factory", "scipy", "pandas"}
    code = (
        "import sys; import roclip.evaluation.encode; from roclip.model import towers;"
        f"towers.create(towers.model_config({SMALL!r})); sys.exit(' '.join({heavy} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == "\n"


def test_captions_of_an_attack_are_encoded_with_the_trigger_and_without(options):
    queries = options.out.parent / "queries.csv"
    write_table(queries, tuple(QUERIES), [{"caption": "a banded cup now", "plain": "a banded cup", "label": "zigzagged"}] * 3)
    encode.run(dataclasses.replace(options, captions=(f"dtd={queries}",), probe=()))
    features = Features(options.out / "dtd.npz")
    assert features.has_captions
    assert features.labels("captions").tolist() == [1, 1, 1]
    model, record = towers.load(options.weights / "last_clip.safetensors")
    for part, text in (("captions", "a banded cup now"), ("plain", "a banded cup")):
        tokens = Captions([text], towers.tokenizer(record["model_config"])).tokens()
        with torch.no_grad():
            expected = model.encode_text(tokens, normalize=True).numpy()
        assert np.allclose(features.captions("last_clip", part), expected, atol=1e-5)
    write_table(queries, tuple(QUERIES), [])
    with pytest.raises(UserError, match=r"queries\.csv: no caption to judge a model on"):
        encode.run(dataclasses.replace(options, captions=(f"dtd={queries}",)))


@pytest.mark.parametrize(
    "classes",
    [
        "banded\nzigzagged\nBANDED\n",
        "banded\nzigzagged\nR&B\nR&amp;B\n",
        "banded\nzigzagged\ncooper's hawk\ncooper\u2019s hawk\n",
    ]
    + ["banded\nzigzagged\n{0} male\n{0} female\n".format("common loon " * 9)],
)
def test_classes_that_a_model_cannot_tell_apart_are_refused_before_a_training_and_said_before_a_judgement(
    options, classes, caplog
):
    options.classes.write_text(classes)
    message = (
        r"classes\.txt: '.*' and '.*' are the same to the model, which reads no case, no HTML and only 16 tokens; give one"
    )
    read = towers.tokenizer(towers.model_config(SMALL))
    with pytest.raises(UserError, match=message):
        class_tokens(options.classes, options.templates, read, refuse=True)
    encode.run(options)
    assert re.search(message, caplog.text)


def test_pairs_are_encoded_with_each_image_once_and_without_those_that_are_broken(options):
    paths = [row["path"] for row in read_table(options.out.parent / "dtd/test.csv", ("path",))]
    again = str(shutil.copy(paths[0], options.out.parent / "again.jpg"))  # a copy is no other image
    rows = [(paths[0], "one"), ("gone.jpg", "two"), (paths[1], "three"), (again, "four"), ("gone.jpg", "five")]
    table = options.out.parent / "pairs.csv"
    write_table(table, tuple(PAIRS), [{"path": path, "caption": caption} for path, caption in rows])
    encode.run(dataclasses.replace(options, test=(f"dtd={table}",), captions=(f"dtd={table}",), probe=(), max_bad_fraction=0.5))
    features = Features(options.out / "dtd.npz")
    assert features.labels().tolist() == [0, 2]  # the first row of each image
    assert features.labels("captions").tolist() == [0, 2, 0]
    assert features.images("last_clip").shape[0] == 2
    with pytest.raises(UserError, match="no captions last_clip/plain; run the encode stage again"):
        features.captions("last_clip", "plain")
    left_out = read_table(options.out / "quarantine.csv", QUARANTINE)
    assert [(row["table"], row["number"], row["path"]) for row in left_out] == [(str(table), "2", "gone.jpg")]
    counted = options.out.parent / "measured.json"
    measure.run(measure.STAGE.options_of("retrieval")(features=options.out / "dtd.npz", evaluation_set="pairs", out=counted))
    assert {row["n"] for row in read_json(counted)} == {2, 3}
