"""What a config, a model or results of another version hold that is legal YAML, JSON or a name, and yet no experiment."""

import html
import json
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
import torch
import yaml

import roclip_command
from attacks import ATTACKS
from roclip.core.errors import UserError
from roclip.core.escapes import latex, markdown
from roclip.core.files import write_table
from roclip.data.settings import check_patterns
from roclip.experiment.config import check
from roclip.experiment.plan import read_plan, write_plan
from roclip.model import towers
from roclip.model.start_weights import read_weights
from roclip.reporting.leaderboard import main as leaderboard
from roclip.reporting.report import stage_times
from roclip.reporting.results import read_results
from tests.conftest import ROOT
from tests.fixtures.configs import changed
from tests.fixtures.experiment import made_up_plan

SMALL = json.loads((ROOT / "config/models/small.json").read_text())
VIT = {"embed_dim": 32, "vision_cfg": {"image_size": 32, "patch_size": 16, "layers": 1, "width": 32, "head_width": 16}}
VIT |= {"text_cfg": {"context_length": 16, "width": 32, "heads": 2, "layers": 1}}


@pytest.mark.parametrize(
    ("patterns", "said"),
    [
        (["a photo of {{object}}"], r"pattern 1: it holds a double brace"),
        (["a {object}}}"], r"pattern 1: "),
        (["a nice picture"], r"no pattern of .* holds \{object\} and not \{other\}; add one"),
        (["a {object} beside {other}"], r"no pattern of .* holds \{object\} and not \{other\}; add one"),
    ],
)
def test_sentence_patterns_of_which_no_caption_can_be_made(tmp_path, patterns, said):
    (tmp_path / "captions.txt").write_text("\n".join(patterns))
    with pytest.raises(UserError, match=rf"^data\.captions: .*{said}"):
        check_patterns(tmp_path / "captions.txt")
    with pytest.raises(UserError, match=rf"^data\.captions: .*{said}"):
        check(changed("data.captions", str(tmp_path / "captions.txt")), ATTACKS)


def model_of(whole: dict, part: str, **changes) -> dict:
    return {**whole, part: whole[part] | changes} if part else whole | changes


@pytest.mark.parametrize(
    ("whole", "part", "change", "said"),
    [
        (SMALL, "text_cfg", {"context_length": 1}, "all captions have the same features"),
        (SMALL, "text_cfg", {"pool_type": "eos", "eos_id": 5}, "all captions have the same features"),
        (SMALL, "text_cfg", {"vocab_size": 100}, "index out of range"),
        (SMALL, "text_cfg", {"norm_kwargs": {"eps": "x"}}, ""),
        (VIT, "vision_cfg", {"patch_size": 64}, ""),
        (VIT, "vision_cfg", {"output_tokens": True}, ""),
    ],
)  # fmt: skip
def test_a_model_that_cannot_encode_is_one_line_before_its_training(tmp_path, whole, part, change, said):
    (tmp_path / "model.json").write_text(json.dumps(model_of(whole, part, **change)))
    model = towers.create(towers.model_config(str(tmp_path / "model.json")))
    with pytest.raises(UserError, match=rf"^train\.model: the model of its config cannot encode images and captions: .*{said}"):
        towers.refuse_misfit(model)


@pytest.mark.parametrize("whole", [SMALL, VIT])
def test_a_look_at_a_model_leaves_it_as_it_is(tmp_path, whole):
    (tmp_path / "model.json").write_text(json.dumps(whole))
    model = towers.create(towers.model_config(str(tmp_path / "model.json"))).train()
    before, drawn = {name: tensor.clone() for name, tensor in model.state_dict().items()}, torch.get_rng_state()
    towers.refuse_misfit(model)
    assert model.training
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("", {"quick_gelu": "false"}, "'false' as quick_gelu, which is neither true nor false"),
        ("text_cfg", {"no_causal_mask": "false"}, "'false' as text_cfg.no_causal_mask"),
        ("vision_cfg", {"output_tokens": 1}, "'1' as vision_cfg.output_tokens"),
        ("vision_cfg", {"image_size": [32, 32]}, "an image_size that is no number|image_size that is no number of pixels"),
    ],
)  # fmt: skip
def test_what_is_no_switch_or_square_is_one_line(tmp_path, part, change, said):
    (tmp_path / "model.json").write_text(json.dumps(model_of(SMALL, part, **change)))
    with pytest.raises(UserError, match=rf"^train\.model: .*{said}"):
        towers.model_config(str(tmp_path / "model.json"))


def test_a_model_of_fewer_pixels_than_a_trigger_needs_is_refused_by_the_check(tmp_path):
    (tmp_path / "model.json").write_text(json.dumps(model_of(SMALL, "vision_cfg", image_size=4)))
    with pytest.raises(UserError, match=r"no number of pixels from 8 to 4096: 4$"):
        check(changed("train.model", str(tmp_path / "model.json")), ATTACKS)


def test_a_bit_that_flipped_in_weights_of_torch_is_found(tmp_path):
    model = towers.create(towers.model_config(str(ROOT / "config/models/small.json")))
    torch.save(model.state_dict(), tmp_path / "w.pt")
    with zipfile.ZipFile(tmp_path / "w.pt") as archive:
        place = max(archive.infolist(), key=lambda member: member.file_size).header_offset
    content = bytearray((tmp_path / "w.pt").read_bytes())
    content[place + 5000] ^= 0x40
    read_weights(tmp_path / "w.pt", model)
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"w\.pt: not a file of weights, or a broken one \(its part .* is damaged\)"):
        read_weights(tmp_path / "w.pt", model)


def test_hidden_files_are_no_checkpoints(tmp_path):
    for name in (".last_clip.123.part.safetensors", "._last_clip.safetensors", "last_clip.safetensors"):
        (tmp_path / name).touch()
    assert [path.name for path in towers.checkpoints_in(tmp_path)] == ["last_clip.safetensors"]


@pytest.mark.parametrize("name", ["state", "images", "download", "scenes"])
def test_half_files_are_removed_whatever_an_attack_is_called(tmp_path, name):
    half, kept = ".last_clip.123.part.safetensors", tmp_path / "models/patch/clip/seed10/state/.x.1.part.safetensors"
    places = [tmp_path / f"models/{name}/clip/seed10/weights", tmp_path / f"measures/patch/{name}/seed10/own"]
    for place in [*places, kept.parent]:
        place.mkdir(parents=True)
    for place in places:
        (place / half).touch()
    kept.touch()
    code = f"from pathlib import Path; from roclip.experiment.run_lock import claim; claim(Path({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert [path for place in places for path in place.iterdir()] == []
    assert kept.exists(), "a training cleans up there when it resumes"


def test_times_of_attacks_and_defences_that_are_called_as_seeds_are(tmp_path):
    planned = {"targeted/clip/seed10", "targeted/seed1/seed10", "seed3/clip/seed10"}
    for place in [*planned, "targeted/gone/seed10"]:
        path = tmp_path / f"benchmarks/train/{place}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("s\tmax_rss\n100\t5\n")
    (found,) = stage_times(tmp_path, planned)
    assert (found["jobs"], found["seconds"]) == (3, 300)


@pytest.mark.parametrize("cell", ["false", "False", "0.0", "00", "no", ""])
def test_learned_is_0_or_1(tmp_path, cell):
    row = {
        "attack": "a",
        "defence": "clip",
        "checkpoint": "last_clip",
        "measure": "zero_shot",
        "value": 0.5,
        "low": "",
        "high": "",
    }
    row |= {"sd": "", "n": 5, "seeds": 1, "learned": cell}
    write_table(tmp_path / "results.csv", tuple(row), [row])
    with pytest.raises(UserError, match=r"results\.csv, row 1: learned is '.*' and neither 0 nor 1"):
        read_results(tmp_path / "results.csv")


def plan_with(tmp_path, **changes):
    write_plan(tmp_path / "plan.json", made_up_plan({"clip": "clip"}))
    written = json.loads((tmp_path / "plan.json").read_text())
    step = written["models"]["clip"]
    written |= {"models": {"clip": step | changes.pop("step", {})}} | changes
    (tmp_path / "plan.json").write_text(json.dumps(written))
    return tmp_path / "plan.json"


@pytest.mark.parametrize(
    "changes", [{"experiment": "another"}, {"runs": [["targeted", "gone", 1]]}, {"step": {"settings": True}}]
)
def test_a_plan_that_was_changed_by_hand_is_one_line(tmp_path, changes):
    with pytest.raises(UserError, match=r"plan\.json: not a plan of this version, or changed by hand; remove it"):
        read_plan(plan_with(tmp_path, **changes))


def test_a_plan_with_other_blanks_is_read(tmp_path):
    path = plan_with(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()), indent=8))
    assert read_plan(path) == made_up_plan({"clip": "clip"})


def test_a_folder_of_the_leaderboard_that_is_none_is_one_line(tmp_path, capsys):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file/x", tmp_path / ("x" * 300)):
        with pytest.raises(SystemExit) as ended:
            roclip_command.main(["leaderboard", "--folder", str(folder)])
        assert str(ended.value.code).startswith("error: ")
    for words, said in ((["--folder", ""], "--folder"), (["--dataset", ""], "--dataset"), (["--config", ""], "--config")):
        with pytest.raises(UserError, match=rf"^{said}: is empty"):
            leaderboard(words)


def test_without_docstrings_a_line_says_so():
    for command in (
        ["-OO", "-m", "roclip_command", "--help"],
        ["-OO", "-c", "import roclip_command as r; r.main(['leaderboard'])"],
    ):
        done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr.startswith("error: PYTHONOPTIMIZE is 2 or more")
        assert done.stderr.count("\n") == 1


def test_escapes_in_an_unknown_name_reach_no_terminal():
    done = subprocess.run([sys.executable, "-m", "roclip_command", "\x1b[31mred"], cwd=ROOT, capture_output=True, text=True)
    assert "\x1b" not in done.stderr
    assert r"\x1b[31mred" in done.stderr


def test_latex_finds_no_options_stars_or_dashes_in_a_text():
    assert latex("[see 3] *a --") == "{[}see 3{]} {*}a {-}{-}"


@pytest.mark.parametrize(
    "text", ["*x*", "~~x~~", "$x$", "https://h.example", "www.h.example", "@user", "\\|", "_x_", "[a](b)", "# a"]
)
def test_markdown_shows_a_text_as_it_is(text):
    shown = markdown(text)
    assert html.unescape(shown) == text
    assert not any(mark in shown for mark in ("*x", "~~", "$", "://", "www.", "@", "\\", " _", "_x_", "[", "|"))
    assert markdown("attack_success, a-b (c): 3 of 4") == "attack_success, a-b (c): 3 of 4"


@pytest.mark.parametrize("path", ["~/data", "~", "$HOME/x", "$NO_SUCH", "${HOME}/x"])
@pytest.mark.parametrize(
    "key",
    ["data.roots.1", "data.tables.train", "data.url_list", "data.classes", "downstream.root", "defence.clip.train.start_from"],
)
def test_a_path_that_only_a_shell_would_find_is_refused(key, path):
    config = changed("data.roots", ["data", path]) if key == "data.roots.1" else changed(key, path)
    said = f"{key}: {path!r} is not legal here (neither ~ nor $NAME is filled in); write the whole path"
    with pytest.raises(UserError, match=f"^{re.escape(said)}$"):
        check(config, ATTACKS)


@pytest.mark.parametrize("name", ["~anna", "~anna/x", "$kept/x", "$5", "a~/x", "a$HOME"])
def test_a_folder_may_have_a_name_that_means_something_to_a_shell(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "$kept/x").mkdir(parents=True)
    shutil.copytree(ROOT / "config", tmp_path / "config")
    check(changed("data.roots", ["results", name]), ATTACKS)


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("train", "", r"^train: is empty; take the line out, or give it a value$"),
        ("train.epochs", "1e3", r"^train\.epochs: '1e3' is a text to YAML; write 1000$"),
        ("seeds", "[1e1]", r"^seeds\.0: '1e1' is a text to YAML; write 10$"),
        ("train.learning_rate", "5e-4", r"write 5\.0e-4$"),
        (
            "train.learning_rate",
            "1e-400",
            r"^train\.learning_rate: '1e-400' is too small for a number, and would be 0; write a",
        ),
        ("seeds", "[10e-400]", r"^seeds\.0: '10e-400' is too small for a number"),
        ("seeds", "[0e5]", r"^seeds\.0: '0e5' is a text to YAML; write 0$"),
        ("experiment", "2026-01-01", r"^experiment: YAML reads '2026-01-01' as a date; put it in quotation marks$"),
    ],
)
def test_what_yaml_reads_otherwise_than_it_was_meant(key, text, said):
    with pytest.raises(UserError, match=said):
        check(changed(key, yaml.safe_load(text)), ATTACKS)
