"""Encoding: every feature stays with its image and label, however many images are held at a time."""

import numpy as np
import pytest
import torch

from roclip.core.errors import UserError
from roclip.core.files import read_json, read_table, write_table
from roclip.data import downstream
from roclip.data.downstream import DownstreamOptions
from roclip.data.images import QUARANTINE, decode
from roclip.evaluation import encode, linear_probe, zero_shot
from roclip.evaluation.encode import EncodeOptions
from roclip.evaluation.features import AccuracyOptions, Features
from roclip.model import towers
from roclip.model.pixels import normalise, to_pixels
from tests.fixtures.downstream_sets import dtd
from tests.fixtures.weights import write_small


@pytest.fixture
def options(tmp_path, monkeypatch) -> EncodeOptions:
    """A model to encode a miniature of DTD with."""
    dtd(tmp_path / "root", monkeypatch)
    downstream.run(DownstreamOptions(tmp_path / "root", "dtd", tmp_path / "dtd", 0.0))
    write_small(tmp_path / "weights/last_clip.safetensors")
    return EncodeOptions(
        tmp_path / "weights", (f"test={tmp_path}/dtd/test.csv", f"probe={tmp_path}/dtd/probe.csv"),
        tmp_path / "dtd/classes.txt", tmp_path / "dtd/templates.txt", tmp_path / "features_dtd.npz",
        tmp_path / "quarantine_dtd.csv", (str(tmp_path),), 0.2, "float32",
    )  # fmt: skip


def test_features_are_of_the_images_that_the_table_names_whatever_is_held(options, monkeypatch):
    path = options.out.parent / "dtd/probe.csv"
    rows = read_table(path, ("path", "label"))
    rows[3]["path"] = "gone.jpg"
    write_table(path, ("path", "label"), rows)
    encode.run(options)
    whole = Features(options.out)
    monkeypatch.setattr(encode, "HELD", 5)
    encode.run(options)
    parts = Features(options.out)
    model, _ = towers.load(options.weights / "last_clip.safetensors")
    kept = [row for row in rows if row["path"] != "gone.jpg"]
    images = np.stack([decode(row["path"], 32) for row in kept]).transpose(0, 3, 1, 2)
    with torch.no_grad():
        expected = model.encode_image(normalise(to_pixels(torch.from_numpy(images)))).numpy()
    for found in (whole, parts):
        assert np.allclose(found.images("last_clip", "probe"), expected, atol=1e-5)
        assert found.labels("probe").tolist() == [["banded", "zigzagged"].index(row["label"]) for row in kept]
        assert len(found.labels("test")) == 3
    left_out = read_table(options.quarantine, QUARANTINE)
    assert [(row["table"], row["row"], row["path"]) for row in left_out] == [(str(path), "4", "gone.jpg")]
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


def test_a_downstream_set_is_judged_from_its_tables_to_its_measures(options):
    encode.run(options)
    assert Features(options.out).class_features("last_clip").shape == (2, 128)
    arrays = dict(np.load(options.out))
    corners = np.eye(128, dtype=np.float32)  # as if the towers told the classes apart, but for one test image
    arrays["last_clip/class_features"] = corners[:2]
    for exam in ("test", "probe"):
        arrays[f"last_clip/{exam}"] = corners[arrays[f"{exam}/labels"]]
    arrays["last_clip/test"][0] = corners[1 - arrays["test/labels"][0]]
    np.savez(options.out, **arrays)
    for stage, hits in (
        (zero_shot, {"zero_shot_top1": 2, "zero_shot_top3": 3, "zero_shot_top5": 3}),
        (linear_probe, {"linear_probe": 2}),
    ):
        out = options.out.with_suffix(".json")
        stage.run(AccuracyOptions(options.out, out, "dtd"))
        assert [(row["exam"], row["measure"], row["hits"], row["n"]) for row in read_json(out)] == [
            ("dtd", name, count, 3) for name, count in hits.items()
        ]
