"""What verify says of an experiment: nothing of one that is as it was written, and of each change exactly that."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from roclip.core.errors import UserError
from roclip.core.files import sha256
from roclip.core.options import flags
from roclip.core.provenance import SUFFIX, read_record
from roclip.core.verify import main
from tests.conftest import ROOT

pytestmark = pytest.mark.slow
MODEL = "targeted/roclip/seed10"
KINDS = {  # a file, and the stage that wrote it
    "image": ("data/images/train/00001/00001003.png", "download"),
    "scene": ("data/scenes/test/00000/00000007.png", "scenes"),
    "data": ("data/test.csv", "download"),
    "attack": ("attacks/patch/seed10/train.csv", "attack"),
    "truth": ("attacks/patch/seed10/truth.csv", "attack"),
    "triggered image": ("attacks/patch/seed10/targets/000003.png", "attack"),
    "manifest": ("attacks/patch/seed10/manifest.json", "attack"),
    "weights": (f"models/{MODEL}/weights/last_clip.safetensors", "train"),
    "history": (f"models/{MODEL}/history.csv", "train"),
    "features": (f"measures/{MODEL}/own/features/own.npz", "encode"),
    "measure": (f"measures/{MODEL}/own/zero_shot.json", "measure"),
    "table": ("tables/results.csv", "gather"),
    "paper's table": ("tables/attacks.tex", "paper_tables"),
    "claims": ("tables/claims.json", "claims"),
    "figure": ("figures/utility.pdf", "figure"),
}
RECORDS = f"data/scenes attacks/patch/seed10/attack models/{MODEL}/train measures/{MODEL}/own/zero_shot figures/utility".split()


@pytest.fixture(scope="module")
def results(finished, tmp_path_factory) -> Path:
    """An experiment with what it was made of, in another place than where it was made."""
    folder = tmp_path_factory.mktemp("moved")
    shutil.copytree(finished / "config", folder / "config")
    shutil.copytree(finished / "workflow", folder / "workflow")
    return shutil.copytree(finished / "results/test", folder / "results/test")


def verify(results: Path, capsys) -> tuple[int, list[str], str]:
    """Its exit status, the lines with paths from the folder of the results, and the summary."""
    read_record.cache_clear()
    status = main([str(results)])
    *lines, summary = capsys.readouterr().out.splitlines()
    return status, [line.replace(f"{results}/", "") for line in lines], summary


def flip(path: Path, place: float) -> None:
    """Change one bit of a byte, at a share of the file."""
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    path.write_bytes(content)


@pytest.fixture
def restored():
    """Call it with a file before that is changed: afterwards it is as it was."""
    contents = {}
    yield lambda path: contents.update({path: path.read_bytes()})
    for path, content in contents.items():
        path.write_bytes(content)


def test_an_experiment_is_as_it_was_written(results, capsys):
    status, lines, summary = verify(results, capsys)
    assert (status, lines) == (0, [])
    count, stages = (int(word) for word in summary.split() if word.isdigit())
    assert summary == f"{count} files of {stages} stages are as they were written"
    assert stages == len(list(results.rglob(f"*{SUFFIX}"))) > 30
    images = len(list(results.rglob("*.png")))
    assert images + 60 < count < images + 120


@pytest.mark.parametrize("chosen", [[kind] for kind in KINDS][:3] + [[*KINDS]], ids=lambda kinds: f"{len(kinds)} {kinds[0]}")
@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_flipped_bits_are_named_and_nothing_else(results, capsys, restored, chosen, place):
    for name, _ in map(KINDS.get, chosen):
        restored(results / name)
        flip(results / name, place)
    status, lines, summary = verify(results, capsys)
    expected = [f"{name}: changed after {stage} wrote it" for name, stage in map(KINDS.get, chosen)]
    assert (status, sorted(lines)) == (1, sorted(expected))
    assert summary.endswith(f"; {len(chosen)} lines above say what is not")


@pytest.mark.parametrize("place", [0, 0.3, 0.5, 0.99, 1])
def test_flipped_bits_of_records_are_named(results, capsys, restored, place):
    for name in RECORDS:
        restored(results / f"{name}{SUFFIX}")
        flip(results / f"{name}{SUFFIX}", place)
    status, lines, _ = verify(results, capsys)
    said = "this record was changed; what it says is not looked at"
    assert (status, sorted(lines)) == (1, sorted(f"{name}{SUFFIX}: {said}" for name in RECORDS))


@pytest.mark.parametrize(("name", "stage"), [KINDS["image"], KINDS["weights"], KINDS["figure"]])
def test_a_missing_file_and_one_too_many_are_named(results, capsys, restored, name, stage):
    restored(results / name)
    other = (results / name).with_name(f"other{Path(name).suffix}")
    (results / name).rename(other)
    status, lines, _ = verify(results, capsys)
    other.unlink()
    assert (status, sorted(lines)) == (
        1,
        sorted([f"{name}: missing; {stage} wrote it", f"{other.relative_to(results)}: no record knows it"]),
    )


def test_of_a_training_that_has_not_ended_one_line_says_so(results, capsys):
    state = results / "models/targeted/other/seed10/state"
    for name in ("lock", "0123456789ab/step000012.safetensors"):
        (state / name).parent.mkdir(parents=True, exist_ok=True)
        (state / name).touch()
    others = [
        results / f"{place}/{MODEL}/state" for place in ("measures", "models")
    ]  # nothing of the kind: of an attack `state`
    others[0].mkdir()
    others[0] = others[0] / "features.npz"
    for other in others:
        other.touch()
    status, lines, _ = verify(results, capsys)
    shutil.rmtree(state.parents[1])
    for other in others:
        other.unlink()
    others[0].parent.rmdir()
    said = "of a training that has not ended; the workflow goes on with it"
    unknown = [f"{other.relative_to(results)}: no record knows it" for other in others]
    assert (status, lines) == (1, [*unknown, f"{state.relative_to(results)}: {said}"])


def test_the_files_of_a_record_that_is_gone_are_named_and_what_read_them(results, capsys, restored):
    folder = f"measures/{MODEL}/own"
    record = results / f"{folder}/features/encode{SUFFIX}"
    restored(record)
    record.unlink()
    status, lines, _ = verify(results, capsys)
    assert status == 1
    names = [*(f"{name}.npz" for name in ("attack-patch", "attack-targeted", "own")), "quarantine.csv"]
    assert lines[: len(names)] == [f"{folder}/features/{name}: no record knows it" for name in names]
    read = f"measure read other files than are there now: {folder}/features/encode{SUFFIX} (missing)"
    own = [f"{folder}/{name}" for name in ("linear_probe", "zero_shot")]
    of_attacks = [f"measures/{MODEL}/attack-{name}/attack_success" for name in ("patch", "targeted")]
    assert lines[len(names) :] == [f"{place}{SUFFIX}: {read}" for place in (*of_attacks, *own)]


def test_a_parent_that_was_made_again_otherwise_is_named_by_its_children(results, capsys, restored):
    """The patch of another seed: the table of the attack is the same, its images are not."""
    attack = results / "attacks/patch/seed10"
    before = {path: path.read_bytes() for path in attack.rglob("*") if path.is_file()}
    options = read_record(attack / f"attack{SUFFIX}")["options"]
    root = results.parent.parent
    command = [sys.executable, "-m", "roclip_command", "attack", *shlex.split(flags(options | {"pattern": "per_image"}))]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert (attack / "train.csv").read_bytes() == before[attack / "train.csv"]
    status, lines, _ = verify(results, capsys)
    for path, content in before.items():
        path.write_bytes(content)
    assert status == 1
    read = "read other files than are there now: attacks/patch/seed10/attack.record.json"
    assert {line.partition(": ")[0] for line in lines if f": train {read}" in line} == {
        f"models/patch/{defence}/seed10/train.record.json" for defence in ("clip", "roclip")
    }
    assert all(line.endswith(read) for line in lines)


def test_a_stage_refuses_what_was_changed_after_it_was_written(results, restored):
    weights = results / KINDS["weights"][0]
    restored(weights)
    flip(weights, 0.7)
    folder = f"results/test/models/{MODEL}/weights"
    scenes = "--classes config/scenes/classes.txt --templates config/scenes/templates.txt"
    encode = f"encode --test own=results/test/data/test.csv {scenes} --roots results --max_bad_fraction 0 --precision auto"
    encode += " --out x"
    export = f"export --measures results/test/measures/{MODEL} --name {MODEL} --experiment test --sets own --out x"
    for arguments in (encode, export):
        command = [sys.executable, "-m", "roclip_command", *arguments.split(), "--weights", folder]
        done = subprocess.run(command, cwd=results.parent.parent, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
        assert done.returncode == 1, done.stderr
        assert done.stderr == (
            f"error: {folder}/last_clip.safetensors: changed after train wrote it, says results/test/models/{MODEL}/"
            "train.record.json; remove it and make it again, or remove that record to use it as it is\n"
        )


def test_a_folder_without_records_is_one_line(tmp_path):
    for arguments in ([str(tmp_path)], [str(tmp_path / "none")]):
        with pytest.raises(UserError, match="no records"):
            main(arguments)
    with pytest.raises(UserError, match="usage"):
        main([])


def test_all_defences_are_trained_on_the_same_poisons(finished):
    """There is one set of them, whose place names no defence."""
    results = finished / "results/test"
    for attack in ("targeted", "patch"):
        (table,) = (results / "attacks" / attack).rglob("train.csv")
        for defence in ("clip", "roclip"):
            inputs = read_record(results / f"models/{attack}/{defence}/seed10/train.record.json")["inputs"]
            assert inputs[f"../../../../{table.relative_to(results)}"] == sha256(table)
