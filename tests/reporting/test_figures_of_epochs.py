"""Figures of epochs, the saw-tooth, telemetry and cosines, show what histories say."""

import dataclasses

import pandas as pd
import pytest

from roclip.core.columns import HISTORY, SWEEPS
from roclip.defences import TRAININGS
from roclip.defences.repair import REPAIRS
from roclip.experiment.plan import Step
from roclip.reporting.figures.cosines import Cosines, cosines
from roclip.reporting.figures.saw_tooth import SawTooth, saw_tooth
from roclip.reporting.figures.style import WIDEST
from roclip.reporting.figures.telemetry import Telemetry, panels_of, telemetry
from roclip.reporting.gather import sweep_rows
from tests.fixtures.artists import legend, lines, shown
from tests.fixtures.experiment import NOTING, Noting, cosine_rows, made_up_plan, point, swept

pytestmark = pytest.mark.usefixtures("noting")

GIVEN = next(kind for kind, training in TRAININGS.items() if not training.trains)


def history(models: dict[tuple[str, str], int], epochs: int = 6, seeds=("1",)) -> pd.DataFrame:
    """Histories of (attack, defence), each so many epochs of a kind of its own; success is epoch / 10, and .1 more by seed."""
    rows = []
    for (attack, defence), every in models.items():
        for i, seed in enumerate(seeds):
            for epoch in range(1, epochs + 1):
                kind = NOTING if every and epoch % every == 0 else "clip"
                row = dict.fromkeys((*HISTORY, *Noting.telemetry_columns), float("nan"))
                row |= {"epoch": epoch, "kind": kind, "zero_shot": 0.5, "attack_success": epoch / 10 + 0.1 * i}
                if kind == NOTING:
                    row |= dict.fromkeys(Noting.telemetry_columns, epoch / 10)
                rows.append({"attack": attack, "defence": defence, "seed": seed} | row)
    return pd.DataFrame(rows)


NO_SWEEPS = pd.DataFrame(columns=list(SWEEPS))


@pytest.mark.parametrize(("every", "epochs"), [(0, []), (2, [2, 4, 6]), (5, [5]), (1, [1, 2, 3, 4, 5, 6])])
def test_the_shaded_epochs_are_those_of_another_kind(every, epochs):
    figure = saw_tooth(history({("a", "noting"): every}), NO_SWEEPS)
    (axis,) = shown(figure)
    shaded = [patch.get_x() + patch.get_width() / 2 for patch in axis.patches]
    assert shaded == pytest.approx(epochs)
    assert all(patch.get_width() == pytest.approx(1) for patch in axis.patches)
    assert legend(figure)[2:] == (["noting epoch"] if epochs else [])


def test_epochs_of_several_kinds_have_a_shade_each():
    rows = history({("a", "noting"): 2})
    rows.loc[rows.epoch == 5, "kind"] = "unimodal"
    figure = saw_tooth(rows, NO_SWEEPS)
    shades = {patch.get_label(): patch.get_facecolor() for patch in shown(figure)[0].patches}
    assert len(set(shades.values())) == 2
    assert legend(figure)[2:] == ["noting epoch", "unimodal epoch"]


def test_the_saw_tooth_has_a_line_a_seed_and_their_mean():
    (axis,) = shown(saw_tooth(history({("a", "noting"): 2}, epochs=3, seeds=("1", "2")), NO_SWEEPS))
    assert lines(axis)["attack_success"] == (pytest.approx([1, 2, 3]), pytest.approx([15, 25, 35]))
    assert len(axis.get_lines()) == 2 * (2 + 1)


def test_the_saw_tooth_leaves_variants_out_unless_one_setting_makes_epochs_of_another_kind():
    models = {("a", "clip"): 0, ("a", "noting"): 2} | {("a", f"noting~size~{n}"): 2 for n in range(40)}
    sizes = swept("sizes", ["size 1", "size 2"])
    titles = [axis.get_title() for axis in shown(saw_tooth(history(models, epochs=2), pd.DataFrame(sizes)))]
    assert titles == ["clip, trained on a", "noting, trained on a"]
    models |= {("a", "noting~often~5"): 5, ("a", "noting~often~5~size~3"): 5}
    both = pd.DataFrame([*sizes, *swept("often", ["often 5", "often 5, size 3"])])
    figure = saw_tooth(history(models, epochs=5), both)
    assert [axis.get_title() for axis in shown(figure)] == ["often 5"]
    assert len(shown(figure)[0].patches) == 1


def test_the_value_of_a_setting_may_hold_a_comma():
    points = {"classes": [point("noting", {"target_class": name}, "a") for name in ("cat", "a, b")]}
    models = {("a", "noting"): 2} | {("a", p.defence): 2 for p in points["classes"]}
    rows = pd.DataFrame(sweep_rows(made_up_plan({"noting": NOTING}, points)))
    assert rows["keys"].tolist() == 2 * ["target_class"]
    assert [axis.get_title() for axis in shown(saw_tooth(history(models, epochs=2), rows))] == ["noting, trained on a"]


def test_more_epochs_are_no_epochs_of_another_kind():
    rows = pd.concat([history({("a", "noting"): 2}, epochs=2), history({("a", "noting~epochs~4"): 2}, epochs=4)])
    figure = saw_tooth(rows, pd.DataFrame(swept("long", ["epochs 4"])))
    assert [axis.get_title() for axis in shown(figure)] == ["noting, trained on a"]


def test_many_panels_stay_in_a_grid():
    models = {(f"a{i}", defence): 2 for i in range(7) for defence in ("clip", "noting")}
    figure = saw_tooth(history(models, epochs=2), NO_SWEEPS)
    assert len(shown(figure)) == 14
    assert figure.axes[0].get_gridspec().ncols <= WIDEST


def test_telemetry_shows_the_epochs_in_which_something_was_noted():
    models = {("a", "clip"): 0, ("a", "noting"): 2, ("b", "noting"): 3}
    figure = telemetry(history(models), panels_of(Noting))
    drawn, age = shown(figure)
    assert lines(drawn) == {
        "noting, trained on a": ([2, 4, 6], pytest.approx([20, 40, 60])),
        "noting, trained on b": ([3, 6], pytest.approx([30, 60])),
        "chance": ([3, 6], pytest.approx([30, 60])),  # the last of two with this label
    }
    assert lines(age)["noting, trained on a"][1] == pytest.approx([0.2, 0.4, 0.6])  # steps, not percent
    assert (age.get_title(), age.get_xlabel()) == ("in steps", "noting epoch")
    assert "No defence" in telemetry(history({("a", "clip"): 0}), panels_of(Noting)).texts[0].get_text()


def test_lines_of_telemetry_can_be_told_apart():
    models = {(f"a{i}", defence): 2 for i in range(3) for defence in ("noting", "other")}
    drawn, _ = shown(telemetry(history(models), panels_of(Noting)))
    own = [line for line in drawn.get_lines() if line.get_label() != "chance"]
    assert len({(line.get_color(), line.get_linestyle(), line.get_marker()) for line in own}) == 6


def test_only_defences_that_note_something_have_telemetry():
    assert Telemetry.names(made_up_plan({"clip": "clip"})) == []
    assert Telemetry.names(made_up_plan({"clip": "clip", "noting": NOTING})) == ["telemetry"]


def pairs(defence: str, epochs: int) -> list[dict]:
    return [{"attack": "a", "defence": defence, "seed": "1"} | row for row in cosine_rows(epochs)]


def test_cosines_separate_poisons_after_the_first_a_middle_and_the_last_epoch():
    table = pd.DataFrame(pairs("clip", 8) + pairs("noting", 8))
    figure = cosines(table, history({("a", "clip"): 0, ("a", "noting"): 2}, epochs=8))
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[:3] == [f"clip, after epoch {epoch} (CLIP)" for epoch in (1, 4, 8)]
    assert titles[3:] == [f"noting, after epoch {epoch} ({kind})" for epoch, kind in ((1, "CLIP"), (4, NOTING), (8, NOTING))]
    for axis in figure.axes:
        means = {}
        for container in axis.containers:
            heights = [patch.get_height() for patch in container]
            assert sum(heights) == pytest.approx(100)
            centres = [patch.get_x() + patch.get_width() / 2 for patch in container]
            means[container[0].get_label()] = sum(x * h for x, h in zip(centres, heights, strict=True)) / 100
        assert means == {"clean pairs": pytest.approx(0.51, abs=0.02), "poisoned pairs": pytest.approx(0.11, abs=0.02)}


def test_cosines_of_one_epoch_and_no_poison():
    table = pd.DataFrame([pair for pair in pairs("clip", 1) if not pair["is_poison"]])
    figure = cosines(table, history({("a", "clip"): 0}, epochs=1))
    assert [len(axis.containers) for axis in shown(figure)] == [1]


@pytest.mark.parametrize(
    ("defences", "baseline", "chosen"),
    [("x clip y", "clip", "clip x"), ("clip x y", "clip", "clip x"), ("x y", "clip", "x"), ("clip", "clip", "clip")],
)
def test_cosines_are_of_the_baseline_and_the_first_other_defence(defences, baseline, chosen):
    plan = made_up_plan(dict.fromkeys(defences.split(), "clip"), baseline=baseline)
    expected = [f"models/images/{defence}/seed10/cosines.csv" for defence in chosen.split()]
    assert Cosines.inputs("cosines", plan)[1:] == expected


def test_of_repairs_and_given_weights_there_are_no_cosines():
    plan = made_up_plan(dict.fromkeys(("clip", "repaired", "taken", "other"), "clip"))
    repaired, taken = Step("repaired", "repair", {"kind": next(iter(REPAIRS))}), Step("taken", "train", {"kind": GIVEN})
    steps = {"repaired": repaired, "taken": taken}
    plan = dataclasses.replace(plan, models=plan.models | steps)
    expected = [f"models/images/{defence}/seed10/cosines.csv" for defence in ("clip", "other")]
    assert Cosines.inputs("cosines", plan)[1:] == expected
    assert SawTooth.names(dataclasses.replace(plan, runs=[("images", "taken", 10)])) == []
    assert SawTooth.names(dataclasses.replace(plan, runs=[("images", "repaired", 10)])) == ["saw_tooth"]
