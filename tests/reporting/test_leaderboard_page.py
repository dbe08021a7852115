"""The page of the leaderboard: what it says of the files, and that no text of theirs is more than a text."""

import re
from html.parser import HTMLParser
from math import nan

import pytest

from roclip.reporting.board.curves import HEIGHT, WIDTH, curves
from roclip.reporting.board.page import attack_label
from roclip.reporting.leaderboard import main
from roclip.reporting.published import ASR_DEFINITIONS
from tests.fixtures.experiments import EVIL
from tests.fixtures.leaderboard import full, picture, row, write


class Page(HTMLParser):
    """The elements of a page, as (tag, attributes), and the text within each id and each row of the first matrix."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.articles: dict[str, str] = {}
        self.lines: list[str] = []
        self.inside = ""
        self.feed(text.replace("<wbr>", ""))  # where a line may break

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == "article":
            self.inside = dict(attributes)["id"]
        elif tag == "tr":
            self.lines.append("")

    def handle_endtag(self, tag):
        self.inside = "" if tag == "article" else self.inside

    def handle_data(self, data):
        if self.inside:
            self.articles[self.inside] = " ".join(f"{self.articles.get(self.inside, '')} {data}".split())
        elif self.lines:
            self.lines[-1] = " ".join(f"{self.lines[-1]} {data}".split())


def written(folder) -> str:
    """The page of the files in a folder."""
    assert main(["--folder", str(folder)]) == 0
    return (folder / "index.html").read_text()


def lines(text: str) -> dict[str, str]:
    """The text of the rows of all matrices by their defence, the last of each."""
    return {line.split()[0]: line for line in Page(text).lines if line}


def test_a_matrix_for_each_data_set_and_a_row_for_each_defence(tmp_path):
    write(tmp_path, row(), row(attack="patch"), row(defence="roclip", attack_success=0.5))
    write(tmp_path, row("photos", dataset="CIFAR-100", drawn=0), name="photos")
    text = written(tmp_path)
    assert re.findall(r"<h2>(.*?)</h2>", text)[:2] == ["CIFAR-100", "drawn scenes, 200 classes, 36,000 pairs"]
    found = lines(text)
    assert found["RoCLIP"].startswith("RoCLIP 50.0 ")
    assert "RoCLIP 50.0 [" in found["RoCLIP"]
    assert "accuracy 90.0" in found["RoCLIP"]
    assert " – " in found["RoCLIP"]  # not run against the patch
    assert found["CLIP"].count("accuracy 90.0") == 2


def test_the_worst_of_a_row_is_the_highest_success_and_the_lowest_accuracy(tmp_path):
    low = dict.fromkeys(("attack_success_low", "attack_success_high", "zero_shot_low", "zero_shot_high"), "")
    first = row(attack_success=0.2, zero_shot=0.7, cost=9, **low)
    write(tmp_path, first, row(attack="patch", attack_success=0.6, zero_shot=0.8, cost=8, **low))
    (words,) = re.findall(r'<span class="cell worst".*?</td>', written(tmp_path), re.DOTALL)
    assert re.findall(r"<b>(.*?)</b>", words) == ["60.0", "71.1", "70.0", "9.0"]
    assert 'data-success-colour="3"' in words


def test_a_model_that_has_learned_nothing_is_never_a_defence(tmp_path):
    full(tmp_path)
    text = written(tmp_path)
    line = lines(text)["dao_filter"]
    assert line.count("not learned") >= 2 * 5  # in the views of attack success and of success at equal accuracy
    cells = re.findall(r'<a class="cell blind".*?</a>', text, re.DOTALL)
    assert len(cells) == 5
    assert not any("colour" in cell.split(">")[0] for cell in cells)
    article = next(a for a in Page(text).articles.values() if a.startswith("dao_filter against targeted Attack"))
    assert "not learned: clean accuracy is hardly above chance, so this is no defence" in article


def test_details_have_the_numbers_and_the_published_ones_with_what_they_count(tmp_path):
    cells = {"attack_success": 0.0208, "attack_success_low": 0.001, "attack_success_high": 0.111}
    write(tmp_path, row(defence="roclip", cost="12.34", **cells))
    article = Page(written(tmp_path)).articles["entry-1"]
    for words in (
        "RoCLIP against targeted", "Attack success 2.1% [0.1, 11.1] of 48 targets", "Control 2.0% [0.0, 10.0]",
        "Clean accuracy 90.0% [88.0, 92.0]", "when validation accuracy first was 80.0%", "Cost 12.3 CLIP epochs, measured",
        "1,280, 3.6% of the clean ones", "small_model.json, last CLIP epoch, 3 seeds", "Computed by Ada Lovelace",
        "Config config/controls.yaml", "Commit c0ffee", "12.5% CC1M RoCLIP abstract 2 of 16 authors_300",
        "37.5% VG SafeCLIP ICML24 T1", f"Ours: {ASR_DEFINITIONS['bench']}", f"authors_300 : {ASR_DEFINITIONS['authors_300']}",
        "circles: after epochs of the kind matching",
    ):  # fmt: skip
        assert words in article
    assert "93.75" not in article  # that is of CLIP


def test_pictures_stand_with_every_entry_of_their_attack_and_no_other(tmp_path):
    full(tmp_path)
    text = written(tmp_path)
    of = {name: article for name, article in Page(text).articles.items() if "What the attack looks like" in article}
    assert len(of) == 7 * 5 - 1  # of `world` every entry: 7 defences against 5 attacks, but for one that is missing
    assert not any("CIFAR-100" in article or "Grace Hopper" in article for article in of.values())


def test_an_empty_folder_makes_a_page_with_a_sentence(tmp_path):
    text = written(tmp_path / "board")
    assert f"There are no results yet: <code>{tmp_path}/board/</code> holds no CSV file." in text
    assert "<a " not in text
    assert 'class="matrix"' not in text
    assert "roclip leaderboard --add results/NAME" in text
    assert "Published attack success" in text


HOSTILE = [
    EVIL,
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7*7 }}",
    "</style><b>",
    "javascript:alert(1)",
    "\u202eevil",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_a_text_wherever_it_stands(tmp_path, name):
    columns = ("dataset", "model", "attack", "kind", "defence", "checkpoint", "commit", "config", "computed_by")
    kinds = {"curve_kinds": " ".join([name.replace(" ", "")] * 12), "pictures": picture(), "picture_texts": f'["{name[:3]}"]'}
    kinds = kinds if '"' not in name else {}
    write(tmp_path, row(**dict.fromkeys(columns, name), **kinds), row())
    page, plain = Page(text := written(tmp_path)), Page(written_of(tmp_path / "plain"))
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in plain.elements} | {"img", "figure", "figcaption"}
    assert {key for _, a in page.elements for key in a} <= {key for _, a in plain.elements for key in a} | {"src", "alt"}
    assert all(a[k].startswith(("data:", "#entry-")) for _, a in page.elements for k in ("src", "href") if k in a)
    assert "\u202e" not in text
    assert "49" not in page.articles["entry-1"].split("Control")[0]


def written_of(folder) -> str:
    """The page of one plain row."""
    write(folder, row())
    return written(folder)


def test_nothing_is_loaded_from_elsewhere_and_one_script_runs_by_its_hash(tmp_path):
    full(tmp_path)
    text = written(tmp_path)
    page = Page(text)
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert not {tag for tag, _ in page.elements} & {"iframe", "object", "embed"}
    assert not [key for _, a in page.elements for key in a if key.startswith("on")]
    bare = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"url\(|@import|https?://|fetch|innerHTML", bare)
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-")


@pytest.mark.parametrize(
    ("name", "label"),
    [("patch", "patch"), ("targeted~captions_per_target~20", "targeted, captions_per_target 20"), ("a~b", "a, b"),
     ("patch~poisons~5~rate~2", "patch, poisons 5, rate 2")],
)  # fmt: skip
def test_a_variant_is_named_by_what_it_changes(name, label):
    assert attack_label(name) == label


def test_curves_go_from_the_first_epoch_to_the_last_and_leave_gaps():
    drawn = curves([("clip", 0.0, 0.5), ("clip", 0.5, nan), ("matching", 1.0, 1.0)])
    assert drawn["accuracy"] == [f"0.0,{HEIGHT:.1f} {WIDTH / 2:.1f},{HEIGHT / 2:.1f} {WIDTH:.1f},0.0"]
    assert drawn["success"] == [f"0.0,{HEIGHT / 2:.1f}", f"{WIDTH:.1f},0.0"]
    assert drawn["marks"] == [(f"{WIDTH:.1f}", "0.0")]
    assert drawn["kinds"] == ["matching"]
    assert drawn["ends"] == {"accuracy": "100.0%", "success": "100.0%"}
    assert curves([("clip", 0.1, 0.2)]) is None
    assert curves([("clip", nan, nan)] * 2)["ends"] == {"accuracy": "not measured", "success": "not measured"}
