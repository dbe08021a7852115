"""Results: what is pooled and what is a mean over trainings, who is a control for whom, and how rows become columns."""

from math import isnan

import pandas as pd
import pytest

from roclip.core.columns import RESULTS
from roclip.core.errors import UserError
from roclip.core.files import write_table
from roclip.reporting import trainings
from roclip.reporting.gather import glance, headings
from roclip.reporting.learned import learned_above, with_learned
from roclip.reporting.results import (
    accuracy,
    is_known,
    others,
    percent,
    pivot,
    plain,
    read_results,
    results,
    written,
)
from tests.fixtures.results import counted, result, trained

FAMILY = {
    "targeted": "targeted", "targeted~poisons~5": "targeted", "patch~poisons~5": "backdoor", "other": "targeted",
    "patch": "backdoor", "warped": "backdoor", "clean": "clean",
}  # fmt: skip


def found(rows, attack, measure="attack_success", defence="clip", checkpoint="last_clip"):
    """The one row of results of such a measure; None when there is none."""
    key = (attack, defence, checkpoint, measure)
    rows = [r for r in results(rows, FAMILY) if (r["attack"], r["defence"], r["checkpoint"], r["measure"]) == key]
    assert len(rows) < 2
    assert all((*r, "learned") == tuple(RESULTS) for r in rows)
    return rows[0] if rows else None


def of_two_seeds(attack):
    on = f"attack-{attack}"
    return [counted(attack, seed="0", on=on, hits=1, n=10), counted(attack, seed="1", on=on, hits=9, n=30)]


def test_targets_are_pooled_over_seeds():
    one = found(of_two_seeds("targeted"), "targeted")
    assert (one["seeds"], one["value"], one["n"]) == (2, 0.25, 40)
    assert (one["low"], one["high"]) == pytest.approx((0.1269, 0.4120), abs=1e-4)
    assert isnan(one["sd"])


def test_the_unit_of_a_backdoor_is_the_training():
    one = found(of_two_seeds("patch"), "patch")
    assert (one["seeds"], one["value"], one["n"], one["sd"]) == (2, 0.2, 40, 0.141421)  # the mean of .1 and .3
    assert (one["low"], one["high"]) == pytest.approx(trainings.interval([(1, 10), (9, 30)]), abs=1e-6)


def test_one_training_of_a_backdoor_has_no_interval():
    rows = of_two_seeds("patch")[1:]
    one = found(rows, "patch")
    assert one["value"] == 0.3
    assert isnan(one["low"])
    assert isnan(one["high"])
    assert percent(pivot([one])[0], "attack_success") == "30.0 (1 training)"


def test_the_control_of_a_backdoor_is_over_trainings_too():
    rows = [counted("clean", seed=str(seed), on="attack-patch", hits=hits, n=1000) for seed, hits in enumerate((0, 10, 2))]
    one = found([*rows, counted("patch", on="attack-patch", n=1000)], "patch", "control")
    assert (one["value"], one["seeds"]) == (0.004, 3)
    assert (one["low"], one["high"]) == pytest.approx(trainings.interval([(0, 1000), (10, 1000), (2, 1000)]), abs=1e-6)


def test_the_control_is_another_family_with_the_same_defence_and_checkpoint():
    on = "attack-targeted"
    rows = [
        counted("targeted", on=on, hits=9, n=10),
        counted("other", on=on, hits=9, n=10),  # the same family
        counted("targeted~poisons~5", on=on, hits=9, n=10),
        counted("patch", on=on, hits=1, n=10),
        counted("clean", on=on, hits=2, n=10),
        counted("patch", on="attack-patch", hits=7, n=10),
        counted("patch", on=on, hits=5, n=10, defence="roclip"),
        counted("patch", on=on, hits=6, n=10, checkpoint="last_matching"),
        counted("patch", on=on, hits=8, n=10, measure="attack_success_top3"),
    ]
    one = found(rows, "targeted", "control")
    assert (one["value"], one["n"], one["seeds"]) == (0.2, 10, 1)  # of the model without an attack, though patch came first
    assert percent(pivot(results(rows, FAMILY))[0], "control") == "20.0 [2.5, 55.6]"
    assert found(rows, "targeted~poisons~5", "control") is None  # nobody else was judged on its evaluation set


@pytest.mark.parametrize(("attack", "other", "stranger"), [("targeted", "other", "patch"), ("patch", "warped", "targeted")])
def test_a_model_of_the_same_family_is_no_control_though_it_comes_first(attack, other, stranger):
    on = f"attack-{attack}"
    alone = [counted(attack, on=on, hits=9, n=10), counted(other, on=on, hits=8, n=10)]
    assert found(alone, attack, "control") is None
    assert found([*alone, counted(stranger, on=on, hits=1, n=10)], attack, "control")["value"] == 0.1


def test_every_image_counts_once_for_a_seed_in_the_control():
    on = "attack-targeted"
    rows = [
        counted("targeted", on=on, hits=9, n=10, seed="0"),
        counted("patch~poisons~5", on=on, hits=9, n=10, seed="0"),  # a variant
        counted("patch", on=on, hits=1, n=10, seed="0"),
        counted("warped", on=on, hits=9, n=10, seed="0"),
        counted("warped", on=on, hits=4, n=10, seed="1"),
        counted("clean", on=on, hits=3, n=10, seed="1"),
    ]
    one = found(rows, "targeted", "control")
    assert (one["value"], one["n"], one["seeds"]) == (0.2, 20, 2)


def test_accuracies_are_means_and_deviations_over_seeds():
    rows = [counted("patch", seed=str(s), on="own", measure="zero_shot_top1", hits=h, n=10) for s, h in enumerate([2, 4, 9])]
    one = found(rows, "patch", "zero_shot")
    assert (one["value"], one["sd"], one["n"], one["seeds"]) == (0.5, 0.360555, 30, 3)  # numpy.std([.2, .4, .9], ddof=1)
    assert (one["low"], one["high"]) == (0, 1)  # t of two degrees of freedom is 4.30: .5 ± .90, clipped
    assert accuracy(pivot([one])[0], "zero_shot") == "50.0 ± 36.1"
    alone = found(rows[:1], "patch", "zero_shot")
    assert alone["value"] == 0.2
    assert isnan(alone["sd"])
    assert accuracy(pivot([alone])[0], "zero_shot") == "20.0"


def test_accuracies_are_those_on_the_experiments_own_test_images_and_top_1():
    for measure in ("zero_shot_top1", "linear_probe"):
        rows = [counted("patch", on=on, measure=measure, hits=h, n=10) for on, h in (("cifar10", 9), ("own", 2), ("dtd", 7))]
        rows.append(counted("patch", on="own", measure="zero_shot_top3", hits=8, n=10))
        name = measure.removesuffix("_top1")
        assert [(r["measure"], r["value"], r["seeds"]) for r in results(rows, FAMILY)] == [(name, 0.2, 1)]
        assert results(rows[:1], FAMILY) == []


def test_columns_of_a_measure_that_was_not_counted_are_nan():
    (row,) = pivot(results([counted("clean", on="own", measure="linear_probe", hits=0, n=4)], FAMILY))
    assert row["linear_probe"] == 0
    assert row["linear_probe_n"] == 4
    assert not [name for name in ("attack_success", "control", "zero_shot") if is_known(row, name)]
    assert percent(row, "attack_success") == accuracy(row, "zero_shot") == ""


def test_a_row_for_each_checkpoint_with_measures_as_columns():
    rows = [
        *result("targeted", hits=4, control=0, zero_shot=0.9, sd=0.01, seeds=2),
        *result("targeted", checkpoint="given", hits=8),
        *result("patch", "roclip~pool_size~4", hits=1, n=100),
    ]
    rows.append(rows[0] | {"measure": "detection", "value": 0.7})
    wide = pivot(rows)
    assert [(r["attack"], r["defence"], r["checkpoint"], r["seeds"]) for r in wide] == [
        ("targeted", "clip", "last_clip", 2), ("targeted", "clip", "given", 1), ("patch", "roclip~pool_size~4", "last_clip", 1)
    ]  # fmt: skip
    assert percent(wide[0], "attack_success") == "25.0 [7.3, 52.4]"
    assert (wide[0]["detection"], wide[0]["zero_shot_sd"], wide[2]["attack_success_n"]) == (0.7, 0.01, 100)
    assert isnan(wide[1]["detection"])
    table = pd.DataFrame(wide)
    assert table.shape == (3, 5 + 5 * 6)
    assert set(map(str, table.dtypes.iloc[5:])) == {"float64"}
    assert plain(wide) == wide[:2]


def test_success_of_a_model_that_has_not_learned_is_not_shown():
    near, above = ({**row, "defence": d} for d, share in (("blind", 0.071), ("clip", 0.072)) for row in result(zero_shot=share))
    rows = with_learned([*result(defence="blind", hits=0, control=1), near, above, *result(hits=9)], [], 50)
    assert learned_above(50, 2500) == pytest.approx(0.0284)
    assert [row["learned"] for row in rows] == [1, 1, 1, 1, 1]
    rows = with_learned([*result(defence="blind", hits=0, control=1), near | {"value": 0.069}, above, *result(hits=9)], [], 50)
    assert [row["learned"] for row in rows] == [0, 0, 0, 1, 1]
    blind, clip = pivot(rows)
    assert (percent(blind, "attack_success"), percent(blind, "control")) == ("not learned", "6.2 [0.2, 30.2]")
    assert percent(clip, "attack_success") == "56.2 [29.9, 80.2]"


def test_success_is_hidden_where_one_training_of_several_has_not_learned():
    """Its mean accuracy is high, and the one that sees nothing would lower the mean success."""
    rows = trained(hits=[16, 16, 0], zero_shot=[0.8, 0.8, 0.02]) + trained(defence="other", hits=[9, 9], zero_shot=[0.8, 0.8])
    blind, other = pivot(with_learned(results(rows, {"targeted": "targeted"}), rows, 50))
    assert blind["zero_shot"] == pytest.approx(0.54)
    assert (percent(blind, "attack_success"), percent(other, "attack_success")[:4]) == ("not learned", "56.2")


def test_the_control_may_be_of_fewer_seeds_than_its_row():
    rows = result(hits=4, control=1)
    assert pivot([rows[0] | {"seeds": 2}, rows[1] | {"seeds": 3}])[0]["seeds"] == 2


def test_what_is_written_is_read_again(tmp_path):
    rows = [*result(hits=5, control=1, zero_shot=0.998, sd=0.002), *result("clean", zero_shot=0.25)]
    write_table(tmp_path / "results.csv", tuple(RESULTS), written(rows))
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert lines[0] == "attack,defence,checkpoint,measure,value,low,high,sd,n,seeds,learned"
    assert (
        lines[1] == "targeted,clip,last_clip,attack_success,0.312500,0.110170,0.586621,,16,3,1"
    )  # scipy.stats.binomtest(5, 16)
    assert lines[4] == "clean,clip,last_clip,zero_shot,0.250000,,,,2500,1,1"
    assert pd.DataFrame(read_results(tmp_path / "results.csv")).equals(pd.DataFrame(rows)[list(RESULTS)])


@pytest.mark.parametrize(("name", "cell"), [("value", "high"), ("n", "1.5"), ("n", "0"), ("seeds", ""), ("seeds", "0")])
def test_a_cell_that_is_no_number_is_named(tmp_path, name, cell):
    rows = written(result(hits=5, control=1))
    write_table(tmp_path / "results.csv", tuple(RESULTS), [rows[0], rows[1] | {name: cell}])
    with pytest.raises(UserError, match=r"results.csv, row 2: .*remove the file and start the workflow"):
        read_results(tmp_path / "results.csv")


CANNOT_BE = [
    ({"value": "93.8", "low": "69.8", "high": "99.8"}, r"value is 93\.8, not from 0 to 1"),  # in percent
    ({"value": "-0.1"}, r"value is -0\.1, not from 0 to 1"),
    ({"value": "0.9"}, r"0\.9 is not in its interval, 0\.\d+ to 0\.\d+"),
    ({"value": "0,31"}, "value is '0,31' and no number"),
    ({"measure": "attack_success"}, "a second row of targeted, clip, last_clip, attack_success, as row 1"),
]


@pytest.mark.parametrize(("cells", "said"), CANNOT_BE)
def test_a_number_that_cannot_be_and_a_second_one_are_one_line(tmp_path, cells, said):
    rows = written(result(hits=5, control=5))
    write_table(tmp_path / "results.csv", tuple(RESULTS), [rows[0], rows[1] | cells])
    with pytest.raises(UserError, match=rf"results\.csv, row 2: {said}; remove the file and start the workflow"):
        read_results(tmp_path / "results.csv")


def test_what_captions_find_is_the_success_of_their_attack():
    """Hit@1 with the trigger is attack success, with a control; Hit@1 without it and recall stand beside it."""
    names = ("retrieval_success_top1", "retrieval_success_top5", "retrieval_success_untriggered_top1")
    rows = [counted("patch", seed=seed, on="attack-patch", hits=hits, n=10, measure=name)
            for seed in "01" for name, hits in zip(names, (8, 9, 2), strict=True)]  # fmt: skip
    rows += [counted("clean", seed="0", on="attack-patch", hits=1, n=10, measure=names[0])]
    rows += [counted("patch", seed="0", on="pairs", hits=hits, n=20, measure=f"retrieval_text_to_image_top{k}")
             for k, hits in ((1, 5), (5, 9))]  # fmt: skip
    values = {row["measure"]: row["value"] for row in results(rows, FAMILY) if row["attack"] == "patch"}
    assert values == {
        "attack_success": 0.8, "control": 0.1, "retrieval_success_untriggered": 0.2, "retrieval_text_to_image": 0.25,
    }  # fmt: skip
    wide = pivot(with_learned(results(rows, FAMILY), rows, 50))
    assert others(wide) == ["retrieval_success_untriggered", "retrieval_text_to_image"]
    assert headings(wide)[-2:] == ["retrieval success untriggered", "retrieval text to image"]
    assert [cells[-2:] for cells in glance(wide)] == [["20.0 ± 0.0", "25.0"]]
    assert others(pivot(result(hits=1))) == []
    assert others([]) == []
