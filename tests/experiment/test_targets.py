"""What the rules ask of a config and its plan: every file that is needed, each once, and flags that the stages understand."""

import re
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from attacks import ATTACKS
from roclip.core.errors import UserError
from roclip.core.options import parse
from roclip.data.download import DownloadOptions
from roclip.data.downstream import DownstreamOptions
from roclip.data.scenes import ScenesOptions
from roclip.experiment.config import check
from roclip.experiment.files import read_config
from roclip.experiment.plan import evaluation_sets
from roclip.experiment.targets import NEUTRAL, Targets
from roclip.training.settings import TrainSettings
from tests.conftest import ROOT
from tests.fixtures.configs import DEFAULT
from tests.fixtures.targets import given, job, targets

MODEL, WEIGHTS = "config/models/small.json", "config/test.yaml"  # any files that are there
CHANGES = {
    "experiment": "x",
    "attacks": ["clean", "targeted", "patch"],
    "defences": ["clip", "cleaned", "chosen", "theirs", "from_clip"],
    "seeds": [3, 4],
    "sweeps": {"rate": {"attacks": ["patch"], "defences": ["clip"], "axes": {"poisons": [30]}, "seeds": [3]}},
    "data": {
        "train_scenes": 5000, "held_out": 500, "classes": "config/scenes/classes.txt", "class_skew": 0,
        "roots": ["results", "a 'b'"],
    },
    "attack": {"targeted": {"clean_pairs": 2000, "captions_per_target": 5}},
    "defence": {
        "cleaned": {"train": {"kind": "clip", "epochs": 3}, "repair": {"kind": "finetune", "clean_pairs": 500, "epochs": 4}},
        "chosen": {
            "filter": {"kind": "cosine", "scored_by": {"kind": "clip", "epochs": 2}, "keep": 0.5}, "train": {"kind": "clip"},
        },
        "theirs": {"train": {"kind": "given", "weights": WEIGHTS}},
        "from_clip": {"train": {"kind": "clip", "start_from": "clip"}},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def wanted() -> Targets:
    return targets(CHANGES)


def test_a_model_is_judged_on_its_own_attack_and_on_those_whose_control_it_is(wanted):
    assert sorted(evaluation_sets(wanted.plan, "clean", "clip", 4)) == ["attack-patch", "attack-targeted", "own"]
    assert evaluation_sets(wanted.plan, "patch~poisons~30", "clip", 3) == ["own", "attack-patch~poisons~30"]


def test_every_step_has_its_files_and_those_on_the_way_are_not_judged(wanted):
    steps = {Path(path).parts[4] for path in wanted.models}
    judged = {Path(path).parts[4] for path in wanted.histories}
    assert judged == {"clip", "cleaned", "chosen", "theirs", "from_clip"}
    assert steps - judged == {"cleaned.train", "chosen.scored_by"}
    assert len(wanted.models) == 3 * 2 * 7 + 1
    assert len(wanted.histories) == 3 * 2 * 5 + 1
    assert all(len(set(files)) == len(files) for files in (wanted.models, wanted.measures, wanted.attack_tables, wanted.tables))


def test_each_measure_is_of_a_set_that_it_is_for(wanted):
    of = wanted.measures_of("patch", "clip", 3)
    assert {tuple(Path(path).parts[-2:]) for path in of} == {
        ("own", "zero_shot.json"), ("own", "linear_probe.json"),
        ("attack-patch", "attack_success.json"),
    }  # fmt: skip
    assert set(of) < set(wanted.measures)


def test_variants_are_not_exported(wanted):
    assert len(wanted.exports) == 3 * 2 * 5
    assert not [path for path in wanted.exports if "~" in path]


def test_a_training_reads_what_its_filter_keeps_and_the_weights_that_it_starts_from(wanted):
    assert wanted.steps_before(job(step="clip")) == []
    assert wanted.steps_before(job(step="chosen")) == ["results/x/filters/patch/chosen/seed3/kept.csv"]
    assert wanted.steps_before(job(step="from_clip")) == ["results/x/models/patch/clip/seed3/weights"]
    assert wanted.steps_before(job(step="cleaned")) == ["results/x/models/patch/cleaned.train/seed3/weights"]
    assert wanted.pairs(job(step="cleaned")) in wanted.data
    assert wanted.pairs(job(step="cleaned.train")) in wanted.attack_tables
    assert wanted.scored_by(job(step="chosen")) == ["results/x/models/patch/chosen.scored_by/seed3/weights"]
    assert wanted.files_of_step(job(step="theirs")) == [MODEL, WEIGHTS]
    assert wanted.files_of_step(job(step="clip")) == [MODEL]


def test_no_step_is_of_two_stages_and_a_stage_without_steps_matches_nothing(wanted):
    stages = {name: [stage for stage in ("train", "repair") if re.fullmatch(wanted.steps(stage), name)]
              for name in wanted.plan.models}  # fmt: skip
    assert stages == {name: [step.stage] for name, step in wanted.plan.models.items()}
    assert not re.fullmatch(wanted.steps("train"), "cleanedxtrain")  # the point is no wildcard
    plain = targets({"experiment": "x"})
    assert not re.match(plain.steps("repair"), "")
    assert not re.match(plain.steps("repair"), "clip")


def test_a_training_is_told_the_section_train_with_what_its_step_sets(wanted):
    flags = given(wanted.train_flags(job(step="cleaned.train")))
    assert flags["kind"] == ["clip"]
    assert (flags["epochs"], flags["batch_size"], flags["seed"]) == (["3"], ["64"], ["3"])
    assert flags["truth"] == ["results/x/attacks/patch/seed3/truth.csv"]
    assert flags["roots"] == ["results", "a 'b'"]
    silent = {name for name, value in wanted.config["train"].items() if value is None}  # null is no flag
    assert set(TrainSettings.__dataclass_fields__) - set(NEUTRAL) - silent <= set(flags)
    assert not {"kept", "start_from"} & set(flags)
    assert given(wanted.train_flags(job(step="chosen")))["kept"] == ["results/x/filters/patch/chosen/seed3/kept.csv"]
    assert given(wanted.train_flags(job(step="from_clip")))["start_from"] == ["results/x/models/patch/clip/seed3/weights"]
    other = {
        "experiment": "x",
        "defences": ["clip", "b"],
        "defence": {"b": {"train": {"kind": "clip", "start_from": "clean/clip"}}},
    }
    assert given(targets(other).train_flags(job(step="b")))["start_from"] == ["results/x/models/clean/clip/seed3/weights"]
    repair = given(wanted.train_flags(job(step="cleaned")))
    assert (repair["kind"], repair["epochs"], repair["clean_pairs"]) == (["finetune"], ["4"], ["500"])
    assert repair["start_from"] == ["results/x/models/patch/cleaned.train/seed3/weights"]
    assert repair["attacked"] == ["results/x/attacks/patch/seed3/train.csv"]


def test_only_the_oracle_is_told_the_truth():
    chosen = {"filter": {"kind": "oracle"}, "train": {"kind": "clip"}}
    by_chance = {"filter": {"kind": "random"}, "train": {"kind": "clip"}}
    wanted = targets({"experiment": "x", "defences": ["clip", "o", "r"], "defence": {"o": chosen, "r": by_chance}})
    oracle, random = (job(step=wanted.plan.models[name].filter) for name in ("o", "r"))
    truth = "results/x/attacks/patch/seed3/truth.csv"
    assert wanted.truth_of_filter(oracle) == given(wanted.filter_flags(oracle))["truth"] == [truth]
    assert wanted.truth_of_filter(random) == []
    assert "truth" not in given(wanted.filter_flags(random))


def test_an_attack_is_told_its_settings_and_the_side_of_the_models_images(wanted):
    flags = given(wanted.attack_flags(job(attack="patch~poisons~30")))
    assert (flags["kind"], flags["poisons"], flags["image_size"], flags["seed"]) == (["patch"], ["30"], ["32"], ["3"])


def test_each_evaluation_set_has_its_tables(wanted):
    own = wanted.evaluation_set("own", "3")
    assert own["record"] == "results/x/data/download.record.json"
    assert {own["test"], own["probe"]} <= set(wanted.data)
    attack = wanted.evaluation_set("attack-patch~poisons~30", "3")
    folder = "results/x/attacks/patch~poisons~30/seed3"
    assert (attack["test"], attack["record"]) == (f"{folder}/targets.csv", f"{folder}/attack.record.json")
    assert "probe" not in attack
    downstream = wanted.evaluation_set("pets", "3")
    assert set(downstream) == {"test", "probe", "classes", "templates"}
    assert {str(Path(path).parent) for path in downstream.values()} == {"results/x/data/downstream/pets"}


def test_the_flags_of_the_data_stages_are_understood(wanted):
    scenes = f"{wanted.scenes_flags()} --classes a --captions b --threads 2"
    assert parse(ScenesOptions, shlex.split(scenes)).train_scenes == 5000
    assert parse(DownloadOptions, shlex.split(wanted.download_flags())).url_list == ("results/x/data/urls.tsv",)
    downstream = parse(DownstreamOptions, shlex.split(wanted.downstream_flags(job(set="pets"))))
    assert (downstream.set, downstream.out) == ("pets", Path("results/x/data/downstream/pets"))


def test_splits_on_this_disk_are_not_downloaded(tmp_path):
    for split in ("train", "validation"):
        (tmp_path / f"{split}.csv").write_text("path,caption\n" + "a.png,a cat\n" * 200)
    for split in ("test", "probe"):
        (tmp_path / f"{split}.csv").write_text("path,label\na.png,mushroom\n")
    tables = {split: str(tmp_path / f"{split}.csv") for split in ("train", "validation", "test", "probe")}
    small = {"train": {"epochs": 20}, "attack": {"targeted": {"targets": 2, "captions_per_target": 2}}}
    there = targets({"experiment": "x", "attacks": ["targeted"], "defences": ["clip"], "data": {"tables": tables}, **small})
    assert there.url_list == []
    lists = [
        "config/scenes/many_classes.txt",
        there.config["data"]["templates"],
    ]  # labels may be the classes that captions name
    assert there.downloaded() == sorted([*tables.values(), *lists])
    assert "url_list" not in given(there.download_flags())
    assert there.pairs_to_train([job(attack="targeted", step="clip")]) == [20 * 200]


def test_a_folder_of_data_is_read_again_when_something_is_put_into_it(tmp_path):
    for name in ("cat", "dog", ".hidden"):
        (tmp_path / "pets" / name).mkdir(parents=True)
    for name in ("00000.tar", "a.parquet", "README.md"):
        (tmp_path / "pets" / name).touch()
    there = targets({})
    tables = {split: str(tmp_path / "pets") for split in ("train", "validation", "test", "probe")}
    there = replace(there, config={**there.config, "data": {**there.config["data"], "tables": tables}})
    inside = [path for path in there.downloaded() if path.startswith(str(tmp_path))]
    assert inside == [f"{tmp_path}/pets{name}" for name in ("", "/00000.tar", "/a.parquet", "/cat", "/dog")]


def test_the_pairs_that_trainings_see(wanted):
    def seen(attack: str, step: str) -> list[int]:
        return wanted.pairs_to_train([job(attack=attack, step=step)])

    assert seen("patch", "clip") == [8 * 4500]
    assert seen("targeted", "clip") == [8 * 2000]
    assert seen("targeted", "chosen") == [8 * 1000]  # half of them
    assert seen("targeted", "chosen.scored_by") == [2 * 2000]
    assert seen("targeted", "cleaned") == [4 * 500]
    assert seen("targeted", "theirs") == []
    assert wanted.pairs_to_train([]) == []


def test_a_training_takes_cores_for_the_workers_that_it_has():
    def cores(**train) -> int:
        return targets({"experiment": "x", "train": train, "attacks": ["clean"], "defences": ["clip"]}).cores

    assert cores() == 1
    assert cores(threads=2, workers=6) == 2  # images in memory are not decoded again
    assert cores(threads=2, workers=6, images="files") == 8


def test_trainings_on_several_gpus_are_started_by_torchrun(wanted):
    def launched(step: str, gpus: int) -> str:
        return wanted.launched(job(step=step), SimpleNamespace(gpu=gpus))

    assert launched("clip", 0).startswith("roclip train --")
    assert launched("clip", 1) == launched("clip", 0)
    assert launched("clip", 2).startswith("torchrun --standalone --nproc_per_node 2 -m roclip_command train --")
    assert "-m roclip_command repair --" in launched("cleaned", 2)


def test_what_changes_no_results_is_told_apart_from_the_flags_that_snakemake_compares():
    changed = targets(CHANGES | {"train": {"resume_anyway": True, "workers": 1, "keep_weights": "every_epoch"}})
    assert targets(CHANGES).train_flags(job(step="clip")) == changed.train_flags(job(step="clip"))
    words = changed.launched(job(step="clip"), SimpleNamespace(gpu=0)).split()
    assert sorted(words[2::2]) == ["--checkpoint_minutes", "--keep_weights", "--resume_anyway", "--workers"]
    assert words[words.index("--resume_anyway") + 1] == "true"
    slower = targets(CHANGES | {"train": {"learning_rate": 0.1}})
    assert targets(CHANGES).train_flags(job(step="clip")) != slower.train_flags(job(step="clip"))


def test_a_figure_of_attacks_changes_with_their_images(wanted):
    sources = wanted.figure_sources(job(figure="contact_sheet"))
    assert "results/x/attacks/patch/seed3/attack.record.json" in sources
    assert all((ROOT / path).is_file() for path in sources if path.endswith(".py"))
    assert len(wanted.drawings) == 2 * len(wanted.figures)


def test_what_the_plan_says_is_part_of_what_reads_it(wanted):
    assert targets(CHANGES).planned == wanted.planned
    assert targets(CHANGES | {"baseline": "cleaned"}).planned["version"] != wanted.planned["version"]


def test_sets_that_are_not_there_are_named():
    absent = targets({"experiment": "x", "downstream": {"sets": ["pets"], "root": "nowhere"}})
    assert absent.absences() == ["No model is judged on pets: there is no folder nowhere/oxford-iiit-pet."]


def test_a_model_of_open_clip_s_is_no_file():
    named = targets({"experiment": "x", "train": {"model": "RN50"}, "attacks": ["clean"], "defences": ["clip"]})
    assert named.files_of_step(job(attack="clean", step="clip")) == []


def test_a_config_is_put_on_top_of_the_default():
    changed = read_config(Path(), {"seeds": [1], "attack": {"patch": {"poisons": 3}}, "train": {"epochs": 2}}, [])
    assert changed["seeds"] == [1]
    assert changed["attack"] == DEFAULT["attack"] | {"patch": {"kind": "patch", "poisons": 3}}
    assert changed["train"] == DEFAULT["train"] | {"epochs": 2}


def test_in_another_folder_the_workflows_own_files_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    elsewhere = targets({"experiment": "x"}, ROOT)
    assert elsewhere.config["data"]["classes"] == str(ROOT / "config/scenes/many_classes.txt")
    assert elsewhere.config["train"]["model"] == str(ROOT / "config/models/small.json")
    assert all(Path(path).is_file() for path in elsewhere.figure_sources(job(figure="utility")))
    (tmp_path / "config/scenes").mkdir(parents=True)
    (tmp_path / "config/scenes/many_classes.txt").write_text("mushroom\ncat\n")
    config = read_config(ROOT, {}, [])
    assert config["data"]["classes"] == "config/scenes/many_classes.txt"  # the one that is here
    assert config["data"]["templates"] == str(ROOT / "config/scenes/templates.txt")
    for odd in ({"train": 3}, {"data": None}, {"train": {"model": "x" * 9000}}, {"train": {"model": ["a\0b"]}}):
        with pytest.raises(UserError):
            check(read_config(ROOT, odd, []), ATTACKS)
