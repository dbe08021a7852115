"""The report as a browser shows it, with the network cut off, and what stands in it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from roclip.core.errors import UserError
from roclip.core.files import write_json, write_table
from roclip.reporting.figures import figures_of
from roclip.reporting.machine import machine
from roclip.reporting.report import (
    DRAWN,
    STEPS,
    ReportOptions,
    first_sentence,
    kinds,
    paper_table,
    recipes,
    records,
    run,
    sources,
    stage_times,
)  # fmt: skip
from tests.fixtures.experiments import EVIL, made_up
from tests.fixtures.pages import TEMPLATE, Page, again, written

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
COPY = """<script>addEventListener("load", () => document.documentElement.setAttribute("data-loaded",
[...document.images].map(i => i.alt.split(":")[0] + "=" + i.naturalWidth).join(" ")))</script></body>"""


SWEEPS = {"sweeps": {"pool": {"attacks": ["targeted"], "defences": ["roclip"], "axes": {"pool_size": [200, 400]}}}}


@pytest.fixture(params=["default", "sweeps"])
def report(request, tmp_path) -> Path:
    written(tmp_path, **(SWEEPS if request.param == "sweeps" else {}))
    return tmp_path / "report.html"


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on the PATH, so the report is not opened in a browser")
def test_a_browser_without_network_shows_every_figure_and_reports_nothing(report, tmp_path):
    copy = report.with_name("copy.html")
    copy.write_text(report.read_text().replace("</body>", COPY))
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--log-level=0", "--dump-dom"]
    done = subprocess.run([*command, copy.as_uri()], capture_output=True, text=True, timeout=60)
    page = Page(done.stdout)
    loaded = dict(word.split("=") for word in page.all("html")[0]["data-loaded"].split())
    assert set(loaded) == {path.stem for path in (report.parent / "figures").glob("*.png")}
    assert min(map(int, loaded.values())) > 0
    assert "CONSOLE" not in done.stderr
    assert "<title>Defences against" in done.stdout  # no script of the data ran


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs(report):
    page = Page(report.read_text())
    for name in ("src", "href", "srcset", "data", "action"):
        assert all(a[name].startswith("data:") for _, a in page.elements if name in a)
    assert not {tag for tag, _ in page.elements} & {"script", "iframe", "object", "embed"}
    assert not [a for _, a in page.elements for key in a if key.startswith("on")]
    assert not re.search(r"url\(|@import|https?://", re.sub(r"base64,[A-Za-z0-9+/=]+", "", report.read_text()))


def test_every_figure_has_a_caption_and_an_alternative_text(report):
    page = Page(report.read_text())
    figures = {path.stem for path in (report.parent / "figures").glob("*.png")}
    assert {a["id"] for a in page.all("figure")} == figures
    assert len(page.texts["figcaption"]) == len(figures) == len(page.all("img"))
    assert min(map(len, page.texts["figcaption"])) > 40
    assert all(a["alt"] for a in page.all("img"))
    assert {a["width"] for a in page.all("img")} <= {str(w) for w in range(20, 420)}  # 4 inches or less, and a margin


def test_what_comes_from_data_is_escaped(report):
    text = report.read_text()
    assert EVIL not in text
    page = Page(text)
    assert any(EVIL in item for item in page.texts["li"])
    assert any(f"data/{EVIL}.csv" in cell for cell in page.texts["td"])


def test_it_says_what_the_tables_say(report):
    page = Page(report.read_text())
    assert "93.8 [69.8, 99.8]" in page.texts["td"]
    assert "90.0" in page.texts["td"]
    assert "SafeCLIP, CC1M" in page.texts["th"]
    assert "93.75 (15 of 16)" in page.texts["td"]
    assert "A note &lt;under&gt; it." in report.read_text()  # escaped once, as text
    assert "500 pairs/s in clip epochs" in report.read_text()  # 15,000 pairs in 30 s
    assert "One seed (10)" in report.read_text()
    assert "<p>One seed: the numbers below are directions" in report.read_text().partition("</h1>")[2].partition("</p>")[0]
    assert "1 seed of 16 targets would show " in report.read_text()
    assert "one image more is 6.25 points" in report.read_text()
    assert not re.search(r"\bexam|\bmethod", report.read_text())


def test_every_claim_stands_in_its_section(tmp_path):
    page = written(tmp_path, **SWEEPS)
    headings = ["Did the attacks take?", "Do the defences defend?", "Success at equal accuracy", "Setting", "Attack success"]
    headings += ["Utility", "In training", "Defences against each other", "Sweeps", "Limits", "Provenance", "Credits"]
    assert page.texts["h2"] == headings
    shown = [text for text in page.texts["li"] if text.startswith("What ")]
    order = ("took", "not_learned", "best_control", "defence", "equal_accuracy", "controls", "published", "price", "others")
    assert shown == [f"What {about} shows. {EVIL}" for about in (*order, "sweep pool")]


def test_sections_with_nothing_to_show_are_left_out(tmp_path):
    plan = made_up(tmp_path, seeds=[10, 11])
    write_json(tmp_path / "tables/claims.json", [])
    text = " ".join(again(tmp_path).texts["h2"])
    assert "Sweeps" not in text
    assert "Defences against" not in text
    assert plan.seeds() == [10, 11]
    assert "2 seeds" in (tmp_path / "report.html").read_text()
    assert "one image more is 3.12 points" in (tmp_path / "report.html").read_text()


def test_every_figure_of_the_plan_is_shown_once_with_the_words_of_its_class(tmp_path):
    plan = made_up(tmp_path, **SWEEPS)
    page = again(tmp_path)
    assert sorted(a["id"] for a in page.all("figure")) == sorted(figures_of(plan))
    for name, figure in figures_of(plan).items():
        (shown,) = (a["alt"] for a in page.all("img") if a["alt"].startswith(f"{name}: "))
        assert shown.startswith(f"{name}: {first_sentence(figure)}")


ALL = {split: f"data/{split}.csv" for split in ("train", "validation", "test", "probe")}


@pytest.mark.parametrize(
    ("url_list", "tables", "found"),
    [
        (None, {}, {DRAWN: ["train", "validation", "test", "probe"]}),
        (None, ALL, {path: [split] for split, path in ALL.items()}),
        (None, {"train": "a", "validation": "b"}, {"a": ["train"], "b": ["validation"], DRAWN: ["test", "probe"]}),
        ("x.tsv", {"test": "t"}, {"x.tsv": ["train", "validation", "probe"], "t": ["test"]}),
        ({"train": "x", "probe": "p"}, {"validation": "v", "test": "t"},
         {"x": ["train"], "v": ["validation"], "t": ["test"], "p": ["probe"]}),
    ],
)  # fmt: skip
def test_scenes_are_only_where_neither_a_list_nor_a_table_is(url_list, tables, found):
    assert sources({"url_list": url_list, "tables": tables}) == found


def test_photographs_are_not_called_drawn_scenes(tmp_path):
    words = ("emoji", "OpenMoji", "Drawn scenes")
    text = " ".join(written(tmp_path).texts["li"]) + (tmp_path / "report.html").read_text()
    assert all(word in text for word in words)
    assert "CC BY-SA 4.0" in text
    config = (tmp_path / "config.yaml").read_text()
    listed = "".join(f"    {split}: {path}\n" for split, path in ALL.items())
    (tmp_path / "config.yaml").write_text(config.replace("  tables: {}\n", f"  tables:\n{listed}"))
    again(tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert not any(word in text for word in words)
    assert "train: <code>data/train.csv</code>" in text


def test_a_row_for_each_setting_of_a_recipe():
    first = {"train": {"kind": "clip", "start_from": None}}
    second = {
        "filter": {"kind": "cosine", "scored_by": {"kind": "clip", "epochs": 2}, "keep": 0.95},
        "train": {"kind": "clip", "start_from": "first", "extra": True}, "repair": {"kind": "finetune"},
    }  # fmt: skip
    assert recipes({"first": first, "second": second}) == [
        ["filter.kind", "–", "cosine"], ["filter.scored_by.kind", "–", "clip"], ["filter.scored_by.epochs", "–", "2"],
        ["filter.keep", "–", "0.95"], ["train.kind", "clip", "clip"], ["train.start_from", "none", "first"],
        ["train.extra", "–", "true"], ["repair.kind", "–", "finetune"],
    ]  # fmt: skip


def test_every_step_of_the_defences_is_explained(report):
    cells = Page(report.read_text()).texts["td"]
    assert {first_sentence(STEPS["train"][kind]) for kind in ("clip", "roclip")} <= set(cells)
    for step, registry in STEPS.items():
        for kind, defence in registry.items():
            assert (step, kind, first_sentence(defence)) in kinds({"x": {"train": {"kind": "clip"}, step: {"kind": kind}}})


def test_the_paper_is_cited_and_the_command_is_given(report):
    text = " ".join(report.read_text().split())
    for words in (
        "Robust Contrastive Language-Image Pretraining against Data Poisoning and Backdoor Attacks",
        "arXiv:2303.06854",
    ):
        assert words in text
    assert f"snakemake --cores all --configfile {report.parent}/config.yaml" in text


def test_sets_that_are_not_there_are_named_and_those_that_are_have_a_table(tmp_path):
    (tmp_path / "away/dtd").mkdir(parents=True)
    there = {"root": str(tmp_path / "away"), "sets": ["cifar10", "dtd"]}
    page = written(tmp_path, downstream=there, data={"roots": ["results", "data", str(tmp_path)]})
    assert [text for text in page.texts["li"] if "No model was judged" in text] == [
        f"No model was judged on cifar10: there was no folder {tmp_path}/away/cifar-10-batches-py."
    ]
    assert page.texts["th"].count("downstream") == 1


def test_seeds_of_a_sweep_are_named(tmp_path):
    written(tmp_path, sweeps={"halves": {"attacks": ["targeted"], "defences": ["clip", "roclip"], "seeds": [11, 12]}})
    text = " ".join((tmp_path / "report.html").read_text().split())
    assert "Seed 10; of the sweep halves 11, 12." in text
    assert "One seed (10): every number but those of the sweep halves is of one training" in text


def test_a_paper_table_without_rows_is_none(tmp_path):
    (tmp_path / "attacks.csv").write_text("attack,here\n")
    (tmp_path / "attacks.md").write_text("| attack | here |\n")
    assert paper_table(tmp_path, "attacks") is None


def test_times_are_of_what_the_plan_names_only(tmp_path):
    for name, seconds in (("scenes", 5), ("train/a/m/seed1", 100), ("train/a/m/seed2", 60), ("train/old/m/seed1", 999),
                          ("attack/a/seed1", 3), ("attack/old/seed1", 99), ("figure/utility", 2), ("encode/a/m/seed1/own", 7),
                          ("encode/a/old/seed1/own", 70), ("filter/a/f/seed1", 8)):  # fmt: skip
        memory = "NA" if name == "scenes" else 10 * seconds
        write_table(tmp_path / f"benchmarks/{name}.tsv", ("s", "max_rss"), [{"s": seconds, "max_rss": memory}])
    planned = {"a/m/seed1", "a/m/seed2", "a/f/seed1", "a/seed1"}
    found = {row.pop("stage"): row for row in stage_times(tmp_path, planned)}
    assert list(found) == ["train", "filter", "encode", "scenes", "attack", "figure"]
    assert found["train"] == {"jobs": 2, "seconds": 160, "longest": 100, "memory": 1000}
    assert found["encode"]["jobs"] == 1
    assert found["scenes"]["memory"] == 0


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"s\th:m:s\n", b"s\tmax_rss\n", b"\xff\0", b"s\tmax_rss\nx\ty\n", b"s\tmax_rss\n-1\n"]
)
def test_times_that_are_broken_are_left_out(tmp_path, content):
    made_up(tmp_path)
    write_table(tmp_path / "benchmarks/train/a/m/seed1.tsv", ("s", "max_rss"), [{"s": 7, "max_rss": 3}])
    usual = stage_times(tmp_path, {"a/m/seed1"})
    (tmp_path / "benchmarks/scenes.tsv").write_bytes(content)
    (pace,) = list(tmp_path.rglob("pace.csv"))[:1]
    pace.write_bytes(content)
    assert [row for row in stage_times(tmp_path, {"a/m/seed1"}) if row["stage"] != "scenes"] == usual
    run(ReportOptions(tmp_path, TEMPLATE, tmp_path / "report.html"))


def test_weights_that_say_nothing_of_themselves_are_named(tmp_path):
    path = tmp_path / "models/a/m/seed1/weights/last_clip.safetensors"
    path.parent.mkdir(parents=True)
    for content in (b"", b"garbage", b"\2\0\0\0\0\0\0\0{}", b'\x21\0\0\0\0\0\0\0{"__metadata__":{"record":"[1,2]"}}'):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"last_clip\.safetensors: not a checkpoint of roclip train"):
            records(tmp_path, ["a/m/seed1"])


def test_records_are_those_of_the_weights(tmp_path):
    torch = pytest.importorskip("torch")
    from roclip.model.towers import save as save_weights

    record = {"commit": "abc", "versions": {"torch": "9"}}
    save_weights(torch.nn.Linear(2, 2), tmp_path / "models/a/m/seed1/weights/last_clip.safetensors", record)
    save_weights(torch.nn.Linear(2, 2), tmp_path / "models/b/m/seed1/weights/last_clip.safetensors", {})  # not asked for
    assert records(tmp_path, ["a/m/seed1", "a/m/seed2"]) == [record]


def test_the_machine_is_named():
    assert all(machine().values())
    assert int(machine()["cores"]) >= 1


@pytest.mark.parametrize(
    "missing",
    ["config.yaml", "plan.json", "tables/claims.json", "tables/attacks.csv", "figures/attack_success.png", "template"],
)
def test_a_missing_file_is_one_line(tmp_path, missing):
    made_up(tmp_path)
    template = tmp_path / "none.html" if missing == "template" else TEMPLATE
    if missing != "template":
        (tmp_path / missing).unlink()
    with pytest.raises(UserError, match="no such file"):
        run(ReportOptions(tmp_path, template, tmp_path / "report.html"))
    assert not (tmp_path / "report.html").exists()
