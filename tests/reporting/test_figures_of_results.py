"""Figures of attack success, utility and sweeps show what results.csv says."""

from dataclasses import replace

import pandas as pd
import pytest

from roclip.defences.base import Defence
from roclip.reporting.figures import figures_of
from roclip.reporting.figures.attack_success import attack_success
from roclip.reporting.figures.matrix import ACCURACY, matrix
from roclip.reporting.figures.style import LINE_STYLES, WIDEST
from roclip.reporting.figures.sweep import meaning, number, sweep
from roclip.reporting.figures.utility import utility
from roclip.reporting.results import pivot
from tests.fixtures.artists import bars, legend, series, shown, spans
from tests.fixtures.experiment import ATTACKS, NOTING, made_up_plan, swept

pytestmark = pytest.mark.usefixtures("noting")

NAN = float("nan")
MODELS = [("clip", "last_clip"), ("noting", "last_clip"), ("noting", "last_noting")]


def result(attack: str, defence: str, checkpoint: str, success: float = 0.5, **cells: float) -> list[dict]:
    """Rows of results.csv; nothing was controlled, and there is one seed. `zero_shot_sd`: standard deviation of a measure."""
    row = {"attack": attack, "defence": defence, "checkpoint": checkpoint, "n": 16, "seeds": 1}
    values = {"attack_success": success, "zero_shot": 0.9, "linear_probe": 0.95} | cells
    nan = float("nan")
    return [
        row
        | {"measure": measure, "value": value, "low": value / 2, "high": (1 + value) / 2, "sd": cells.get(f"{measure}_sd", nan)}
        for measure, value in values.items()
        if value == value and not measure.endswith("_sd")
    ]


def table(*rows: list[dict]) -> pd.DataFrame:
    return pd.DataFrame(pivot([row for part in rows for row in part]))


def results(attacks: int) -> pd.DataFrame:
    """Attacks a0, a1, ... with a success, control and accuracy of its own in each row."""
    models = [(f"a{i}", *model) for i in range(attacks) for model in MODELS]
    return table(*(result(*model, i / 100, control=(i + 1) / 200, zero_shot=0.9 + i / 1000) for i, model in enumerate(models)))


@pytest.mark.parametrize("attacks", [1, 2, 7])
def test_the_bars_of_attack_success_are_the_shares_of_the_table(attacks):
    rows = results(attacks)
    figure = attack_success(rows)
    assert len(shown(figure)) == attacks
    assert figure.axes[0].get_gridspec().ncols <= WIDEST
    for axis in shown(figure):
        own = rows[rows.attack == axis.get_title().removeprefix("attack: ")]
        drawn, ends = bars(axis), spans(axis)
        assert len(drawn) == 2 * len(own)
        for row in own.itertuples():
            for name in ("attack_success", "control"):
                share, low, high = (100 * getattr(row, name + end) for end in ("", "_low", "_high"))
                assert drawn[f"{name} {row.defence} {row.checkpoint}"] == pytest.approx(share)
                assert any(span == pytest.approx((low, high)) for span in ends)


def test_one_training_of_a_backdoor_has_a_bar_without_an_interval():
    rows = table(result("a", *MODELS[0], 0.5), result("a", *MODELS[1], 0.3))
    rows.loc[1, ["attack_success_low", "attack_success_high"]] = NAN
    (axis,) = shown(attack_success(rows))
    assert len(bars(axis)) == 2
    assert spans(axis) == [pytest.approx((25, 75))]
    assert [text.get_text() for text in axis.texts] == ["50.0", "30.0"]


def test_what_was_not_run_has_no_bar_and_says_so():
    figure = attack_success(table(*(result("a", *model) for model in MODELS), result("b", *MODELS[0])))
    first, second = shown(figure)
    assert len(bars(first)) == 3  # no controls
    assert len(bars(second)) == 1
    assert [text.get_text() for text in second.texts].count("not run") == 2
    assert "not run" not in [text.get_text() for text in first.texts]
    assert len(legend(figure)) == 1


def test_a_model_that_has_not_learned_has_no_bar_and_says_so():
    rows = [*result("a", "clip", "last_clip", 0.9), *result("a", "blind", "last_clip", 0, control=0.1)]
    figure = attack_success(table([row | {"learned": int(row["defence"] == "clip")} for row in rows]))
    (axis,) = shown(figure)
    assert list(bars(axis)) == ["attack_success clip last_clip", "control blind last_clip"]
    assert "not learned" in [text.get_text() for text in axis.texts]


def test_a_point_of_a_sweep_that_has_not_learned_has_no_success_and_says_so():
    rows = [result("a", f"noting~often~{n}", "last_clip", n / 10, zero_shot=0.5) for n in (0, 5)]
    for row in rows[0]:
        row["learned"] = 0
    left, right = sweep(table(*rows), pd.DataFrame(swept("s", ["often 0", "often 5"])), RECIPES, COLOURED).axes
    assert [text.get_text() for text in left.texts] == ["not learned"]
    (success,), (accuracy,) = series(left).values(), series(right).values()
    assert success == pytest.approx([float("nan"), 50], nan_ok=True)
    assert accuracy == pytest.approx([50, 50])


def test_variants_are_left_to_the_sweeps():
    rows = table(
        result("a", "clip", "last_clip"), result("a", "clip~size~4", "last_clip"), result("a~n~4", "clip", "last_clip")
    )
    (axis,) = shown(attack_success(rows))
    assert len(bars(axis)) == 1
    assert len(utility(rows, "clip").axes[0].get_yticks()) == 1


@pytest.mark.parametrize("attacks", [1, 7])
def test_utility_shows_accuracy_and_its_price_against_the_baseline(attacks):
    rows = results(attacks)
    figure = utility(rows, "clip")
    axis = figure.axes[0]
    drawn = [(c.get_label(), c[0].get_xdata()[0]) for c in axis.containers]
    assert [x for _, x in drawn] == pytest.approx(list(100 * rows.zero_shot))
    assert [label for label, _ in drawn] == [f"{d} {c}" for d, c in MODELS] * attacks
    texts = [text.get_text() for text in axis.texts]
    assert texts[:3] == ["90.0", "90.1 (+0.1)", "90.2 (+0.2)"]
    assert not [c for c in axis.containers if c.has_xerr]
    assert "price against clip" in legend(figure)[-1]


def test_the_price_is_counted_at_the_baselines_own_checkpoint_if_it_has_it():
    figure = utility(results(1), "noting")
    assert [text.get_text() for text in figure.axes[0].texts] == ["90.0 (−0.1)", "90.1", "90.2"]
    assert "price against noting" in legend(figure)[-1]
    other = result("a0", "other", "last_noting", zero_shot=0.8)  # the baseline has 90.2 here, and 90.1 at its other checkpoint
    figure = utility(pd.concat([results(1), table(other)]), "noting")
    assert figure.axes[0].texts[-1].get_text() == "80.0 (−10.2)"


def test_without_the_baseline_no_price_is_claimed():
    figure = utility(results(1), "absent")
    assert [text.get_text() for text in figure.axes[0].texts] == ["90.0", "90.1", "90.2"]
    assert "price" not in " ".join(legend(figure))


def test_utility_of_several_seeds_has_their_spread_and_a_loss_has_a_minus():
    rows = table(
        result("a", "clip", "last_clip", zero_shot=0.9, zero_shot_sd=0.01),
        result("a", "noting", "last_clip", zero_shot=0.85, zero_shot_sd=0.02),
    )
    axis = utility(rows, "clip").axes[0]
    assert spans(axis) == [pytest.approx((89, 91)), pytest.approx((83, 87))]
    assert axis.texts[1].get_text() == "85.0 (−5.0)"


def test_without_any_attack_there_is_nothing_to_show():
    figure = attack_success(table(result("clean", "clip", "last_clip", success=float("nan"))))
    assert "No attack" in figure.texts[0].get_text()
    assert "attack_success" not in figures_of(made_up_plan({"clip": "clip"}, family=dict.fromkeys(ATTACKS, "clean")))


RECIPES = {name: {"train": {"kind": kind}} for name, kind in {"noting": NOTING, "clip": "clip", "other": "clip"}.items()}
COLOURED = {"clip": "#111111", "noting": "#222222", "other": "#333333"}


def test_a_sweep_joins_numbers_in_the_given_order_and_leaves_gaps():
    rows = [
        result("a", "noting~often~0", "last_clip", 0.9),
        result("a", "noting~often~5", "last_clip", 0.4),
        result("a", "noting~often~5", "last_noting", 0.1),
        result("a", "noting~often~1", "last_noting", 0.2),
    ]
    left, right = sweep(table(*rows), pd.DataFrame(swept("s", ["often 0", "often 5", "often 1"])), RECIPES, COLOURED).axes
    assert [label.get_text() for label in left.get_xticklabels()] == ["0", "5", "1"]
    drawn = series(left)
    assert drawn["a, noting, last CLIP epoch"] == pytest.approx([90, 40, float("nan")], nan_ok=True)
    assert drawn["a, noting, last noting epoch"] == pytest.approx([float("nan"), 10, 20], nan_ok=True)
    assert [c[0].get_linestyle() for c in left.containers] == list(LINE_STYLES[:2])
    assert {c[0].get_color() for c in left.containers} == {COLOURED["noting"]}, "as in other figures"
    low, high = left.containers[0][2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((45, 95))
    assert series(right)["a, noting, last noting epoch"][1:] == pytest.approx([90, 90])


def test_settings_in_words_are_not_joined():
    sweeps = pd.DataFrame(swept("halves", ["images true, captions never", "images false"]))
    top, _ = sweep(table(*(result("a", defence, "last_clip") for defence in sweeps.defence)), sweeps, RECIPES, COLOURED).axes
    assert [c[0].get_linestyle() for c in top.containers] == ["None"]


def test_a_sweep_without_axes_compares_defences():
    sweeps = pd.DataFrame(swept("halves", [""], "clip") + swept("halves", [""], "other"))
    rows = table(result("a", "clip", "last_clip", 0.8), result("a", "other", "last_clip", 0.3))
    top, bottom = sweep(rows, sweeps, RECIPES, COLOURED).axes
    assert [label.get_text() for label in bottom.get_xticklabels()] == ["clip", "other"]
    assert series(top) == {"a, last CLIP epoch": pytest.approx([80, 30])}


@pytest.mark.parametrize(
    ("setting", "found"),
    [("pool_size 400", ("pool_size", 400)), ("a 1, b 2", None), ("augment_captions never", None), ("7", None)],
)
def test_which_settings_are_numbers(setting, found):
    assert number(setting) == found


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("augment_images", Defence.Settings.__dataclass_fields__["augment_images"].metadata["help"]),
        ("train.epochs", "number of epochs"),
        ("repair.epochs", ""),
        ("poisons", "poisoned pairs"),
        ("nobody_knows", ""),
    ],
)
def test_what_a_setting_means_is_said_by_the_step_that_has_it(key, found):
    assert meaning(key, {"train": {"kind": "clip"}}) == found


def cells(axis) -> dict[tuple[str, str], str]:
    """What is written in each place of a matrix, by the labels of its row and column."""
    columns = {
        round(place, 2): label.get_text().replace("\n", "")
        for place, label in zip(axis.get_xticks(), axis.get_xticklabels(), strict=True)
    }
    rows = [label.get_text() for label in axis.get_yticklabels()]
    return {
        (rows[round(text.get_position()[1])], columns[round(text.get_position()[0], 2)]): text.get_text() for text in axis.texts
    }


def test_the_cells_of_a_matrix_are_the_shares_of_the_table_in_percent():
    rows = results(4)
    (axis,) = shown(matrix(rows, ["noting"]))
    written, names = cells(axis), {"last_clip": "noting, last CLIP epoch", "last_noting": "noting, last noting epoch"}
    assert len(written) == 3 * (4 + 1)
    for row in rows.itertuples():
        label = "clip" if row.defence == "clip" else names[row.checkpoint]
        success = 100 * row.attack_success
        assert written[label, row.attack] == ("<1" if 0 < success < 1 else f"{success:.0f}")
    accuracy = rows[rows.defence == "clip"].zero_shot.mean()
    assert written["clip", ACCURACY.replace("\n", "")] == f"{100 * accuracy:.0f}"
    assert [label.get_style() for label in axis.get_yticklabels()] == ["normal", "italic", "italic"]


def test_a_matrix_says_what_was_not_run_and_what_has_not_learned():
    rows = table(*(result("a", *model) for model in MODELS), result("b", *MODELS[0], 0.005))
    rows.loc[1, "learned"] = False
    written = cells(shown(matrix(rows, []))[0])
    assert written["noting, last CLIP epoch", "a"] == "not learned"
    assert written["noting, last noting epoch", "b"] == "not run"
    assert written["clip", "b"] == "<1"


@pytest.mark.parametrize(("attacks", "there"), [(1, False), (2, True)])
def test_a_matrix_is_drawn_from_two_attacks_on(attacks, there):
    plan = made_up_plan({"clip": "clip"})
    family = {f"a{i}": "backdoor" for i in range(attacks)} | {"none": "clean"}
    plan = replace(plan, family=family, runs=[(attack, "clip", 10) for attack in family])
    assert ("matrix" in figures_of(plan)) == there
