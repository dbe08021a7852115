"""Published numbers: each once, each attack success with a definition that the documentation explains."""

from collections import Counter
from statistics import mean

import pytest

from roclip.core.columns import REFERENCE
from roclip.core.errors import UserError
from roclip.core.files import write_table
from roclip.reporting.published import ASR_DEFINITIONS, KEY, REFERENCE_FILE, read_reference
from tests.conftest import ROOT

PUBLISHED = read_reference(REFERENCE_FILE)


def test_no_number_is_listed_twice_and_each_is_a_share_in_percent():
    assert max(Counter(tuple(row[name] for name in KEY) for row in PUBLISHED).values()) == 1
    assert {row["unit"] for row in PUBLISHED} == {"percent"}
    assert all(0 <= float(row["value"]) <= 100 for row in PUBLISHED)


def test_every_attack_success_has_a_definition_that_the_documentation_explains():
    for row in PUBLISHED:
        assert row["asr_definition"] in (ASR_DEFINITIONS if row["measure"] == "attack_success" else {""})
    text = " ".join((ROOT / "docs/leaderboard.md").read_text().split())
    for name, sentence in ASR_DEFINITIONS.items():
        numerator, denominator = sentence.split(" / ")
        assert f"`{name}`" in text
        assert f"{numerator} / {denominator}" in text


def test_the_tables_of_safeclip_are_whole():
    first = [row for row in PUBLISHED if row["source"] == "SafeCLIP ICML24 T1"]
    attacks = {"targeted", "patch", "label_consistent", "blended", "warped"}
    for defence in ("clip", "roclip", "safeclip"):
        found = {(row["dataset"], row["attack"]) for row in first if row["defence"] == defence}
        assert found == {(data, attack) for data in ("CC1M", "CC3M", "COCO", "VG") for attack in attacks}
    means = {
        (row_measure, defence): mean(
            float(row["value"]) for row in PUBLISHED if (row["measure"], row["defence"]) == (row_measure, defence)
        )
        for row_measure in ("zero_shot", "linear_probe")
        for defence in ("clip", "safeclip")
    }
    # the paper says by how much SafeCLIP's mean is above CLIP's
    assert round(means["zero_shot", "safeclip"] - means["zero_shot", "clip"], 1) == 0.9
    assert round(means["linear_probe", "safeclip"] - means["linear_probe", "clip"], 1) == 0.5


def test_the_lowest_success_among_the_more_accurate_is_not_lower():
    """Of a front, the second threshold leaves fewer runs to choose from."""
    front = {(r["source"], r["dataset"], r["defence"]): float(r["value"]) for r in PUBLISHED if "2311.14948" in r["source"]}
    pairs = [
        (value, front[source.replace("90%", "97%"), data, name])
        for (source, data, name), value in front.items()
        if "90%" in source
    ]
    assert len(pairs) == 12
    assert all(low <= high for low, high in pairs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"asr_definition": "guess"}, "row 2: asr_definition: 'guess' is not among bench, "),
        ({"asr_definition": ""}, "row 2: asr_definition: '' is not among bench, "),
        ({"measure": "zero_shot"}, "row 2: asr_definition: 'bench' of zero_shot, which needs none"),
        ({"value": "nan"}, "row 2: value: 'nan' is no number"),
        ({"value": "93,75"}, "row 2: value: '93,75' is no number"),
        ({"value": "9_3.75"}, "row 2: value: '9_3.75' is no number"),
        ({"value": "9375"}, "row 2: value: 9375 is not from 0 to 100 percent"),
        ({"value": "-5"}, "row 2: value: -5 is not from 0 to 100 percent"),
        ({"source": "x", "note": "again", "value": "7"}, "row 2: the same number as in row 1, by source, dataset, "),
        ({"value": "a\nb"}, r"row 2: value: 'a\\nb' is no number"),
    ],
)
def test_a_row_that_is_none_is_one_line(tmp_path, changes, message):
    row = dict.fromkeys(REFERENCE, "x") | {"measure": "attack_success", "value": "5", "asr_definition": "bench"}
    write_table(tmp_path / "reference.csv", tuple(REFERENCE), [row, row | {"source": "y"} | changes])
    with pytest.raises(UserError, match=message):
        read_reference(tmp_path / "reference.csv")
