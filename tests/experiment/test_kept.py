"""Results that a run keeps are those that its config asks for, whatever Snakemake knows of them."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from roclip.core.errors import UserError
from roclip.core.files import sha256
from roclip.core.provenance import write_record
from roclip.experiment import kept
from roclip.experiment.kept import check_kept

OPTIONS = {
    "kind": "roclip", "learning_rate": 0.0005, "augment_images": True, "beta1": 1.0, "roots": ["results", "data"], "kept": None,
    "model": "models/small.json", "out": "results/x/models/a/roclip/seed1", "tables": [],
}  # fmt: skip
FLAGS = (
    "--kind roclip --learning_rate 0.0005 --augment_images true --beta1 1 --roots results data --model ./models//small.json "
    "--out results/x/models/a/roclip/seed1 --threads 7"
)
WRAPPED = (
    "\n trap : TERM # a training saves, it's said\n roclip logged --label 'a roclip seed 1' logs/roclip roclip gpus 0 {} {}\n"
)


@pytest.fixture
def made(tmp_path, monkeypatch) -> Path:
    """A model that was trained on a list of the user's, and its record."""
    monkeypatch.chdir(tmp_path)
    kept._digest.cache_clear()
    Path("classes.txt").write_text("cat\ndog\n")
    folder = Path("results/x/models/a/roclip/seed1")
    folder.mkdir(parents=True)
    (folder / "history.csv").write_text("epoch\n")
    record = {"stage": "train", "commit": "1", "versions": {}, "options": OPTIONS}
    record |= {"inputs": {"../../../../../../classes.txt": sha256(Path("classes.txt"))}}
    record |= {"outputs": {"history.csv": sha256(folder / "history.csv")}}
    write_record(folder / "train.record.json", record)
    return folder / "history.csv"


def job(written: Path, flags: str = FLAGS, run: str = "roclip train", again: bool = False) -> SimpleNamespace:
    command = WRAPPED.format(run, flags)
    return SimpleNamespace(shellcmd=command, output=[str(written)], input=["classes.txt"], again=again)


def check(*jobs: SimpleNamespace) -> None:
    check_kept(SimpleNamespace(jobs=jobs, needrun=lambda job: job.again))


@pytest.mark.parametrize("run", ["roclip train", "torchrun --standalone --nproc_per_node 2 -m roclip_command train"])
def test_what_was_made_so_is_kept(made, run):
    others = (SimpleNamespace(shellcmd=command, output=[str(made)], input=[], again=False) for command in (None, "cp a b"))
    check(job(made, run=run), *others)


CHANGES = {
    "a number": ("--learning_rate 0.0005", "--learning_rate 0.01", "made with learning_rate 0.0005, and this run has 0.01"),
    "a word": ("--kind roclip", "--kind=clip", "made with kind roclip, and this run has clip"),
    "a truth": ("--augment_images true", "--augment_images false", "made with augment_images true, and this run has false"),
    "a list": ("--roots results data", "--roots data", "made with roots results data, and this run has data"),
    "what there was none of": ("--threads 7", "--kept k.csv", "made with kept none, and this run has k.csv"),
    "a model of another folder": (
        "--out results/x/models/a/roclip/seed1", "--out results/x/models/a/clip/seed1", "made with out .*/roclip/seed1, and",
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_made_otherwise_is_one_line(made, change):
    before, after, said = CHANGES[change]
    assert before in FLAGS
    with pytest.raises(UserError, match=rf"^{re.escape(str(made))}: {said}.*; remove it, and it is made again") as error:
        check(job(made, FLAGS.replace(before, after)))
    assert "\n" not in str(error.value)


def test_what_is_made_again_is_not_looked_at(made):
    check(job(made, FLAGS.replace("0.0005", "0.01"), again=True))


def test_an_older_list_in_place_of_the_one_that_was_read_is_one_line(made):
    Path("classes.txt").write_text("cat\n")
    with pytest.raises(UserError, match=r"history\.csv: made with another classes\.txt than the one that is there now; remove"):
        check(job(made))


def test_files_of_another_stage_are_one_line(made):
    with pytest.raises(UserError, match=r"history\.csv: is of the stage train, and not of repair; remove it"):
        check(job(made, run="roclip repair"))


def test_a_record_of_very_many_images_is_not_read(made, monkeypatch):
    monkeypatch.setattr(kept, "LARGE", 100)
    check(job(made, FLAGS.replace("0.0005", "0.01")))


def test_it_is_said_how_many_there_are(made):
    other = made.with_name("seed2") / "history.csv"
    other.parent.mkdir()
    for name in ("history.csv", "train.record.json"):
        (other.parent / name).write_bytes((made.parent / name).read_bytes())
    with pytest.raises(UserError, match=r"0\.01 \(the first of 2 such files\); remove it"):
        check(*(job(path, FLAGS.replace("0.0005", "0.01")) for path in (made, other)))
