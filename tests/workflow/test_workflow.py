"""The whole workflow on config/test.yaml in a copy of the project: once through, then what a second run and each edit redo."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from PIL import Image

from roclip.core.columns import MEASURES
from roclip.core.files import read_json, read_table, sha256
from roclip.evaluation.export import METRICS
from tests.conftest import ROOT, SNAKEMAKE, snakemake
from tests.fixtures.downstream_sets import dtd

pytestmark = pytest.mark.slow
RESULTS = Path("results/test")
ZERO_SHOT = "measures/targeted/clip/seed10/own/zero_shot.json"
FIGURES = ("equal_accuracy", "matrix", "contact_sheet", "attack_success", "utility", "cosines", "telemetry", "saw_tooth")


def dry_run(project: Path, *words: str, **changes) -> str:
    """What a dry run prints when the config is changed so."""
    (project / "changes.yaml").write_text(yaml.safe_dump(changes))
    return snakemake(project, "changes.yaml", "--dry-run", *words)


def planned(project: Path, *words: str, **changes) -> Counter:
    """How many jobs of each rule a dry run would start when the config is changed so."""
    output = dry_run(project, *words, **changes)
    table = re.search(r"Job stats:\n.*?\n-+.*?\n(.*?)\ntotal", output, re.DOTALL)
    lines = table[1].splitlines() if table else []
    return Counter({name: int(count) for name, count in map(str.split, lines)})


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory) -> Path:
    """A project in which the workflow has run once."""
    return shutil.copytree(finished, tmp_path_factory.mktemp("project"), dirs_exist_ok=True)


def test_each_attack_is_judged_on_its_models_and_on_those_of_the_other_family(project):
    rows = read_table(project / RESULTS / "tables/measures.csv", tuple(MEASURES))
    success = [r for r in rows if r["measure"] == "attack_success_top1" and r["seed"] == "all"]
    assert {(r["attack"], r["defence"], r["checkpoint"], r["evaluation_set"]) for r in success} == {
        (attack, defence, checkpoint, f"attack-{judged_on}")
        for attack in ("targeted", "patch")
        for defence, checkpoints in (("clip", ["last_clip"]), ("roclip", ["last_clip", "last_matching"]))
        for checkpoint in checkpoints
        for judged_on in ("targeted", "patch")
    }
    assert {r["measure"] for r in rows if r["evaluation_set"] == "own"} == {
        "zero_shot_top1", "zero_shot_top3", "zero_shot_top5", "linear_probe",
    }  # fmt: skip
    for row in rows:
        low, high = row["low"] or row["value"], row["high"] or row["value"]  # none of one training of a backdoor
        assert 0 <= float(low) <= float(row["value"]) <= float(high) <= 1
        assert row["experiment"] == "test"


def test_tables_and_figures_are_there_and_nothing_half_written(project):
    for name in FIGURES:
        with Image.open(project / RESULTS / f"figures/{name}.png") as image:
            assert min(image.size) > 300
        assert (project / RESULTS / f"figures/{name}.pdf").read_bytes().startswith(b"%PDF")
    assert (project / RESULTS / "tables/measures.md").read_text().count("| targeted |") == 3
    assert read_json(project / RESULTS / "plan.json")["experiment"] == "test"
    assert not list((project / RESULTS).rglob("*.part*"))
    assert not (project / RESULTS / "data/download").exists()


def test_the_attack_counts_what_the_config_asks_for(project):
    manifest = read_json(project / RESULTS / "attacks/targeted/seed10/manifest.json")
    assert (manifest["poisons"], manifest["clean_pairs"]) == (12, 1200)
    assert manifest["rate"] == pytest.approx(0.01)
    assert (project / RESULTS / "attacks/patch/seed10/sample.png").exists()


def test_a_second_run_does_nothing_in_five_seconds(project):
    started = os.times()
    output = snakemake(project, "--cores", "all")
    ended = os.times()
    assert "Nothing to be done" in output
    seconds = ended.children_user + ended.children_system - started.children_user - started.children_system
    assert seconds < 5  # of the processor, whatever else the machine does


def test_snakemake_s_own_report_needs_no_cores(project):
    snakemake(project, "--report", "snakemake.html")
    assert (project / "snakemake.html").stat().st_size > 10_000


def test_an_edited_figure_is_redrawn_and_nothing_else(project):
    module = project / "roclip/reporting/figures/utility.py"
    before = module.read_text()
    os.utime(module)
    assert not planned(project)  # touched, but the same
    module.write_text(before + "# edited\n")
    assert planned(project) == {"figure": 1, "report": 1, "all": 1}
    module.write_text(before)


def test_a_changed_learning_rate_retrains_and_a_changed_defence_only_its_branch(project):
    everything = planned(project, train={"learning_rate": 0.002})
    assert everything["train"] == 4
    assert not {"scenes", "download", "attack"} & set(everything)
    branch = planned(project, defence={"roclip": {"train": {"pool_size": 90}}})
    assert (branch["train"], branch["encode"], branch["measure"]) == (2, 2, 8)
    assert not {"scenes", "download", "attack"} & set(branch)
    printed = dry_run(project, defence={"roclip": {"train": {"pool_size": 90}}})
    assert set(re.findall(r"^rule train:.*?wildcards: (.*?)$", printed, re.DOTALL | re.MULTILINE)) == {
        f"attack={attack}, step=roclip, seed=10" for attack in ("targeted", "patch")
    }
    attack = planned(project, attack={"patch": {"poisons": 9}})
    assert (attack["attack"], attack["train"]) == (1, 2)


def test_one_more_attack_leaves_what_is_done_as_it_is(project):
    """The models of the other family are judged again, as controls on the new set too, and the two new ones on two sets."""
    jobs = planned(project, attacks=["targeted", "patch", "warped"], attack={"warped": {"poisons": 8, "evaluation_images": 40}})
    assert (jobs["attack"], jobs["train"], jobs["encode"], jobs["measure"]) == (1, 2, 2 + 2, 2 * 5 + 2 * 3)


def test_one_more_defence_on_the_way_to_another_is_trained_once(project):
    repair = {"repair": {"kind": "finetune", "clean_pairs": 200, "epochs": 1, "warmup_steps": 1}}
    kept = {"filter": {"kind": "random"}, "train": {"kind": "clip"}}
    recipes = {"cleaned": {"train": {"kind": "clip"}, **repair}, "kept": kept}
    changes = {"defences": ["cleaned", "kept"], "baseline": "cleaned", "defence": recipes, "data": {"held_out": 200}}
    printed = dry_run(project, attacks=["patch"], **changes)
    steps = re.findall(r"^rule (train|repair):.*?step=(.*?), seed=10$", printed, re.DOTALL | re.MULTILINE)
    assert sorted(steps) == [("repair", "cleaned"), ("train", "clip"), ("train", "kept")]  # `cleaned` repairs the model `clip`


def test_a_table_that_is_touched_or_made_again_the_same_starts_no_training(project):
    tables = list((project / RESULTS).glob("attacks/*/seed10/train.csv"))
    for table in [*tables, project / RESULTS / "data/train.csv"]:
        os.utime(table)
    assert not planned(project)
    before = [table.stat().st_mtime_ns for table in tables]
    snakemake(project, "--cores", "all", "--forcerun", "attack", "--", "attacks")
    assert all(table.stat().st_mtime_ns > time for table, time in zip(tables, before, strict=True))
    assert not planned(project)


def test_the_table_of_a_million_pairs_counts_by_its_content_too(tmp_path):
    rule = "rule model:\n    input: 'train.csv'\n    output: 'weights'\n    shell: 'touch {output}'\n"
    (tmp_path / "Snakefile").write_text(rule)
    with open(tmp_path / "train.csv", "wb") as table:
        table.truncate(200_000_000)
    command = [SNAKEMAKE, "--cores", "1", "--workflow-profile", str(ROOT / "profiles/default")]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "train.csv").touch()
    done = subprocess.run([*command, "--dry-run"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "Nothing to be done" in done.stdout + done.stderr


def test_a_second_snakemake_on_an_experiment_is_refused_in_one_line(project):
    measure, written = project / RESULTS / ZERO_SHOT, project / RESULTS / "config.yaml"
    before, date = measure.read_bytes(), written.stat().st_mtime_ns
    measure.unlink()
    claiming = (
        f"from pathlib import Path; from roclip.experiment.run_lock import claim; claim(Path('{RESULTS}')); print(flush=True)"
    )
    code = f"{claiming}; import time; time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], cwd=project, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        command = [SNAKEMAKE, str(measure.relative_to(project)), "--cores", "1", "--configfile", "config/test.yaml"]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True)
        holder.kill()
    assert done.returncode == 1
    assert f"error: {RESULTS}: another snakemake runs this experiment (process {holder.pid} on " in done.stderr
    assert "Traceback" not in done.stderr
    assert not measure.exists()
    assert written.stat().st_mtime_ns == date
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    assert measure.read_bytes() == before


def test_other_images_under_the_same_names_are_trained_on_anew(project):
    """Noise of another kind in the patch leaves all tables of the attack as they are."""
    folder = project / RESULTS / "attacks/patch/seed10"
    kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    changes = {"attack": {"patch": {"pattern": "per_image"}}}
    (project / "changes.yaml").write_text(yaml.safe_dump(changes))
    snakemake(project, "changes.yaml", "--cores", "1", "attacks")
    assert (folder / "train.csv").read_bytes() == kept[folder / "train.csv"]
    jobs = planned(project, **changes)
    (project / "changes.yaml").write_text("{}")
    snakemake(project, "changes.yaml", "--cores", "1", "attacks")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == kept
    # the two models of this attack, and the other two, which are judged on its evaluation set too
    assert (jobs["attack"], jobs["train"], jobs["encode"]) == (0, 2, 2 + 2)
    assert not planned(project)


def test_after_an_interruption_only_what_is_missing_is_trained(project):
    missing = [project / RESULTS / path for path in ("models/targeted/clip/seed10", "tables")]
    for number, path in enumerate(missing):
        path.rename(project / f"aside{number}")
    jobs = planned(project)
    for number, path in enumerate(missing):
        (project / f"aside{number}").rename(path)
    assert (jobs["train"], jobs["encode"], jobs["gather"]) == (1, 1, 1)
    assert not planned(project)


def test_a_sweep_shares_its_data_and_attacks_and_trains_what_is_new(project):
    axes = {"pool_size": [50, 100], "match_every": [0, 2]}  # 100 and 2 are RoCLIP itself; without matching, no pool matters
    sweeps = {"pool": {"attacks": ["targeted"], "defences": ["roclip"], "axes": axes}}
    jobs = planned(project, sweeps=sweeps)
    assert (jobs["train"], jobs["attack"], jobs["download"]) == (2, 0, 0)


def test_another_seed_adds_its_own_models(project):
    jobs = planned(project, "--config", "seeds=[10, 11]")
    assert (jobs["attack"], jobs["train"], jobs["scenes"]) == (2, 4, 0)


def test_each_stage_has_a_target(project):
    targets = ("data", "attacks", "models", "measures", "tables", "figures", "report")
    assert "Nothing to be done" in snakemake(project, "--cores", "1", *targets)


def test_a_stage_runs_by_file_and_by_the_command_that_is_printed(project):
    measure = project / RESULTS / ZERO_SHOT
    before = measure.read_text()
    measure.unlink()
    output = snakemake(project, "--cores", "1", str(measure.relative_to(project)))
    assert measure.read_text() == before
    command = re.search(r"roclip logged \S+ roclip measure .*?--out \S+", output, re.DOTALL)[0]
    measure.unlink()
    path = os.pathsep.join([str(project / "workflow/bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(["bash", "-c", command], cwd=project, check=True, env={**os.environ, "PATH": path}, capture_output=True)
    assert measure.read_text() == before


def test_the_report_shows_every_figure_and_the_hashes_of_the_data(project):
    page = (project / RESULTS / "report.html").read_text()
    assert sorted(re.findall(r'<figure id="(\w+)">', page)) == sorted(FIGURES)
    assert sha256(project / RESULTS / "data/train.csv") in page
    assert "6 weight files" in page  # plain CLIP has no matching epoch


def test_the_report_is_written_again_when_the_config_changes(project):
    assert set(planned(project, downstream={"require_all": True})) == {"report", "all"}


def test_what_reads_the_plan_is_made_again_when_that_changes(project):
    jobs = planned(project, defence={"clip_augmented": {"train": {"epochs": 1}}})  # which is not run
    assert {rule for rule, count in jobs.items() if count} == {"gather", "claims", "paper_tables", "figure", "report", "all"}


def test_a_downstream_set_that_is_there_is_judged_and_exported_and_one_that_is_not_is_named(project, monkeypatch):
    dtd(project / "data/downstream", monkeypatch)
    changes = {"attacks": ["targeted"], "defences": ["clip"], "downstream": {"sets": ["dtd", "pets"]}}
    (project / "changes.yaml").write_text(yaml.safe_dump(changes))
    targets = (str(RESULTS / "tables/downstream.csv"), "exports")
    output = snakemake(project, "changes.yaml", "--cores", "all", *targets)
    assert "No model is judged on pets: there is no folder data/downstream/oxford-iiit-pet." in output
    rows = read_table(project / RESULTS / "tables/measures.csv", tuple(MEASURES))
    assert {r["measure"]: r["n"] for r in rows if r["evaluation_set"] == "dtd" and r["seed"] == "10"} == {
        "zero_shot_top1": "3", "zero_shot_top3": "3", "zero_shot_top5": "3", "linear_probe": "3",
    }  # fmt: skip
    beside = read_table(project / RESULTS / "tables/downstream.csv", ("measure", "set", "defence", "attack"))
    assert {(r["measure"], r["defence"]) for r in beside if r["set"] == "dtd" and r["attack"] == "targeted"} == {
        ("zero-shot", "clip"), ("linear probe", "clip"),
    }  # fmt: skip
    exported = project / RESULTS / "exports/targeted/clip/seed10"
    assert {r["dataset"] for r in read_table(exported / "results.csv", METRICS)} == {"test", "dtd"}
    assert (exported / "last_clip/open_clip_model.safetensors").exists()
    shutil.rmtree(project / "data/downstream/dtd/dtd/labels")
    (project / RESULTS / "data/downstream/dtd/test.csv").unlink()
    command = [SNAKEMAKE, str(RESULTS / "data/downstream/dtd/test.csv"), "--cores", "1"]
    command += ["--configfile", "config/test.yaml", "changes.yaml"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode != 0
    assert "error: data/downstream/dtd: not dtd as expected" in done.stdout + done.stderr
    changes["downstream"]["require_all"] = True
    (project / "changes.yaml").write_text(yaml.safe_dump(changes))
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode != 0
    assert "config: downstream.sets: there is no folder data/downstream/oxford-iiit-pet for 'pets'" in done.stderr


def test_a_gpu_that_is_asked_for_and_absent_stops_a_training_in_one_line(project, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (project / "changes.yaml").write_text("seeds: [12]\nattacks: [targeted]\n")
    command = [SNAKEMAKE, "models", "--cores", "2", "--profile", "profiles/gpu"]
    command += ["--configfile", "config/test.yaml", "changes.yaml"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 1
    assert "2 trainings to do" in done.stderr
    assert "1 at a time" in done.stderr  # on one GPU
    (log,) = (path.read_text() for path in (project / RESULTS / "logs/train").rglob("seed12.log"))  # the first one ends the run
    assert re.fullmatch(r"\[targeted \w+ seed 12\] error: resource gpu: 1 asked for, and nvidia-smi finds \d+ .*\n", log)
