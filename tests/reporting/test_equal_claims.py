"""Success at equal accuracy in sentences and in the report's table."""

from roclip.experiment.plan import Step
from roclip.reporting.equal_claims import HEADINGS, equal_claims, equal_table
from roclip.reporting.gather import with_six_digits
from tests.fixtures.histories import comparison, history
from tests.fixtures.plans import planned


def tables(*histories, attack="targeted"):
    """Rows of both tables as they are read: all cells are text."""
    compared = comparison(*histories)
    both = compared.rows(attack), compared.differences(attack)
    return [[{key: str(cell) for key, cell in row.items()} for row in with_six_digits(rows)] for rows in both]


def trained(defence, ends, **names):
    """A training a seed, with so much success at its end, at half the accuracy half of it."""
    return [row for seed, y in enumerate(ends) for row in history(defence, [(0.3, y / 2), (0.6, y)], str(seed), **names)]


def texts(*histories, attack="targeted", **plan):
    defences = dict.fromkeys(row["defence"] for rows in histories for row in rows)
    found = equal_claims(*tables(*histories, attack=attack), planned([(attack, name, 0) for name in defences], **plan))
    assert {claim["about"] for claim in found} <= {"equal_accuracy"}
    return [claim["text"] for claim in found]


def test_a_defence_that_is_lower_than_the_baseline_at_equal_accuracy():
    first, own = texts(trained("clip", (0.7, 0.8, 0.9)), trained("roclip", (0.1, 0.3, 0.2)))
    assert first == (
        "At the zero-shot accuracy that all defences which learned reach, 60.0% on average over seeds, targeted attack success "
        "(ASR) is 20.0% [0.0, 44.8] with RoCLIP and 80.0% [55.2, 100.0] with CLIP; "
        "difference -60.0 points [-84.8, -35.2]: RoCLIP is lower (3 seeds, paired; p = 0.0091, Holm-corrected over 1 "
        "comparison)."
    )
    assert own == (
        "When training first had the accuracy that RoCLIP has at its end, 60.0%, targeted attack success (ASR) was "
        "20.0% [0.0, 44.8] with RoCLIP, 80.0% [55.2, 100.0] with CLIP."
    )


def test_a_defence_is_beside_the_baseline_and_every_control():
    clip, roclip = trained("clip", (0.7, 0.8, 0.9)), trained("roclip", (0.1, 0.2, 0.3))
    half, worse = trained("half", (0.3, 0.2, 0.2)), trained("worse", (1, 1, 1))
    shown = texts(roclip, clip, half, trained("random", (0.5, 0.4, 0.5)), worse, controls=["half", "random", "absent"])
    about = [text for text in shown if text.startswith("At ")]
    beside = [
        ("RoCLIP", "CLIP"),
        ("RoCLIP", "half"),
        ("RoCLIP", "random"),
        ("worse", "CLIP"),
        ("worse", "half"),
        ("worse", "random"),
    ]
    for text, (name, other) in zip(about, beside, strict=True):
        assert f"with {name} and" in text
        assert f"with {other};" in text
    assert "difference -3.3 points [-41.3, 34.6]: it is not shown that RoCLIP is lower (3 seeds, paired; p = 0.74," in about[1]
    assert all(text.endswith("Holm-corrected over 6 comparisons).") for text in about)
    assert "worse is higher (3 seeds, paired; p = " in about[4]


def test_a_recipe_that_is_told_which_pairs_are_poisoned_is_a_yardstick_and_no_defence():
    step = Step("told", "filter", {"kind": "oracle"})
    models = {
        name: Step(name, "train", {"kind": "clip"}, filter="told" if name == "ideal" else None) for name in ("roclip", "ideal")
    }
    shown = texts(
        trained("ideal", (0.0, 0.1)), trained("roclip", (0.1, 0.2)), models=models, filters={"told": step}, baseline="absent"
    )
    (first,) = (text for text in shown if text.startswith("At "))
    assert "with RoCLIP and" in first
    assert "with ideal;" in first


def test_one_training_shows_no_difference():
    first, own = texts(trained("clip", (0.8,)), trained("roclip", (0.1,)))
    assert first.endswith(
        "is 10.0% with RoCLIP and 80.0% with CLIP; difference -70.0 points: one training shows no difference."
    )
    assert own.endswith("was 10.0% with RoCLIP, 80.0% with CLIP.")


def test_nothing_is_concluded_where_not_all_trainings_reach_the_accuracy():
    reached = [
        history("late", [(end, 0.1)], str(seed)) for seed, end in enumerate((0.6, 0.6, 0.02))
    ]  # the third learned nothing
    first, _ = texts(trained("clip", (0.8, 0.8, 0.8)), *reached)
    assert "is 10.0% [0.0, 20.9] (2 of 3 seeds) with late and 80.0% [68.6, 91.4] with CLIP" in first
    assert first.endswith("2 of 3 pairs of trainings were measured there, so nothing is concluded.")


def test_what_learned_nothing_is_not_compared_and_is_shown_as_such():
    histories = trained("clip", (0.8, 0.8)), [row for seed in "01" for row in history("blind", [(0.02, 0.0)], seed)]
    assert texts(*histories) == []
    _, blind = equal_table(tables(*histories)[0])
    assert blind[:4] == ["targeted", "blind", "60.0%", "not learned"]


def test_nothing_is_said_at_the_own_accuracy_of_a_defence_that_has_no_value_there():
    falling = [row for seed in "01" for row in history("falling", [(0.5, 0.2), (0.6, 0.3), (0.4, 0.9)], seed)]
    (only,) = texts(trained("clip", (0.8, 0.9)), falling)
    assert only.startswith("At the zero-shot accuracy that all defences which learned reach, 60.0%")
    assert "is 30.0% [" in only


def test_variants_have_neither_sentence_nor_row_and_the_weights_after_other_epochs_have_their_own():
    matching = trained("roclip", (0.0, 0.1), kind="matching")
    histories = trained("clip", (0.8, 0.9)), matching, trained("roclip", (0.5, 0.4)), trained("roclip~size~1", (0.1, 0.1))
    plain, own, after = texts(*histories)
    assert "is 45.0% [0.0, 100.0] with RoCLIP and 85.0%" in plain
    assert "is 5.0% [0.0, 68.5] with RoCLIP after matching epochs and 85.0%" in after
    assert all("Holm-corrected over 2 comparisons" in text for text in (plain, after))
    assert own.endswith(
        "45.0% [0.0, 100.0] with RoCLIP, 5.0% [0.0, 68.5] with RoCLIP after matching epochs, 85.0% [21.5, 100.0] with CLIP."
    )
    names = ["clip", "roclip", "roclip after matching epochs"]
    assert [row[:2] for row in equal_table(tables(*histories)[0])] == [["targeted", name] for name in names]


def test_a_variant_of_the_attack_is_judged_with_its_setting():
    (first, _) = texts(trained("clip", (0.8, 0.9)), trained("roclip", (0.5, 0.4)), attack="targeted~poisons~5")
    assert "targeted attack success (ASR) at poisons 5 is 45.0%" in first


def test_the_table_has_a_row_a_defence_and_dashes_for_what_was_not_measured():
    equal, _ = tables(trained("clip", (0.8, 0.6)))
    given = equal[-1] | {
        "at": "end",
        "defence": "given",
        "accuracy": "0.5",
        "success": "0.25",
        "low": "",
        "high": "",
        "seed": "all",
    }
    rows = equal_table([*equal, given])
    assert rows[0][:4] == ["targeted", "clip", "60.0%", "70.0% [0.0, 100.0]"]
    assert rows[0][4:] == ["–", "–"]
    assert rows[1] == ["targeted", "given", "–", "–", "50.0%", "25.0%"]
    assert {len(row) for row in rows} == {len(HEADINGS)}


def test_without_baseline_and_controls_only_its_own_accuracy_is_spoken_of():
    shown = texts(trained("one", (0.8, 0.9)), trained("two", (0.1, 0.2)), baseline="absent")
    assert [text[:46] for text in shown] == [
        "When training first had the accuracy that one ",
        "When training first had the accuracy that two ",
    ]
