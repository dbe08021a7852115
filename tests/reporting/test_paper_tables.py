"""The paper's tables: every number under its source, empty where there is none, and text that neither LaTeX nor HTML runs."""

import csv
import html
import shutil
import subprocess

import pytest

from roclip.core.columns import MEASURES, REFERENCE, RESULTS
from roclip.core.escapes import markdown
from roclip.core.files import read_table, write_table
from roclip.experiment.plan import write_plan
from roclip.reporting import paper_tables
from roclip.reporting.paper_tables import PaperTablesOptions, attacks, downstream, notes, strong_attack, utility
from roclip.reporting.planned import paper_tables as planned_tables
from roclip.reporting.results import pivot, written
from tests.conftest import ROOT
from tests.fixtures.plans import planned, point, runs_of
from tests.fixtures.results import result

PUBLISHED = read_table(ROOT / "config/reference_results.csv", tuple(REFERENCE))
HERE = ("here", "last CLIP epoch"), ("here", "last matching epoch")
ABSTRACT, CC1M, CC3M = ("RoCLIP abstract", "CC1M"), ("SafeCLIP ICML24 T1", "CC1M"), ("SafeCLIP ICML24 T1", "CC3M")
PLAN = planned([(attack, "clip", 0) for attack in ("targeted", "patch", "clean", "patch~poisons~5")])


def models(*of):
    """The rows of `pivot` of several models."""
    return pivot([row for rows in of for row in rows])


def line(table, *key):
    """The cells of the one line that begins with the key."""
    (found,) = table[(table.iloc[:, : len(key)] == list(key)).all(axis=1)].to_dict("records")
    return found


def test_attack_success_stands_beside_every_source():
    rows = models(result(hits=15), result(defence="roclip", hits=0), result("patch", "roclip", "last_matching", hits=1, n=1000))
    table = attacks(rows, PUBLISHED, PLAN)
    clip = line(table, "targeted", "clip")
    assert [clip[key] for key in (*HERE, ("here", "judged"))] == ["93.8 [69.8, 99.8]", "", "16 targets"]
    assert [clip[key] for key in (ABSTRACT, CC1M, CC3M)] == ["93.75 (15 of 16)", "93.75", "93.75"]
    patch = line(table, "patch", "roclip")
    assert [patch[key] for key in (*HERE, ("here", "judged"), CC1M)] == ["", "0.1 [0.0, 0.6]", "1000 images", "0"]
    assert list(dict.fromkeys(table[("", "attack")]))[:2] == ["targeted", "patch"]


def test_a_number_without_its_counterpart_leaves_the_other_cell_empty():
    mine = planned([("mine", "clip", 0)], family={"mine": "targeted"})
    table = attacks(models(result("mine", "clip", hits=3)), PUBLISHED, mine)
    assert set(list(line(table, "mine", "clip").values())[4:]) == {""}
    safeclip = line(table, "targeted", "safeclip")
    assert safeclip[CC1M] == "0"
    assert [safeclip[key] for key in (HERE[0], ("here", "judged"), ABSTRACT)] == 3 * [""]
    assert "targeted_strong" not in set(table[("", "attack")])


def test_two_attacks_that_add_nothing_have_a_line_each_and_one_called_none_its_own():
    family = {"clean_small": "clean", "clean": "clean", "none": "backdoor"}
    three = planned([(name, "clip", 0) for name in family], family=family)
    rows = models(*(result(name, zero_shot=share) for name, share in zip(family, (0.5, 0.9, 0.1), strict=True)))
    table = utility(rows, [], three)
    lines = {name: line(table, "zero-shot", "clip", name)[HERE[0]] for name in ("no attack", "clean", "none")}
    assert lines == {"no attack": "50.0", "clean": "90.0", "none": "10.0"}


def test_variants_and_attacks_without_an_evaluation_set_are_not_in_the_table():
    rows = models(
        result("patch~poisons~5", hits=1), result("patch", "clip~pool_size~5", hits=1), result("clean", zero_shot=0.5)
    )
    assert attacks(rows, [], PLAN).empty


def test_a_column_for_every_checkpoint_that_is_judged_whatever_it_is_called():
    rows = models(result(checkpoint="given", hits=3), result(checkpoint="last_repair", hits=3), result("patch", hits=1))
    columns = [name for group, name in attacks(rows, PUBLISHED, PLAN).columns if group == "here"]
    assert columns == ["given weights", "last repair epoch", "last CLIP epoch", "judged"]
    assert ("here", "last repair epoch") in downstream([measured("dtd", 0.5, checkpoint="last_repair")], [], SETS).columns


def test_utility_has_published_means_and_imagenet():
    rows = models(
        result("clean", zero_shot=0.998, sd=0.001), result(defence="roclip", zero_shot=0.946),
        result(checkpoint="last_matching", zero_shot=0.5),
    )  # fmt: skip
    table = utility(rows, PUBLISHED, PLAN)
    source = "SafeCLIP ICML24 T2, CC3M"
    means, imagenet = (source, "mean of 10 sets"), (source, "imagenet1k")
    clip = line(table, "zero-shot", "clip", "no attack")
    assert [clip[key] for key in (*HERE, means, imagenet)] == ["99.8 ± 0.1", "", "17.6", "19.4"]
    assert line(table, "zero-shot", "roclip", "no attack")[means] == "7.9"
    assert line(table, "zero-shot", "safeclip", "no attack")[means] == "18.6"
    assert line(table, "linear probe", "safeclip", "no attack")[means] == "57.0"
    assert line(table, "linear probe", "clip", "no attack")[means] == "56.5"
    assert line(table, "linear probe", "roclip", "no attack")[means] == "48.2"
    poisoned = line(table, "zero-shot", "roclip", "targeted")
    assert [poisoned[key] for key in (*HERE, means, imagenet)] == ["94.6", "", "", ""]
    assert "flowers102, linear probe: authors' code trains this probe on the test split." in notes(PUBLISHED, PLAN)["utility"]


SETS = planned([("clean", "clip", 0), ("targeted", "roclip", 0)], sets=["cifar10", "dtd"])


def measured(on, value, defence="clip", attack="clean", seed="0", checkpoint="last_clip", measure="zero_shot_top1"):
    """A row of measures.csv, of the evaluation set `on`."""
    model = {"attack": attack, "defence": defence, "seed": seed, "checkpoint": checkpoint}
    return dict.fromkeys(MEASURES, "") | model | {"evaluation_set": on, "measure": measure, "value": f"{value:.6f}"}


def test_downstream_sets_stand_beside_the_published_numbers_of_the_same_set():
    rows = [
        measured("cifar10", 0.5), measured("cifar10", 0.6, seed="1"), measured("cifar10", 0.9, seed="all"),
        measured("cifar10", 0.99, measure="zero_shot_top5"), measured("own", 0.99), measured("dtd", 0.05),
        measured("dtd", 0.07, seed="1"), measured("cifar10", 0.25, "roclip", "targeted", checkpoint="last_matching"),
        measured("dtd", 0.5, measure="linear_probe"),
    ]  # fmt: skip
    table = downstream(rows, PUBLISHED, SETS)
    source = ("SafeCLIP ICML24 T2", "CC3M")
    cifar = line(table, "zero-shot", "cifar10", "clip", "no attack")
    assert [cifar[key] for key in (*HERE, source)] == ["55.0 ± 7.1", "", "48.2"]  # sd of .5 and .6
    assert line(table, "zero-shot", "dtd", "clip", "no attack")[HERE[0]] == "6.0 ± 1.4"
    poisoned = line(table, "zero-shot", "cifar10", "roclip", "targeted")
    assert [poisoned[key] for key in (*HERE, source)] == ["", "25.0", ""]
    assert line(table, "zero-shot", "cifar10", "roclip", "no attack")[source] == "24.2"
    assert [line(table, "linear probe", "dtd", "clip", "no attack")[key] for key in (HERE[0], source)] == ["50.0", "58.4"]
    means = line(table, "zero-shot", "mean of 2 sets", "clip", "no attack")
    assert [means[key] for key in (*HERE, source)] == ["30.5", "", "26.0"]  # (55 + 6) / 2, (48.2 + 3.7) / 2
    # a mean over some of the sets only would not be comparable
    assert "mean of 2 sets" not in set(table[table[("", "attack")] == "targeted"][("", "set")])
    assert line(table, "linear probe", "mean of 2 sets", "clip", "no attack")[HERE[0]] == ""
    assert set(table[("", "set")]) == {"cifar10", "dtd", "mean of 2 sets"}


def test_the_published_means_of_ten_sets_are_those_of_the_utility_table():
    sets = list(dict.fromkeys(row["dataset_eval"] for row in PUBLISHED if row["dataset_eval"]))
    table = downstream([], PUBLISHED, planned([], sets=sets))
    for measure, defence, value in (("zero-shot", "clip", "17.6"), ("linear probe", "roclip", "48.2")):
        assert line(table, measure, "mean of 10 sets", defence, "no attack")[("SafeCLIP ICML24 T2", "CC3M")] == value


STRONG = "targeted~captions_per_target~25"
SWEEPS = [
    ("poisons", point({"captions_per_target": 25}, STRONG)),
    ("poisons", point({"captions_per_target": 10})),
    ("strong", point({"captions_per_target": 25, "match_every": 1}, STRONG, "roclip~match_every~1")),
    ("size", point({"clean_pairs": 9, "captions_per_target": 3}, "targeted~clean_pairs~9~captions_per_target~3")),
    ("pool", point({"pool_size": 9}, defence="roclip~pool_size~9")),
    ("words", point({"captions_per_target": 25, "style": "own"}, "targeted~captions_per_target~25~style~own")),
    ("two", point({"captions_per_target": 10, "clean_pairs": 40000}, defence="other")),
    ("backdoor", point({"poisons": 5}, "patch~poisons~5", base_attack="patch")),
]
OPTIONS = {
    "targeted": {"kind": "targeted", "captions_per_target": 10, "clean_pairs": 40000, "style": "all"},
    "patch": {"kind": "patch", "poisons": 9},
}


def test_the_strong_attack_holds_the_points_that_vary_one_number_of_the_attack_alone():
    rows = models(
        result(STRONG, "roclip", hits=4),
        result(STRONG, "roclip~match_every~1", "last_matching", hits=2),
        result("targeted~clean_pairs~9~captions_per_target~3", "roclip", hits=1),
        result("targeted~captions_per_target~25~style~own", "roclip", hits=1),
        result("patch~poisons~5", "roclip", hits=3, n=100),
        result("targeted", "roclip", hits=0),
        result("targeted", "other", hits=0),
        result("targeted", "roclip~pool_size~9", hits=0),
        result("targeted", "clip", hits=16),
    )
    table = strong_attack(rows, PUBLISHED, planned(runs_of(rows), SWEEPS, attack=OPTIONS))
    assert table.iloc[:, :3].to_numpy().tolist() == [
        ["captions_per_target 10", "targeted", "roclip"],
        ["captions_per_target 25", "targeted", "roclip"],
        ["captions_per_target 25", "targeted", "roclip~match_every~1"],
        ["poisons 5", "patch", "roclip"],
        ["up to 1% poisons with more frequent matching", "targeted", "roclip"],
    ]
    assert table[HERE[0]].tolist() == ["0.0 [0.0, 20.6]", "25.0 [7.3, 52.4]", "", "3.0 [0.6, 8.5]", ""]
    assert table[HERE[1]].tolist() == ["", "", "12.5 [1.6, 38.3]", "", ""]
    assert table[("here", "judged")].tolist() == ["16 targets", "16 targets", "16 targets", "100 images", ""]
    assert table[ABSTRACT].tolist() == ["", "", "", "", "12.5"]


MODEL = r"models/\input{/etc/passwd}~^{}$x$_&%#<script>alert(1)</script>|`[a](javascript:b)"


def write(folder, rows, sweeps=(), sets=(), **plan):
    """Run the stage on the rows of such an experiment; its plan."""
    plan = planned(runs_of(rows), sweeps, sets=list(sets), attack=OPTIONS, **plan)
    write_plan(folder / "plan.json", plan)
    write_table(folder / "results.csv", tuple(RESULTS), written([row | {"learned": 1} for row in rows]))
    write_table(folder / "measures.csv", tuple(MEASURES), [measured("dtd", 0.5, attack="targeted")])
    files = (folder / name for name in ("plan.json", "results.csv", "measures.csv"))
    paper_tables.run(PaperTablesOptions(*files, ROOT / "config/reference_results.csv", folder))
    return plan


@pytest.fixture
def experiment(tmp_path):
    """The folder of all tables and the plan of an experiment with awkward names and a sweep of poisons."""
    rows = [
        *result(hits=15, zero_shot=0.998, sd=0.001), *result(defence="roclip_100%_&_more<b>", hits=0),
        *result(STRONG, "clip", hits=4),
    ]  # fmt: skip
    sweep = [("poisons", point({"captions_per_target": 25}, STRONG, "clip"))]
    return tmp_path, write(tmp_path, rows, sweep, ("dtd",), model=MODEL)


def test_all_three_kinds_hold_the_same_table(experiment):
    folder, plan = experiment
    assert planned_tables(plan) == ["attacks", "utility", "downstream", "strong_attack"]
    for name in planned_tables(plan):
        with open(folder / f"{name}.csv", newline="") as file:
            rows = list(csv.reader(file))
        lines = [text for text in read(folder, name, "md") if text[:1] == "|"]
        shown = [[html.unescape(cell.strip()) for cell in text[1:-1].split("|")] for text in lines]
        assert [shown[0], *shown[2:]] == rows
        assert html.unescape(read(folder, name, "md")[-1]) == notes(PUBLISHED, plan)[name]
        text = "\n".join(read(folder, name, "tex"))
        assert text.count(r" \\") == len(rows) + 1  # its heading has two lines
    assert r"roclip\_100\%\_\&\_more" in "\n".join(read(folder, "attacks", "tex"))


def test_a_path_of_a_model_is_text_in_latex_and_in_markdown(experiment):
    folder, plan = experiment
    for name in planned_tables(plan):
        text = "\n".join(read(folder, name, "tex"))
        assert (
            r"\textbackslash{}input\{/etc/passwd\}\textasciitilde{}\textasciicircum{}\{\}\$x\$\_\&\%\#\textless{}script" in text
        )
        assert r"\input" not in text
        text = "\n".join(read(folder, name, "md"))
        assert "<" not in text.replace("<sup>", "")
        assert "](" not in text


@pytest.mark.parametrize("text", [MODEL, "a\nb", "0.0 [0.0, 20.6]", "94.6 ± 0.3", "–", "R&D", "&lt;"])
def test_markdown_gives_back_what_it_was_given(text):
    assert html.unescape(markdown(text)) == text.replace("\n", "\\n")
    assert not set("<>|`") & set(markdown(text))


def read(folder, name, kind):
    return (folder / f"{name}.{kind}").read_text().splitlines()


def test_without_a_sweep_of_the_attack_or_a_downstream_set_there_is_no_table_of_them(tmp_path):
    plan = write(tmp_path, result(hits=15), [("pool", point({"pool_size": 9}, defence="roclip~pool_size~9"))])
    assert {path.stem for path in tmp_path.glob("*.tex")} == set(planned_tables(plan)) == {"attacks", "utility"}


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_latex_compiles_in_an_article(experiment):
    folder, plan = experiment
    inputs = "\n".join(rf"\input{{{name}}}\clearpage" for name in planned_tables(plan))
    (folder / "article.tex").write_text(
        rf"\documentclass{{article}}\usepackage{{booktabs,graphicx}}\begin{{document}}{inputs}\end{{document}}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "article"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
