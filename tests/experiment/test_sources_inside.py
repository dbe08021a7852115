"""A source inside the experiment's own folder, where a run would remove it, is named before anything starts."""

import pytest

from attacks import ATTACKS
from roclip.core.errors import UserError
from roclip.experiment.config import check
from tests.conftest import ROOT
from tests.fixtures.configs import CONFIG, changed

WITHIN = "data/train.csv"
KEYS = [
    "data.tables.train", "data.url_list", "data.url_list.probe", "data.classes", "data.templates", "data.captions",
    "downstream.root",
]  # fmt: skip


@pytest.fixture
def results(tmp_path, monkeypatch):
    """The folder of the experiment of the tests, in a project of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").symlink_to(ROOT / "config")
    folder = tmp_path / "results" / CONFIG["experiment"]
    (folder / "data").mkdir(parents=True)
    (folder / WITHIN).write_text("path,caption\na.png,a bell\n")
    return folder


@pytest.mark.parametrize("key", KEYS)
def test_it_is_one_line_whatever_the_key(results, key):
    source = f"results/{results.name}/{WITHIN}"
    with pytest.raises(UserError) as caught:
        check(changed(key, source), ATTACKS)
    why = f"lies in results/{results.name}, which the run itself writes; name a copy that lies elsewhere"
    assert str(caught.value) == f"{key}: {source} {why}"


def test_however_the_path_is_written(results, tmp_path):
    (tmp_path / "link.csv").symlink_to(results / WITHIN)
    (results / "out.csv").symlink_to(tmp_path / "elsewhere.csv")
    (tmp_path / "elsewhere.csv").write_text("path,caption\na.png,a bell\n")
    inside = f"results/{results.name}"
    for source in (f"./{inside}/{WITHIN}", f"{inside}2/../{results.name}", str(results), "link.csv", f"{inside}/out.csv"):
        with pytest.raises(UserError, match=r"^data\.tables\.train: .* which the run itself writes"):
            check(changed("data.tables.train", source), ATTACKS)


def test_a_model_is_a_source_too(results):
    (results / "model.json").write_text((ROOT / "config/models/small.json").read_text())
    with pytest.raises(UserError, match=r"^train\.model: .*model\.json lies in .* which the run itself writes"):
        check(changed("train.model", f"results/{results.name}/model.json"), ATTACKS)


def test_results_may_lie_on_another_disk(results, tmp_path):
    (tmp_path / "results").rename(tmp_path / "disk")
    (tmp_path / "results").symlink_to(tmp_path / "disk")
    source = str(tmp_path / "disk" / results.name / WITHIN)
    config = changed("data.tables.train", source, changed("data.roots", [str(tmp_path / "disk")]))
    with pytest.raises(UserError, match=r"^data\.tables\.train: .* which the run itself writes"):
        check(config, ATTACKS)


def test_what_another_experiment_wrote_may_be_named(results, tmp_path):
    other = tmp_path / f"results/{results.name}2/data"
    other.mkdir(parents=True)
    (other / "classes.txt").write_text((ROOT / CONFIG["data"]["classes"]).read_text())
    source = f"results/{results.name}2/data/classes.txt"
    whole, _ = check(changed("data.classes", source), ATTACKS)
    assert whole["data"]["classes"] == source
