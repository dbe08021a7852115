"""The report as a browser shows it, with the network cut off, and what stands in it."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import yaml

from roclip.core.errors import UserError
from roclip.core.files import write_json, write_table
from roclip.core.provenance import write_record
from roclip.experiment.plan import plan
from roclip.reporting.figures.style import save
from roclip.reporting.report import ReportOptions, gather, machine, paper_table, records, run, stage_times
from roclip.reporting.results import RESULTS
from roclip.training.schedule import PACE
from tests.conftest import ROOT
from tests.experiment.test_config import CONFIG, merge

TEMPLATE = ROOT / "workflow/report/report.html"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EVIL = "<script>document.title = 'pwned'</script>"
COPY = """<script>addEventListener("load", () => document.documentElement.setAttribute("data-loaded",
[...document.images].map(i => i.alt.split(":")[0] + "=" + i.naturalWidth).join(" ")))</script></body>"""


class Page(HTMLParser):
    """The elements of a page, as (tag, attributes), and the text of its captions and headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.texts: dict[str, list[str]] = {"figcaption": [], "h2": [], "td": [], "li": [], "th": []}
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag in self.texts:
            self.inside = tag
            self.texts[tag].append("")

    def handle_endtag(self, tag):
        self.inside = "" if tag == self.inside else self.inside

    def handle_data(self, data):
        if self.inside:
            self.texts[self.inside][-1] += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


def experiment(folder: Path, figures: list[str], **changes) -> ReportOptions:
    """The results of an experiment, made up: two attacks, CLIP and RoCLIP, and the given figures."""
    config = merge(yaml.safe_load(yaml.safe_dump(CONFIG)), changes)
    models = [(a, m, c) for a in config["attacks"] for m, c in (("clip", "last_clip"), ("roclip", "last_matching"))]
    write_table(
        folder / "tables/results.csv",
        RESULTS,
        [
            dict.fromkeys(RESULTS, "")
            | {"attack": a, "method": m, "checkpoint": c, "success": 0.9375, "success_low": 0.698, "success_high": 0.998}
            | {"zero_shot": 0.9, "zero_shot_sd": 0.01, "seeds": len(config["seeds"])}
            for a, m, c in models
        ],
    )
    pace = [
        {"epoch": n, "kind": "clip", "pairs_per_second": p, "seconds": s} for n, (p, s) in enumerate(((900, 10), (300, 20)))
    ]
    for model in plan(config).model_folders():
        write_table(folder / "models" / model / "pace.csv", PACE, pace)
    claims = [
        {"about": about, "text": f"What {about} shows. {EVIL}"}
        for about in ("defence", "controls", "price", "halves", *config["sweeps"])
    ]
    write_json(folder / "tables/claims.json", claims)
    (folder / "tables/attacks.csv").write_text('attack,"SafeCLIP, CC1M"\ntargeted,93.75 (15 of 16)\n')
    (folder / "tables/attacks.md").write_text("| attack | x |\n|---|---|\n| targeted | 93.75 |\n\nA note under it.\n")
    for attack in config["attacks"]:
        facts = {"kind": attack, "clean_pairs": 40000, "poisons": 160, "rate": 0.004, "exam_images": 16}
        record = {"commit": "c0ffee", "inputs": {f"data/{EVIL}.csv": "a" * 64}}
        for seed in config["seeds"]:
            write_json(folder / f"attacks/{attack}/seed{seed}/manifest.json", facts)
            write_record(folder / f"attacks/{attack}/seed{seed}/attacks.record.json", record)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    for name in figures:
        figure = plt.figure(figsize=(4, 2))
        save(figure, folder / "figures" / name)
    paths = tuple(folder / f"figures/{name}.png" for name in figures)
    return ReportOptions(folder, TEMPLATE, paths, folder / "report.html")


FIGURES = ["attack_success", "utility", "saw_tooth", "cosines", "telemetry", "contact_sheet"]
SWEEPS = {"sweeps": {"pool": {"attacks": ["targeted"], "methods": ["roclip"], "axes": {"pool_size": [200, 400]}}}}


@pytest.fixture(params=["default", "sweeps"])
def report(request, tmp_path) -> Path:
    changes = SWEEPS if request.param == "sweeps" else {}
    options = experiment(tmp_path, [*FIGURES, *(f"sweep_{name}" for name in changes.get("sweeps", ()))], **changes)
    run(options)
    return options.out


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
    assert "<title>RoCLIP against" in done.stdout  # no script of the data ran


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
    assert "90.0 ± 1.0" in page.texts["td"]
    assert "SafeCLIP, CC1M" in page.texts["th"]
    assert "93.75 (15 of 16)" in page.texts["td"]
    assert "A note under it." in report.read_text()
    assert "500 pairs/s in clip epochs" in report.read_text()  # 15,000 pairs in 30 s
    assert "One seed (10)" in report.read_text()
    assert "one image more is 6.25 points" in report.read_text()


def test_sections_with_nothing_to_show_are_left_out(tmp_path):
    options = experiment(tmp_path, ["attack_success"])
    write_json(tmp_path / "tables/claims.json", [])
    run(options)
    headings = Page(options.out.read_text()).texts["h2"]
    assert headings == ["Setting", "Attack success", "Limits", "Provenance"]
    full = experiment(tmp_path, FIGURES, seeds=[10, 11], **SWEEPS)
    run(full)
    page = Page(full.out.read_text())
    assert page.texts["h2"] == ["Setting", "Attack success", "Utility", "Why it works", "Ablations", "Limits", "Provenance"]
    assert "2 seeds" in full.out.read_text()
    assert "one image more is 3.12 points" in full.out.read_text()


def test_sets_that_are_not_there_are_named_and_those_that_are_have_a_table(tmp_path):
    options = experiment(tmp_path, ["attack_success"], downstream={"root": "away", "sets": ["cifar10", "dtd"]})
    write_json(tmp_path / "measures/targeted/clip/seed10/zero_shot_dtd.json", [])
    (tmp_path / "tables/utility.csv").write_text("measure,here\nzero-shot,9\n")
    (tmp_path / "tables/downstream.csv").write_text("set,here\ndtd,12.5\n")
    run(options)
    page = Page(options.out.read_text())
    assert [text for text in page.texts["li"] if "No model was judged" in text] == [
        "No model was judged on cifar10: there was no folder away/cifar-10-batches-py."
    ]
    assert page.texts["td"].count("12.5") == 1


def test_seeds_of_a_sweep_are_named(tmp_path):
    sweeps = {"sweeps": {"halves": {"attacks": ["targeted"], "methods": ["clip", "roclip"], "seeds": [11, 12]}}}
    options = experiment(tmp_path, ["attack_success"], **sweeps)
    run(options)
    text = " ".join(options.out.read_text().split())
    assert "Seed 10; of the sweep halves 11, 12." in text
    assert "One seed (10): every number but those of the sweep halves is of one training" in text


def test_a_paper_table_without_rows_is_none(tmp_path):
    (tmp_path / "attacks.csv").write_text("attack,here\n")
    assert paper_table(tmp_path, "attacks") is None
    assert paper_table(tmp_path, "strong_attack") is None


def test_times_are_of_the_planned_models_only(tmp_path):
    for name, seconds in (("scenes", 5), ("train/a/m/seed1", 100), ("train/a/m/seed2", 60), ("train/old/m/seed1", 999),
                          ("attack/a/seed1", 3), ("attack/old/seed1", 99), ("figures/utility", 2)):  # fmt: skip
        memory = "NA" if name == "scenes" else 10 * seconds
        write_table(tmp_path / f"benchmarks/{name}.tsv", ("s", "max_rss"), [{"s": seconds, "max_rss": memory}])
    found = {row.pop("stage"): row for row in stage_times(tmp_path, {"a/m/seed1", "a/m/seed2"}, {"a/seed1"})}
    assert list(found) == ["train", "scenes", "attack", "figures"]
    assert found["train"] == {"jobs": 2, "seconds": 160, "longest": 100, "memory": 1000}
    assert found["scenes"]["memory"] == 0


def test_records_are_those_of_the_weights(tmp_path):
    torch = pytest.importorskip("torch")
    from roclip.model.towers import save as save_weights

    record = {"commit": "abc", "versions": {"torch": "9"}}
    save_weights(torch.nn.Linear(2, 2), tmp_path / "models/a/m/seed1/weights/last_clip.safetensors", record)
    save_weights(torch.nn.Linear(2, 2), tmp_path / "models/b/m/seed1/weights/last_clip.safetensors", {})
    assert records(tmp_path, ["a/m/seed1", "a/m/seed2"]) == [record]


def test_the_machine_is_named():
    assert all(machine().values())
    assert int(machine()["cores"]) >= 1


@pytest.mark.parametrize("missing", ["config.yaml", "tables/claims.json", "figures/attack_success.png", "template"])
def test_a_missing_file_is_one_line(tmp_path, missing):
    options = experiment(tmp_path, ["attack_success"])
    if missing == "template":
        options = ReportOptions(options.results, tmp_path / "none.html", options.figures, options.out)
    else:
        (tmp_path / missing).unlink()
    with pytest.raises(UserError, match="no such file"):
        run(options)
    assert not options.out.exists()


def test_every_figure_of_the_workflow_has_a_place(tmp_path):
    options = experiment(tmp_path, FIGURES)
    assert set(gather(options)["figures"]) == set(re.findall(r'figure\("(\w+)",', TEMPLATE.read_text()))
