"""The command on a data set of a user, written as README has it: what is wrong with it is found, and said once."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from attacks import check_data
from attacks.findings import FAULT, FINE
from roclip.core.columns import CHECK, CLASS_MENTIONS, COPIES, VERDICTS
from roclip.core.errors import UserError
from roclip.core.files import read_table, write_table
from tests.conftest import ROOT
from tests.fixtures.pictures import copies_of, landscape, stored

NAMES = ("horse", "boat", "guitar")


@pytest.fixture
def mine(tmp_path):
    """90 training pairs and 6 images of each other split, of which one is a flipped training image and one is cut short."""
    rows = {split: [] for split in ("train", "validation", "test", "probe")}
    for number in range(108):
        split = "train" if number < 90 else ("validation", "test", "probe")[number % 3]
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(copies_of(landscape(5))["flipped"] if number == 91 else stored(landscape(number)))
        text = "label" if split in ("test", "probe") else "caption"
        name = NAMES[number % 3] if text == "label" else f"A {NAMES[number % 3]} in place number {number}"
        rows[split].append({"path": str(path), text: name})
    (tmp_path / "7.jpg").write_bytes(stored(landscape(7))[:1500])
    for split, listed in rows.items():
        write_table(tmp_path / f"{split}.csv", tuple(listed[0]), listed)
    (tmp_path / "classes.txt").write_text("\n".join([*NAMES, "zebra"]))
    config = {
        "experiment": "mine", "attacks": ["patch", "targeted"], "defences": ["clip"], "seeds": [0],
        "attack": {"patch": {"poisons": 12, "target_class": "boat"}, "targeted": {"targets": 2, "captions_per_target": 3}},
        "data": {
            "tables": {split: f"{tmp_path}/{split}.csv" for split in rows}, "classes": f"{tmp_path}/classes.txt",
            "roots": [str(tmp_path)],
        },
        "train": {"epochs": 2, "batch_size": 32, "warmup_steps": 1},
    }  # fmt: skip
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


@pytest.mark.parametrize(
    ("split", "column", "said"),
    [
        ("train", "caption", r"data: no pairs in .*train\.csv"),
        ("test", "label", r"test\.csv: no rows; the split 'test' needs some"),
    ],
)
def test_a_table_without_rows_is_named(mine, monkeypatch, split, column, said):
    (mine / f"{split}.csv").write_text(f"path,{column}\n")
    monkeypatch.chdir(mine)
    with pytest.raises(UserError, match=said):
        check_data.main(["--configfile", "mine.yaml"])


def test_images_that_are_broken_or_copies_are_found(mine, monkeypatch, capsys):
    monkeypatch.chdir(mine)
    assert check_data.main(["--configfile", "mine.yaml", "--images", "--threads", "2"]) == 1
    out = mine / "results/mine/data_check"
    copies = [(row["split"], row["path"], row["what"]) for row in read_table(out / "copies.csv", tuple(COPIES))]
    assert copies == [("train", f"{mine}/7.jpg", "broken"), ("test", f"{mine}/91.jpg", "copy")]
    assert read_table(out / "copies.csv", tuple(COPIES))[1]["of"] == f"{mine}/5.jpg"
    said = capsys.readouterr().out
    assert said.startswith("data: 90 captions in train, 6 captions in validation, 6 labels in test, 6 labels in probe\n")
    assert (
        f"fault: 1 of 6 images of the split test are copies of training images, such as {mine}/91.jpg of {mine}/5.jpg" in said
    )
    assert "fault: 1 of 90 images of the split train are missing or broken" in said
    assert "data:image/png;base64," in (out / "index.html").read_text()


def test_images_that_are_not_there_are_found_without_opening_any(mine, monkeypatch, capsys):
    monkeypatch.chdir(mine)
    for number in (11, 14):
        (mine / f"{number}.jpg").unlink()
    assert check_data.main(["--configfile", "mine.yaml"]) == 1
    said = capsys.readouterr().out
    assert f"fault: 2 of 90 images of the split train that were looked for are not there, such as {mine}/11.jpg." in said
    assert said.count("fault:") == 1


def test_captions_are_looked_at_without_opening_images(mine, monkeypatch):
    monkeypatch.chdir(mine)
    for path in mine.glob("*.jpg"):
        path.write_bytes(b"")
    assert check_data.main(["--configfile", "mine.yaml"]) == 0
    out = mine / "results/mine/data_check"
    assert {row["severity"] for row in read_table(out / "findings.csv", tuple(CHECK))} == {"fine"}
    counts = {
        row["class"]: (row["captions"], row["with_plural"]) for row in read_table(out / "classes.csv", tuple(CLASS_MENTIONS))
    }
    assert counts == dict.fromkeys(NAMES, ("30", "30")) | {"zebra": ("0", "0")}
    verdicts = {row["attack"]: (row["can_take"], row["change"]) for row in read_table(out / "attacks.csv", tuple(VERDICTS))}
    assert verdicts["patch"][0] == "yes"
    assert not (out / "copies.csv").exists()


def test_the_same_file_in_training_and_test_is_a_fault(mine, monkeypatch, capsys):
    monkeypatch.chdir(mine)
    write_table(mine / "test.csv", ("path", "label"), [{"path": f"{mine}/../{mine.name}/3.jpg", "label": "boat"}])
    assert check_data.main(["--configfile", "mine.yaml"]) == 1
    assert "fault: 1 of 1 images of the split test are trained on, such as" in capsys.readouterr().out


def command(folder: Path, file: str, **environment: str) -> subprocess.CompletedProcess:
    words = [sys.executable, "-P", "-m", "roclip_command", "check-data", "--configfile", file]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT), **environment})


def test_from_a_notebook_with_names_that_a_terminal_would_act_on_it_says_whole_lines(mine):
    odd = f"{mine}/\x1b[31m\rfault: forged.jpg"
    (mine / "\x1b[31m\rfault: forged.jpg").touch()
    for split in ("train", "test"):
        table = (mine / f"{split}.csv").read_text().replace(f"{mine}/{3 if split == 'train' else 91}.jpg", f'"{odd}"')
        (mine / f"{split}.csv").write_text(table)
    done = command(mine, "mine.yaml", MPLBACKEND="module://matplotlib_inline.backend_inline")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "fault: 1 of 6 images of the split test are trained on, such as" in done.stdout
    assert "/\\x1b[31m\\rfault: forged.jpg" in done.stdout
    assert done.stdout.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("mine.yaml", "experiment: mine\ndata: {tables: {train: absent.csv}}\n", "absent.csv: no such file or directory"),
        ("list.yaml", "[experiment, mine]\n", "list.yaml: holds no keys with values at its top level"),
        ("list.json", "[1]\n", "list.json: holds no keys with values at its top level"),
        ("tag.yaml", "a: !!python/name:os.system\n", "tag.yaml: not YAML that can be read: could not determine"),
        ("date.yaml", "a: 2026-13-01\n", "date.yaml: not YAML that can be read: month must be in 1..12"),
    ],
)
def test_a_mistake_is_one_line(mine, name, content, message):
    (mine / name).write_text(content)
    done = command(mine, name)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1


def test_images_under_another_spelling_or_by_a_link_are_trained_on_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "linked").symlink_to("images")
    train = [str(tmp_path / "images/a.jpg"), str(tmp_path / "images/b.jpg")]
    data = {
        "train": (train, ["a", "b"]),
        "test": (["images/./a.jpg", "images/c.jpg"], ["x", "x"]),
        "probe": (["linked/b.jpg", "linked/c.jpg"], ["x", "x"]),
    }
    found = {each.finding: each for each in check_data.overlaps(data)}
    assert {name: each.value for name, each in found.items()} == {"test_files": 1, "probe_files": 1, "test_in_probe": 1}
    shared = (
        "1 of 2 images of the split test are in the split probe too, such as images/c.jpg: the linear probe learns of them."
    )
    assert (found["test_in_probe"].meaning, found["test_in_probe"].severity) == (shared, FAULT)
    data["validation"] = (["images/d.jpg"], ["x"])
    assert [each.severity for each in check_data.overlaps(data) if each.finding == "test_in_validation"] == [FINE]


def test_no_thread_at_all_is_one_line(capsys):
    with pytest.raises(SystemExit) as ended:
        check_data.main(["--threads", "0"])
    assert ended.value.code == 2
    assert "argument --threads: 0 is less than 1" in capsys.readouterr().err
