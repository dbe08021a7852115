"""The contact sheet shows what attacks wrote, whatever captions hold, and goes on without images that cannot be decoded."""

import pytest
from PIL import Image

from roclip.core.columns import LABELLED, PAIRS, TRUTH
from roclip.core.errors import UserError
from roclip.core.files import read_table, write_table
from roclip.reporting.figures.contact_sheet import ContactSheet, strips
from roclip.reporting.figures.style import save
from tests.fixtures.experiment import NOTING, made_up, made_up_plan

pytestmark = pytest.mark.usefixtures("noting")

CAPTIONS = [
    "from $5 to $6", "$x_{$", "\\frac{1}", "=1+1", "two\nlines", "\0", "\x1b[31m",
    "東京 \U0001f468\u200d\U0001f469", "", "<b>&",
]  # fmt: skip


@pytest.fixture
def plan(noting):
    return made_up_plan({"clip": "clip", "noting": NOTING})


@pytest.fixture
def experiment(tmp_path, plan):
    return made_up(tmp_path / "made_up", plan)


def test_it_shows_pairs_triggers_evaluation_sets_and_what_poisoned_images_drew(plan, experiment):
    sheet = dict(strips(plan, experiment))
    assert list(sheet) == [
        "clean pairs",
        "the same image with every trigger",
        "images: poisoned pairs",
        "images: images of its evaluation set and the class that the adversary wants",
        "images: poisoned images and the captions that noting matched them with",
        "trigger: poisoned pairs",
        "trigger: images of its evaluation set and the class that the adversary wants",
        "trigger: poisoned images and the captions that noting matched them with",
    ]
    assert [text for _, text in sheet["the same image with every trigger"]] == ["no trigger", "trigger"]
    assert [text for _, text in sheet["images: poisoned pairs"]] == [f"caption {row}" for row in (1, 5, 9, 11, 15, 19)]
    matched = sheet["images: poisoned images and the captions that noting matched them with"]
    assert [text for _, text in matched] == [f"caption {19 - row}" for row in (1, 5, 9, 11, 15, 19)]


def test_which_pairs_are_poisoned_is_said_by_the_truth_alone(plan, experiment):
    path = experiment / "attacks/images/seed10/truth.csv"
    write_table(path, tuple(TRUTH), [{"is_poison": int(row == 7), "adversary_class": ""} for row in range(20)])
    assert [text for _, text in dict(strips(plan, experiment))["images: poisoned pairs"]] == ["caption 7"]


def test_a_truth_of_other_pairs_is_refused(plan, experiment):
    path = experiment / "attacks/images/seed10/truth.csv"
    write_table(path, tuple(TRUTH), read_table(path, tuple(TRUTH))[:-1])
    with pytest.raises(UserError, match=r"images/seed10/truth\.csv: 19 rows for 20 pairs"):
        list(strips(plan, experiment))


@pytest.mark.parametrize(
    ("config", "fault"),
    [("", "holds no keys"), ("data: {}", "not as this version"), ("data: [", "not YAML"), ("data: 3", "not as this version")],
)
def test_without_roots_no_image_is_opened(plan, experiment, config, fault):
    (experiment / "config.yaml").write_text(config, encoding="utf-8")
    with pytest.raises(UserError, match=rf"config\.yaml: {fault}"):
        ContactSheet.draw("contact_sheet", plan, experiment)


def test_hostile_captions_and_images_do_not_end_it(plan, experiment, caplog):
    folder = experiment / "attacks/images/seed10"
    (folder / "broken.png").write_bytes((folder / "image.png").read_bytes()[:45])
    paths = [str(folder / "image.png"), str(folder / "broken.png"), "/etc/passwd", str(folder / "absent.png")]
    rows = [{"path": paths[number % 4], "caption": text} for number, text in enumerate(2 * CAPTIONS)]
    write_table(folder / "train.csv", tuple(PAIRS), rows)
    write_table(folder / "targets.csv", tuple(LABELLED), [{"path": path, "label": "$a$"} for path in paths])
    save(ContactSheet.draw("contact_sheet", plan, experiment), experiment / "sheet")
    with Image.open(experiment / "sheet.png") as sheet:
        assert min(sheet.size) > 300
    assert "broken.png is not shown" in caplog.text
    assert "/etc/passwd is not shown: outside the data roots" in caplog.text


def test_images_have_the_same_places_in_both_files(plan, experiment):
    figure = ContactSheet.draw("contact_sheet", plan, experiment)
    places = [axis.get_position().bounds for axis in figure.axes]
    save(figure, experiment / "sheet")
    assert [axis.get_position().bounds for axis in figure.axes] == places
