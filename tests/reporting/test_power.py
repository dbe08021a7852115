"""What a number of seeds can show: by simulated experiments, and in words."""

import numpy as np
import pytest
from scipy.stats import ttest_ind

from roclip.reporting.power import (
    measured_spread,
    power,
    power_of_targets,
    power_of_trainings,
    seeds_of,
    what_seeds_show,
)
from roclip.reporting.results import pivot
from roclip.reporting.significance import mcnemar
from tests.fixtures.plans import planned
from tests.fixtures.results import result

DRAWS = 1000
TARGETED = {"targeted": {"kind": "targeted", "targets": 16}, "patch": {"kind": "patch"}}


def plan(attacks=("targeted", "patch"), seeds=(0, 1, 2), defences=("clip", "roclip"), **changes):
    runs = [(attack, defence, seed) for attack in attacks for defence in defences for seed in seeds]
    return planned(runs, attack=TARGETED, **changes)


@pytest.mark.parametrize(("n", "by"), [(16, 0.5), (48, 0.2), (48, 0.3), (5, 0.9)])
def test_the_power_of_targets_is_the_share_of_experiments_that_find_the_difference(n, by):
    rng = np.random.default_rng(0)
    first, second = rng.random((DRAWS, n)) < 0.9, rng.random((DRAWS, n)) < 0.9 - by
    counts = zip((first & ~second).sum(1), (~first & second).sum(1), strict=True)
    found = np.mean([one > two and mcnemar(int(one), int(two)) < 0.05 for one, two in counts])
    assert power_of_targets(n, by) == pytest.approx(found, abs=3 * np.sqrt(0.25 / DRAWS))


@pytest.mark.parametrize(("seeds", "by", "spread"), [(2, 0.5, 0.1), (3, 0.3, 0.1), (5, 0.2, 0.1), (10, 0.02, 0.02)])
def test_the_power_of_trainings_is_the_share_of_experiments_that_find_the_difference(seeds, by, spread):
    rng = np.random.default_rng(1)
    first, second = (rng.normal(mean, spread, (DRAWS, seeds)) for mean in (by, 0))
    found = ttest_ind(first, second, axis=1)
    share = np.mean((found.pvalue < 0.05) & (found.statistic > 0))
    assert power_of_trainings(seeds, by, spread) == pytest.approx(share, abs=3 * np.sqrt(0.25 / DRAWS))


def test_before_a_run_it_is_said_what_the_seeds_would_show():
    assert power(plan()) == [
        "Targeted attacks: 3 seeds of 16 targets would show 26 points below a baseline at 90% with 80% power; 20 points need 5 "
        "seeds.",
        "Backdoors: 3 seeds would show 31 points below the baseline with 80% power; with a standard deviation of 10 points "
        "between trainings (assumed), 20 points need 6 seeds.",
    ]


def test_of_an_attack_without_a_number_of_targets_none_is_said():
    runs = [("targeted", "clip", seed) for seed in (0, 1)]
    own = planned(runs, attack={"targeted": {"kind": "my_own"}})
    assert power(own) == []
    assert what_seeds_show(own).startswith("2 seeds: ")


def test_one_seed_of_a_backdoor_shows_nothing_of_the_next_training():
    (text,) = power(plan(["patch"], [0]))
    assert text.startswith("Backdoors: one seed shows nothing of the next training; ")
    assert power_of_trainings(1, 1.0, 0.01) == 0


def test_too_few_targets_show_nothing():
    few = {"targeted": {"kind": "targeted", "targets": 2}}
    (text,) = power(planned([("targeted", "clip", 0)], attack=few))
    assert "1 seed of 2 targets would not show any difference from a baseline at 90%" in text


def test_a_targeted_attack_without_a_number_of_targets_does_not_count():
    own = {"own": {"kind": "own"}}
    assert power(planned([("own", "clip", 0)], attack=own, family={"own": "targeted"})) == []


def test_of_several_targeted_attacks_the_one_with_the_fewest_targets_counts():
    attacks = {name: {"kind": "targeted", "targets": n} for name, n in (("first", 16), ("few", 4), ("last", 9))}
    (text,) = power(planned([(name, "clip", 0) for name in attacks], attack=attacks, family=dict.fromkeys(attacks, "targeted")))
    assert text.startswith("Targeted attacks: 1 seed of 4 targets ")


def test_a_spread_that_was_measured_is_used():
    rows = pivot([row for sd in (0.03, 0.04) for row in result("patch", f"d{sd}", hits=9)])
    spreads = [row | {"attack_success_sd": sd} for row, sd in zip(rows, (0.03, 0.04), strict=True)]
    assert measured_spread(spreads, plan()) == pytest.approx(0.0353553, rel=1e-4)
    assert "of 4 points between trainings (measured here), 20 points need 2 seeds" in power(plan(), 0.0353553)[1]
    assert measured_spread(rows, plan()) is None
    assert measured_spread([row | {"attack_success_sd": 0.0} for row in rows], plan()) is None


def test_variants_and_the_seeds_of_sweeps_do_not_count():
    runs = [("patch", "clip", 0), ("patch", "clip~epochs~4", 1), ("clean", "clip", 3)]
    runs += [("patch~poisons~5", "clip", seed) for seed in (1, 2)]
    assert seeds_of(planned(runs), "backdoor") == 1
    assert seeds_of(planned(runs), "targeted") == 0


def test_what_one_seed_shows_and_what_three():
    assert what_seeds_show(plan(seeds=[0])) == (
        "One seed: the numbers below are directions, not sizes, for another training may end elsewhere. Differences of "
        "targeted attacks are tested on 16 targets; they say nothing of how trainings differ. Of backdoors no difference is "
        "claimed: all images of an evaluation set share the one training. No control is run, so that a defence does more than "
        "weaker training cannot be shown."
    )
    assert what_seeds_show(plan(controls=["half", "roclip"])) == (
        "3 seeds: the sizes of the numbers below are as sure as their intervals are short. Differences of targeted attacks are "
        "tested on 48 targets. Differences of backdoors are tested on 3 trainings each, whatever the number of images. That a "
        "defence defends is said only where it does more than roclip at no lower accuracy."
    )
    assert what_seeds_show(planned([("clean", "clip", 0)])) == "No attack is run, so nothing is claimed of any defence."
