"""Models of which somebody else wrote the config: one that would hang, fill the memory or reach a shell is one line."""

import json

import pytest

from attacks import ATTACKS
from roclip.core.errors import UserError
from roclip.experiment.config import check
from tests.conftest import ROOT
from tests.fixtures.configs import changed


@pytest.mark.parametrize("size", ["32; touch x", [], [32, "x"], 0, True, 32.5, {"a": 1}])
def test_a_model_without_a_number_of_pixels_is_refused(tmp_path, size):
    (tmp_path / "model.json").write_text(json.dumps({"vision_cfg": {"image_size": size}, "text_cfg": {}}))
    with pytest.raises(UserError, match=r"train.model: .*model.json has a vision_cfg.image_size that is no number of pixels"):
        check(changed("train.model", str(tmp_path / "model.json")), ATTACKS)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("text_cfg", "layers", 10**9), ("vision_cfg", "layers", [500, 501]), ("text_cfg", "vocab_size", 10**12),
        ("text_cfg", "context_length", 10**400), ("vision_cfg", "width", -1e9), ("vision_cfg", "layers", [10**400, 0.5]),
    ],
)  # fmt: skip
def test_a_model_that_would_fill_the_memory_is_refused_before_it_is_made(tmp_path, part, key, value):
    config = json.loads((ROOT / "config/models/small.json").read_text())
    config[part][key] = value
    (tmp_path / "model.json").write_text(json.dumps(config))
    with pytest.raises(
        UserError, match=rf"train\.model: .*model\.json has a {part}\.{key} of .*, more than 10+; is it"
    ) as caught:
        check(changed("train.model", str(tmp_path / "model.json")), ATTACKS)
    assert len(str(caught.value)) < 400
