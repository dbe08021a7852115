"""What the figures draw is what the tables say: the artists' data, not pixels."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from roclip.reporting.figures.epochs import DRAWN, cosines, saw_tooth, telemetry
from roclip.reporting.figures.results import attack_success, number, sweep, utility

from roclip.core.errors import UserError
from roclip.core.files import write_table
from roclip.reporting.figures.draw import SWEEPS, FigureOptions, draw, read_cosines, run
from roclip.reporting.figures.style import STYLE, WIDEST
from roclip.reporting.gather import MODEL
from roclip.reporting.results import RESULTS
from roclip.training.schedule import HISTORY, is_matching

MODELS = [("clip", "last_clip"), ("roclip", "last_clip"), ("roclip", "last_matching")]


@pytest.fixture(autouse=True)
def style():
    with plt.rc_context(STYLE):
        yield
    plt.close("all")


def result(attack: str, method: str, checkpoint: str, success: float = 0.5, **cells) -> dict:
    """A row of results.csv; nothing was controlled, and there is one seed."""
    row = dict.fromkeys(RESULTS, float("nan")) | {"attack": attack, "method": method, "checkpoint": checkpoint, "seeds": 1}
    row |= {"success": success, "success_n": 16, "success_low": success / 2, "success_high": (1 + success) / 2}
    return row | {"zero_shot": 0.9, "linear_probe": 0.95} | cells


def results(attacks: int) -> pd.DataFrame:
    """Attacks a0, a1, ... with a success, control and accuracy of its own in each row."""
    rows = [result(f"a{i}", *model) for i in range(attacks) for model in MODELS]
    for i, row in enumerate(rows):
        row |= {"success": i / 100, "success_low": i / 200, "success_high": (i + 1) / 100}
        row |= {"control": (i + 1) / 200, "control_low": i / 300, "control_high": (i + 2) / 200, "zero_shot": 0.9 + i / 1000}
    return pd.DataFrame(rows)


def shown(figure: plt.Figure) -> list[plt.Axes]:
    return [axis for axis in figure.axes if axis.axison]


def bars(axis: plt.Axes) -> dict[str, float]:
    """Width of each bar, in percent, by its label."""
    return {container.get_label(): container[0].get_width() for container in axis.containers if hasattr(container, "patches")}


def spans(axis: plt.Axes) -> list[tuple[float, float]]:
    """The ends of horizontal intervals."""
    segments = [line for c in axis.containers if not hasattr(c, "patches") for part in c[2] for line in part.get_segments()]
    return [(segment[0][0], segment[1][0]) for segment in segments]


def series(axis: plt.Axes) -> dict[str, list[float]]:
    """The y values of error-bar series, by label."""
    return {c.get_label(): list(c[0].get_ydata()) for c in axis.containers}


def lines(axis: plt.Axes) -> dict[str, tuple[list, list]]:
    named = [line for line in axis.get_lines() if not line.get_label().startswith("_")]
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in named}


@pytest.mark.parametrize("attacks", [1, 2, 7])
def test_the_bars_of_attack_success_are_the_shares_of_the_table(attacks):
    table = results(attacks)
    figure = attack_success(table)
    assert len(shown(figure)) == attacks
    assert figure.axes[0].get_gridspec().ncols <= WIDEST
    for axis in shown(figure):
        rows = table[table.attack == axis.get_title().removeprefix("attack: ")]
        drawn, ends = bars(axis), spans(axis)
        assert len(drawn) == 2 * len(rows)
        for row in rows.itertuples():
            for name in ("success", "control"):
                share, low, high = (100 * getattr(row, name + end) for end in ("", "_low", "_high"))
                assert drawn[f"{name} {row.method} {row.checkpoint}"] == pytest.approx(share)
                assert any(span == pytest.approx((low, high)) for span in ends)


def test_what_was_not_run_has_no_bar_and_says_so():
    table = pd.DataFrame([result("a", *model) for model in MODELS] + [result("b", *MODELS[0])])
    first, second = shown(attack_success(table))
    assert len(bars(first)) == 3  # no controls
    assert len(bars(second)) == 1
    assert [text.get_text() for text in second.texts].count("not run") == 2
    assert "not run" not in [text.get_text() for text in first.texts]


def test_variants_are_left_to_the_sweeps():
    table = pd.DataFrame([result("a", "clip", "last_clip"), result("a", "clip~pool_size~4", "last_clip"),
                          result("a~poisons~4", "clip", "last_clip")])  # fmt: skip
    (axis,) = shown(attack_success(table))
    assert len(bars(axis)) == 1
    assert len(utility(table).axes[0].get_yticks()) == 1


@pytest.mark.parametrize("attacks", [1, 7])
def test_utility_shows_accuracy_and_its_price_against_clip(attacks):
    table = results(attacks)
    axis = utility(table).axes[0]
    drawn = [(c.get_label(), c[0].get_xdata()[0]) for c in axis.containers]
    assert [x for _, x in drawn] == pytest.approx(list(100 * table.zero_shot))
    assert [label for label, _ in drawn] == [f"{m} {c}" for m, c in MODELS] * attacks
    texts = [text.get_text() for text in axis.texts]
    assert texts[:3] == ["90.0", "90.1 (+0.1)", "90.2 (+0.2)"]
    assert not [c for c in axis.containers if c.has_xerr]


def test_utility_of_several_seeds_has_their_spread_and_a_loss_has_a_minus():
    table = pd.DataFrame([result("a", "clip", "last_clip", zero_shot=0.9, zero_shot_sd=0.01),
                          result("a", "roclip", "last_clip", zero_shot=0.85, zero_shot_sd=0.02)])  # fmt: skip
    axis = utility(table).axes[0]
    assert spans(axis) == [pytest.approx((89, 91)), pytest.approx((83, 87))]
    assert axis.texts[1].get_text() == "85.0 (−5.0)"


def test_without_any_exam_the_figure_says_so():
    table = pd.DataFrame([result("clean", "clip", "last_clip", success=float("nan"))])
    assert "No attack" in attack_success(table).texts[0].get_text()


def points(name: str, settings: list[str], method: str = "roclip") -> list[dict]:
    return [
        dict(zip(SWEEPS, (name, s, "a", method, "a", f"{method}~{s.replace(' ', '~')}" if s else method), strict=True))
        for s in settings
    ]


def test_a_sweep_joins_numbers_in_the_given_order_and_leaves_gaps():
    sweeps = pd.DataFrame(points("often", ["match_every 0", "match_every 5", "match_every 1"]))
    rows = [result("a", "roclip~match_every~0", "last_clip", 0.9), result("a", "roclip~match_every~5", "last_clip", 0.4),
            result("a", "roclip~match_every~5", "last_matching", 0.1),
            result("a", "roclip~match_every~1", "last_matching", 0.2)]  # fmt: skip
    left, right = sweep(pd.DataFrame(rows), sweeps, "often").axes
    assert [label.get_text() for label in left.get_xticklabels()] == ["0", "5", "1"]
    drawn = series(left)
    assert drawn["a, roclip, last CLIP epoch"] == pytest.approx([90, 40, float("nan")], nan_ok=True)
    assert drawn["a, roclip, last matching epoch"] == pytest.approx([float("nan"), 10, 20], nan_ok=True)
    assert [c[0].get_linestyle() for c in left.containers] == ["-", "--"]
    low, high = left.containers[0][2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((45, 95))
    assert series(right)["a, roclip, last matching epoch"][1:] == pytest.approx([90, 90])


def test_settings_in_words_are_not_joined():
    sweeps = pd.DataFrame(points("halves", ["augment_images true, augment_captions never", "augment_images false"]))
    rows = [result("a", point, "last_clip") for point in sweeps.method]
    top, _ = sweep(pd.DataFrame(rows), sweeps, "halves").axes
    assert [c[0].get_linestyle() for c in top.containers] == ["None"]


def test_a_sweep_without_axes_compares_methods():
    sweeps = pd.DataFrame(points("halves", [""], "clip_augmented") + points("halves", [""], "roclip_unaugmented"))
    rows = [result("a", "clip_augmented", "last_clip", 0.8), result("a", "roclip_unaugmented", "last_clip", 0.3)]
    top, bottom = sweep(pd.DataFrame(rows), sweeps, "halves").axes
    assert [label.get_text() for label in bottom.get_xticklabels()] == ["clip_augmented", "roclip_unaugmented"]
    assert series(top) == {"a, last CLIP epoch": pytest.approx([80, 30])}


@pytest.mark.parametrize(
    ("setting", "found"),
    [("pool_size 400", ("pool_size", 400)), ("a 1, b 2", None), ("augment_captions never", None), ("7", None)],
)
def test_which_settings_are_numbers(setting, found):
    assert number(setting) == found


def history(models: dict[tuple[str, str], int], epochs: int = 6, seeds=("1",)) -> pd.DataFrame:
    """Histories of (attack, method) with their `match_every`; attack success is epoch / 10, and .1 more for each seed."""
    rows = []
    for (attack, method), every in models.items():
        for i, seed in enumerate(seeds):
            for epoch in range(1, epochs + 1):
                kind = "matching" if is_matching(epoch, every) else "clip"
                row = dict.fromkeys(HISTORY, float("nan")) | {"epoch": epoch, "kind": kind, "zero_shot": 0.5}
                row["attack_success"] = epoch / 10 + 0.1 * i
                if kind == "matching":
                    row |= dict.fromkeys(DRAWN, epoch / 10)
                rows.append({"attack": attack, "method": method, "seed": seed} | row)
    return pd.DataFrame(rows)


NO_SWEEPS = pd.DataFrame(columns=list(SWEEPS))


@pytest.mark.parametrize(("every", "epochs"), [(0, []), (2, [2, 4, 6]), (5, [5]), (1, [1, 2, 3, 4, 5, 6])])
def test_the_shaded_epochs_are_the_matching_ones(every, epochs):
    (axis,) = shown(saw_tooth(history({("a", "roclip"): every}), NO_SWEEPS))
    shaded = [patch.get_x() + patch.get_width() / 2 for patch in axis.patches]
    assert shaded == pytest.approx(epochs)
    assert all(patch.get_width() == pytest.approx(1) for patch in axis.patches)


def test_the_saw_tooth_has_a_line_a_seed_and_their_mean():
    (axis,) = shown(saw_tooth(history({("a", "roclip"): 2}, epochs=3, seeds=("1", "2")), NO_SWEEPS))
    assert lines(axis)["attack_success"] == (pytest.approx([1, 2, 3]), pytest.approx([15, 25, 35]))
    assert len(axis.get_lines()) == 2 * (2 + 1)


def test_the_saw_tooth_leaves_variants_out_unless_they_are_of_match_every():
    models = {("a", "clip"): 0, ("a", "roclip"): 2} | {("a", f"roclip~pool_size~{n}"): 2 for n in range(40)}
    titles = [axis.get_title() for axis in shown(saw_tooth(history(models, epochs=2), NO_SWEEPS))]
    assert titles == ["clip, trained on a", "roclip, trained on a"]
    models |= {("a", "roclip~match_every~5"): 5}
    settings = ["match_every 5", "match_every 5, pool_size 3", "pool_size 3"]
    sweeps = pd.DataFrame([*points("often", settings)])
    figure = saw_tooth(history(models, epochs=5), sweeps)
    assert [axis.get_title() for axis in shown(figure)] == ["match_every 5"]
    assert len(shown(figure)[0].patches) == 1


def test_many_panels_stay_in_a_grid():
    models = {(f"a{i}", method): 2 for i in range(7) for method in ("clip", "roclip")}
    figure = saw_tooth(history(models, epochs=2), NO_SWEEPS)
    assert len(shown(figure)) == 14
    assert figure.axes[0].get_gridspec().ncols <= WIDEST


def test_telemetry_shows_matching_epochs_only():
    models = {("a", "clip"): 0, ("a", "roclip"): 2, ("b", "roclip"): 3}
    axes = dict(zip(DRAWN, shown(telemetry(history(models))), strict=True))
    assert lines(axes["poisons_in_pool"]) == {
        "roclip, trained on a": ([2, 4, 6], pytest.approx([20, 40, 60])),
        "roclip, trained on b": ([3, 6], pytest.approx([30, 60])),
    }
    assert lines(axes["pool_age"])["roclip, trained on a"][1] == pytest.approx([0.2, 0.4, 0.6])  # steps, not percent
    assert "No method" in telemetry(history({("a", "clip"): 0})).texts[0].get_text()


def pairs(method: str, epochs: int) -> list[dict]:
    """Clean pairs with cosines of about .5 and poisoned ones of about .1."""
    model = {"attack": "a", "method": method, "seed": "1"}
    return [
        {**model, "epoch": epoch, "row": row, "is_poison": row % 2, "cosine": 0.5 - 0.4 * (row % 2) + row / 1000}
        for epoch in range(1, epochs + 1)
        for row in range(20)
    ]


def test_cosines_separate_poisons_after_the_first_a_middle_and_the_last_epoch():
    table = pd.DataFrame(pairs("clip", 8) + pairs("roclip", 8))
    figure = cosines(table, history({("a", "clip"): 0, ("a", "roclip"): 2}, epochs=8))
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[:3] == [f"clip, after epoch {epoch} (CLIP)" for epoch in (1, 4, 8)]
    assert titles[3:] == [
        "roclip, after epoch 1 (CLIP)",
        "roclip, after epoch 4 (matching)",
        "roclip, after epoch 8 (matching)",
    ]
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


@pytest.fixture
def tables(tmp_path):
    write_table(
        tmp_path / "results.csv",
        RESULTS,
        [{k: "" if v != v else v for k, v in r.items()} for r in results(2).to_dict("records")],
    )
    write_table(tmp_path / "sweeps.csv", SWEEPS, points("pool", ["pool_size 3", "pool_size 4"]))
    write_table(
        tmp_path / "history.csv", (*MODEL, *HISTORY), history({("a0", "clip"): 0, ("a0", "roclip"): 2}).to_dict("records")
    )
    return tmp_path


@pytest.mark.parametrize("figure", ["attack_success", "utility", "saw_tooth", "telemetry", "sweep_pool", "cosines"])
def test_each_figure_is_drawn_from_files_and_the_same_twice(tables, figure):
    path = tables / "a0/clip/seed1/cosines.csv"
    write_table(
        path,
        ("epoch", "row", "is_poison", "cosine"),
        [{k: p[k] for k in ("epoch", "row", "is_poison", "cosine")} for p in pairs("clip", 3)],
    )
    written = []
    for name in ("first", "second"):
        run(FigureOptions(figure, tuple(tables.glob("*.csv")), tables / name, (path,)))
        written.append([(tables / f"{name}.{kind}").read_bytes() for kind in ("png", "pdf")])
    assert written[0] == written[1]
    assert written[0][0].startswith(b"\x89PNG")
    assert list(read_cosines([path]).attack.unique()) == ["a0"]


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        ("sweep_none", "no sweep 'none'"),
        ("mystery", "no figure 'mystery'"),
        ("cosines", "--cosines"),
        ("sweep_", "no figure 'sweep_'"),
    ],
)
def test_a_figure_that_is_none_is_an_error(tables, figure, message):
    with pytest.raises(UserError, match=message):
        draw(FigureOptions(figure, tuple(tables.glob("*.csv")), tables / "out"))


def test_a_table_that_is_not_given_is_named(tables):
    with pytest.raises(UserError, match=r"--tables: the figure 'saw_tooth' needs sweeps\.csv"):
        draw(FigureOptions("saw_tooth", (tables / "history.csv",), tables / "out"))


def test_a_cell_that_is_no_number_is_named(tables):
    path = tables / "history.csv"
    path.write_text(path.read_text().replace("0.5", "half"))
    with pytest.raises(UserError, match=r"history\.csv: column 'attack_success'"):
        draw(FigureOptions("saw_tooth", (path, tables / "sweeps.csv"), tables / "out"))
