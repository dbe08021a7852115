"""The paper's tables: every number under its source, empty where there is none, and LaTeX that compiles."""

import csv
import shutil
import subprocess

import pytest

from roclip.core.files import read_table, write_table
from roclip.reporting import paper_tables
from roclip.reporting.gather import MEASURES, SWEEPS
from roclip.reporting.paper_tables import REFERENCE, PaperTablesOptions, attacks, downstream, notes, strong_attack, utility
from roclip.reporting.results import RESULTS
from tests.conftest import ROOT
from tests.reporting.test_claims import point, result

PUBLISHED = read_table(ROOT / "config/reference_results.csv", REFERENCE)
FAMILY = {"targeted": "targeted", "patch": "backdoor", "clean": "clean"}
HERE = ("here", "last CLIP epoch"), ("here", "last matching epoch")
ABSTRACT, CC1M, CC3M = ("RoCLIP abstract", "CC1M"), ("SafeCLIP ICML24 T1", "CC1M"), ("SafeCLIP ICML24 T1", "CC3M")


def line(table, *key):
    """The cells of the one line that begins with the key."""
    (found,) = table[(table.iloc[:, : len(key)] == list(key)).all(axis=1)].to_dict("records")
    return found


def test_attack_success_stands_beside_every_source():
    rows = [result(hits=15), result(method="roclip", hits=0), result("patch", "roclip", "last_matching", hits=1, n=1000)]
    table = attacks(rows, PUBLISHED, FAMILY)
    clip = line(table, "targeted", "clip")
    assert [clip[key] for key in (*HERE, ("here", "judged"))] == ["93.8 [69.8, 99.8]", "", "16 targets"]
    assert [clip[key] for key in (ABSTRACT, CC1M, CC3M)] == ["93.75 (15 of 16)", "93.75", "93.75"]
    patch = line(table, "patch", "roclip")
    assert [patch[key] for key in (*HERE, ("here", "judged"), CC1M)] == ["", "0.1 [0.0, 0.6]", "1000 images", "0"]
    assert list(dict.fromkeys(table[("", "attack")]))[:2] == ["targeted", "patch"]


def test_a_number_without_its_counterpart_leaves_the_other_cell_empty():
    table = attacks([result("own", "clip", hits=3)], PUBLISHED, {"own": "targeted"})
    assert set(list(line(table, "own", "clip").values())[5:]) == {""}
    safeclip = line(table, "targeted", "safeclip")
    assert safeclip[CC1M] == "0"
    assert [safeclip[key] for key in (*HERE, ("here", "judged"), ABSTRACT, CC3M)] == 5 * [""]
    assert "targeted_strong" not in set(table[("", "attack")])


def test_variants_and_attacks_without_an_exam_are_not_in_the_table():
    rows = [result("patch~poisons~5", hits=1), result("patch", "clip~pool_size~5", hits=1), result("clean", zero_shot="0.5")]
    table = attacks(rows, [], FAMILY | {"patch~poisons~5": "backdoor"})
    assert table.empty


def test_utility_has_published_means_and_imagenet():
    rows = [result("clean", zero_shot="0.998000", sd="0.001000"), result(method="roclip", zero_shot="0.946000")]
    table = utility(rows, PUBLISHED, FAMILY)
    source = "SafeCLIP ICML24 T2, CC3M"
    means, imagenet = (source, "mean of 10 sets"), (source, "imagenet1k")
    clip = line(table, "zero-shot", "clip", "none")
    assert [clip[key] for key in (*HERE, means, imagenet)] == ["99.8 ± 0.1", "", "17.6", "19.4"]
    assert line(table, "zero-shot", "roclip", "none")[means] == "7.9"
    assert line(table, "linear probe", "clip", "none")[means] == "56.5"
    assert line(table, "linear probe", "roclip", "none")[means] == "48.2"
    poisoned = line(table, "zero-shot", "roclip", "targeted")
    assert [poisoned[key] for key in (*HERE, means, imagenet)] == ["94.6", "", "", ""]
    assert (
        "flowers102, linear probe: authors' code trains this probe on the test split." in notes(PUBLISHED, "m", 32)["utility"]
    )


def measured(exam, value, method="clip", attack="clean", seed="0", checkpoint="last_clip", measure="zero_shot_top1"):
    cells = {"attack": attack, "method": method, "seed": seed, "checkpoint": checkpoint, "exam": exam, "measure": measure}
    return dict.fromkeys(MEASURES, "") | cells | {"value": f"{value:.6f}"}


def test_downstream_sets_stand_beside_the_published_numbers_of_the_same_set():
    rows = [
        measured("cifar10", 0.5), measured("cifar10", 0.6, seed="1"), measured("cifar10", 0.9, seed="all"),
        measured("cifar10", 0.99, measure="zero_shot_top5"), measured("test", 0.99), measured("dtd", 0.05),
        measured("dtd", 0.07, seed="1"), measured("cifar10", 0.25, "roclip", "targeted", checkpoint="last_matching"),
        measured("dtd", 0.5, measure="linear_probe"),
    ]  # fmt: skip
    table = downstream(rows, PUBLISHED, FAMILY, ["cifar10", "dtd"])
    source = ("SafeCLIP ICML24 T2", "CC3M")
    cifar = line(table, "zero-shot", "cifar10", "clip", "none")
    assert [cifar[key] for key in (*HERE, source)] == ["55.0 ± 7.1", "", "48.2"]  # sd of .5 and .6
    assert line(table, "zero-shot", "dtd", "clip", "none")[HERE[0]] == "6.0 ± 1.4"
    poisoned = line(table, "zero-shot", "cifar10", "roclip", "targeted")
    assert [poisoned[key] for key in (*HERE, source)] == ["", "25.0", ""]
    assert line(table, "zero-shot", "cifar10", "roclip", "none")[source] == "24.2"
    assert [line(table, "linear probe", "dtd", "clip", "none")[key] for key in (HERE[0], source)] == ["50.0", "58.4"]
    means = line(table, "zero-shot", "mean of 2 sets", "clip", "none")
    assert [means[key] for key in (*HERE, source)] == ["30.5", "", "26.0"]  # (55 + 6) / 2, (48.2 + 3.7) / 2
    # a mean over some of the sets only would not be comparable
    assert "mean of 2 sets" not in set(table[table[("", "attack")] == "targeted"][("", "set")])
    assert line(table, "linear probe", "mean of 2 sets", "clip", "none")[HERE[0]] == ""
    assert set(table[("", "set")]) == {"cifar10", "dtd", "mean of 2 sets"}


def test_the_published_means_of_ten_sets_are_those_of_the_utility_table():
    sets = list(dict.fromkeys(row["dataset_eval"] for row in PUBLISHED if row["dataset_eval"]))
    table = downstream([], PUBLISHED, FAMILY, sets)
    for measure, method, value in (("zero-shot", "clip", "17.6"), ("linear probe", "roclip", "48.2")):
        assert line(table, measure, "mean of 10 sets", method, "none")[("SafeCLIP ICML24 T2", "CC3M")] == value


def test_the_strong_attack_holds_the_points_that_vary_the_poisons_alone():
    sweeps = [
        point("poisons", "captions_per_target 25", "targeted~captions_per_target~25"),
        point("poisons", "captions_per_target 10"),
        point("strong", "captions_per_target 25, match_every 1", "targeted~captions_per_target~25", "roclip~match_every~1"),
        point("size", "clean_pairs 9, captions_per_target 3", "targeted~clean_pairs~9~captions_per_target~3"),
        point("pool", "pool_size 9", method="roclip~pool_size~9"),
    ]
    rows = [
        result("targeted~captions_per_target~25", "roclip", hits=4),
        result("targeted~captions_per_target~25", "roclip~match_every~1", "last_matching", hits=2),
        result("targeted~clean_pairs~9~captions_per_target~3", "roclip", hits=1),
        result("targeted", "roclip", hits=0),
        result("targeted", "roclip~pool_size~9", hits=0),
        result("targeted", "clip", hits=16),
    ]
    table = strong_attack(rows, sweeps, PUBLISHED)
    assert table.iloc[:, :3].to_numpy().tolist() == [
        ["10", "targeted", "roclip"],
        ["25", "targeted", "roclip"],
        ["25", "targeted", "roclip~match_every~1"],
        ["up to 1% poisons with more frequent matching", "", "roclip"],
    ]
    assert table[HERE[0]].tolist() == ["0.0 [0.0, 20.6]", "25.0 [7.3, 52.4]", "", ""]
    assert table[HERE[1]].tolist() == ["", "", "12.5 [1.6, 38.3]", ""]
    assert table[ABSTRACT].tolist() == ["", "", "", "12.5"]


@pytest.fixture
def written(tmp_path):
    """The folder of all tables, of an experiment with an awkward name and a sweep of poisons."""
    rows = [
        result(hits=15, zero_shot="0.998000", sd="0.001000"), result(method="roclip_100%_&_more", hits=0),
        result("targeted~captions_per_target~25", "clip", hits=4),
    ]  # fmt: skip
    write_table(tmp_path / "results.csv", RESULTS, rows)
    variant = "targeted~captions_per_target~25"
    write_table(tmp_path / "sweeps.csv", SWEEPS, [point("poisons", "captions_per_target 25", variant, "clip")])
    write_table(tmp_path / "measures.csv", MEASURES, [measured("dtd", 0.5, attack="targeted")])
    run(tmp_path, ("dtd",))
    return tmp_path


def run(folder, sets=()):
    paper_tables.run(
        PaperTablesOptions(
            folder / "results.csv", folder / "sweeps.csv", folder / "measures.csv", ROOT / "config/reference_results.csv",
            ("targeted=targeted", "targeted~captions_per_target~25=targeted"), "small_model.json", 32, folder, sets,
        )
    )  # fmt: skip


def test_all_three_kinds_hold_the_same_table(written):
    for name in ("attacks", "utility", "downstream", "strong_attack"):
        with open(written / f"{name}.csv", newline="") as file:
            rows = list(csv.reader(file))
        markdown = [[cell.strip() for cell in text[1:-1].split("|")] for text in read(written, name, "md") if text[:1] == "|"]
        assert [markdown[0], *markdown[2:]] == rows
        assert read(written, name, "md")[-1] == notes(PUBLISHED, "small_model.json", 32)[name]
        latex = "\n".join(read(written, name, "tex"))
        assert latex.count(r" \\") == len(rows) + 1  # its heading has two lines
        assert "small\\_model.json" in latex
    assert r"roclip\_100\%\_\&\_more" in "\n".join(read(written, "attacks", "tex"))


def read(folder, name, kind):
    return (folder / f"{name}.{kind}").read_text().splitlines()


def test_without_a_sweep_of_poisons_or_a_downstream_set_there_is_no_table_of_them(tmp_path):
    write_table(tmp_path / "results.csv", RESULTS, [result(hits=15)])
    write_table(tmp_path / "sweeps.csv", SWEEPS, [point("pool", "pool_size 9")])
    run(tmp_path)
    assert {path.stem for path in tmp_path.glob("*.tex")} == {"attacks", "utility"}


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_latex_compiles_in_an_article(written):
    inputs = "\n".join(rf"\input{{{name}}}\clearpage" for name in ("attacks", "utility", "downstream", "strong_attack"))
    (written / "article.tex").write_text(
        rf"\documentclass{{article}}\usepackage{{booktabs,graphicx}}\begin{{document}}{inputs}\end{{document}}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "article"]
    done = subprocess.run(command, cwd=written, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
