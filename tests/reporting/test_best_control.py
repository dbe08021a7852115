"""A defence is said to defend only beyond every control that is as accurate, and seldom where it is no better."""

from math import hypot

import numpy as np
import pytest

from attacks import ATTACKS
from roclip.experiment.config import check
from roclip.experiment.plan import Step
from roclip.reporting.best_control import lead
from roclip.reporting.results import pivot
from tests.fixtures.claims import models, said, texts
from tests.fixtures.configs import CONFIG
from tests.fixtures.results import result, trained

CONTROLS = {"controls": ["half", "random"]}


def sentence(*of, **plan):
    (text,) = texts("best_control", models(*of), **(CONTROLS | plan))
    return text


def test_where_no_control_was_run_it_is_said_and_what_to_add():
    rows = models(trained(hits=[16]), trained(defence="roclip", hits=[0]))
    text = "No control was run: whether the defence or weaker training lowers success cannot be told. "
    assert texts("best_control", rows, controls=["half", "random"]) == [text + "Add half to defences."]
    assert texts("best_control", rows) == [text + "Add a defence such as half to defences and to controls."]


def test_controls_without_a_defence_judge_nothing():
    text = "Only controls were run, and no defence that they could judge. Add one, such as roclip, to defences."
    assert texts("best_control", trained(hits=[16]), **CONTROLS) == []
    assert texts("best_control", models(trained(hits=[16]), trained(defence="half", hits=[16])), **CONTROLS) == [text]


def test_a_defence_that_is_attacked_less_at_no_lower_accuracy():
    text = sentence(
        trained(defence="half", hits=[12, 13], zero_shot=[0.9, 0.91]),
        trained(defence="roclip", hits=[1, 0], zero_shot=[0.9, 0.9]),
    )
    assert text == (
        "RoCLIP defends beyond the best control, half: targeted attack success (ASR) is 78.1% [60.0, 90.7] with half and 3.1% "
        "[0.1, 16.2] with RoCLIP at the last CLIP epoch, zero-shot accuracy 90.5% (sd 0.7) and 90.0% (sd 0.0) (p < 0.0001, "
        "Holm-corrected over 1 such claim)."
    )


def test_the_control_with_the_least_success_decides():
    half, random = trained(defence="half", hits=[16], zero_shot=[0.9]), trained(defence="random", hits=[2], zero_shot=[0.9])
    text = sentence(half, random, trained(defence="roclip", hits=[0], zero_shot=[0.9]))
    assert text.startswith(
        "The data do not show that RoCLIP defends beyond the best control, random, of 2 controls of no lower accuracy the one "
        "with the least: targeted attack success (ASR) is 12.5%"
    )
    assert "p = 0.5, Holm-corrected over 1 such claim)" in text


def test_a_less_accurate_control_does_not_count():
    half, random = trained(defence="half", hits=[16], zero_shot=[0.9]), trained(defence="random", hits=[0], zero_shot=[0.5])
    assert sentence(half, random, trained(defence="roclip", hits=[0], zero_shot=[0.9])).startswith(
        "RoCLIP defends beyond the best control, half:"
    )
    assert sentence(random, trained(defence="roclip", hits=[0], zero_shot=[0.9])) == (
        "Under the targeted attack no control that was run is as accurate as RoCLIP at the last CLIP epoch: whether it defends "
        "beyond weaker training cannot be told."
    )


def test_against_more_accurate_controls_weaker_training_may_be_the_reason():
    text = sentence(trained(defence="half", hits=[16], zero_shot=[0.9]), trained(defence="roclip", hits=[0], zero_shot=[0.5]))
    assert text.startswith(
        "RoCLIP is attacked less than the best control, half, but RoCLIP is less accurate, so weaker training may be the "
        "reason:"
    )
    random = trained(defence="random", hits=[16], zero_shot=[0.5])
    rows = trained(defence="half", hits=[16], zero_shot=[0.9]), random, trained(defence="roclip", hits=[0], zero_shot=[0.5])
    assert sentence(*rows).startswith("RoCLIP defends beyond the best control, half, of 2 controls")


def test_a_control_that_is_more_accurate_by_less_than_noisy_trainings_can_tell_is_a_reason_all_the_same():
    noisy, close = (
        trained(defence="half", hits=[14, 15, 14], zero_shot=shares) for shares in ([0.6, 0.48, 0.72], [0.47, 0.37, 0.57])
    )
    roclip = trained(defence="roclip", hits=[1, 0, 1], zero_shot=[0.45, 0.35, 0.55])
    assert lead(*(pivot(result(zero_shot=mean, sd=sd, seeds=3))[0] for mean, sd in ((0.6, 0.12), (0.45, 0.1)))) < 2
    assert "but RoCLIP is less accurate, so weaker training may be the reason" in sentence(noisy, roclip)
    assert sentence(close, roclip).startswith("RoCLIP defends beyond the best control, half:")


def recipes(stage: str) -> dict[str, Step]:
    """`half`, a training, and two recipes with such a step."""
    train = {"kind": "clip"}
    with_step = {
        "filter": lambda name: Step(name, "train", train, filter="kept"),
        "repair": lambda name: Step(name, "repair", {"kind": "finetune"}),
    }[stage]
    return {"half": Step("half", "train", train), **{name: with_step(name) for name in ("ours", "alike")}}


@pytest.mark.parametrize(("step", "example"), [("repair", "finetuned"), ("filter", "random_removal")])
def test_of_a_repair_or_filter_nothing_is_claimed_without_a_control_that_has_such_a_step(step, example):
    kept = {"kept": Step("kept", "filter", {"kind": "random"})}
    plan = {"models": recipes(step), "filters": kept, "controls": ["half", "alike"]}
    half, ours = trained(defence="half", hits=[16], zero_shot=[0.9]), trained(defence="ours", hits=[0], zero_shot=[0.9])
    assert sentence(half, ours, **plan) == (
        f"Under the targeted attack no control with a {step} was run beside ours at the last CLIP epoch: whether it defends "
        f"beyond an ordinary {step} cannot be told. Add one, such as {example}, to defences and to controls."
    )
    alike = trained(defence="alike", hits=[16], zero_shot=[0.9])
    assert sentence(half, alike, ours, **plan).startswith("ours defends beyond the best control, ")
    alike = trained(defence="alike", hits=[0], zero_shot=[0.8])  # as good a defence, and less accurate: it does not count
    assert sentence(half, alike, ours, **plan) == (
        f"Under the targeted attack no control with a {step} that was run is as accurate as ours at the last CLIP epoch: "
        f"whether it defends beyond an ordinary {step} cannot be told."
    )


def test_a_higher_success_is_no_defence():
    text = sentence(trained(defence="half", hits=[0], zero_shot=[0.9]), trained(defence="roclip", hits=[16], zero_shot=[0.9]))
    assert text.startswith("The data do not show that RoCLIP defends beyond the best control, half:")
    assert "(p = 1, " in text


def test_nothing_is_claimed_of_one_training_of_a_backdoor_nor_of_what_learned_nothing():
    half, ours = (trained("patch", name, hits=[hits], zero_shot=[0.9], n=1000) for name, hits in (("half", 990), ("roclip", 0)))
    assert sentence(half, ours).startswith(
        "Of one training each it is not claimed that RoCLIP defends beyond the best control, half:"
    )
    unlearned = trained("patch", "roclip", hits=[0], zero_shot=[0.02], n=1000)
    assert "best_control" not in said(models(half, unlearned), **CONTROLS)


def test_of_an_accuracy_that_is_not_known_nothing_is_told():
    assert "no control that was run is as accurate" in sentence(
        trained(defence="half", hits=[16]), trained(defence="roclip", hits=[0])
    )


def test_several_claims_are_a_family():
    half, one, two = (
        trained(defence=name, hits=[hits], zero_shot=[0.9]) for name, hits in (("half", 16), ("a", 10), ("b", 10))
    )
    assert sentence(half, one).endswith("(p = 0.031, Holm-corrected over 1 such claim).")
    both = texts("best_control", models(half, one, two), **CONTROLS)
    assert all("do not show" in text and "(p = 0.062, Holm-corrected over 2 such claims)" in text for text in both)


@pytest.mark.parametrize(("sd", "seeds", "errors"), [(0.03, 3, (0.0173205, 0.0173205)), (0.0, 3, (0.006, 0.0071414))])
def test_an_accuracys_error_is_the_larger_of_trainings_and_images(sd, seeds, errors):
    first, second = (pivot(result(zero_shot=share, sd=sd, seeds=seeds))[0] for share in (0.9, 0.85))
    assert lead(first, second) == pytest.approx(0.05 / hypot(*errors), rel=1e-4)  # .006 is sqrt(.9 * .1 / 2500)
    assert lead(second, first) == -lead(first, second)


def test_a_choice_among_controls_makes_no_false_claims():
    rng, claimed, names = np.random.default_rng(0), 0, ("half", "random", "nothing", "roclip")
    for _ in range(40):
        hits = rng.binomial(1000, rng.beta(6, 4, (4, 3)))
        rows = [
            trained("patch", name, list(map(int, its)), zero_shot=3 * [0.9], n=1000)
            for name, its in zip(names, hits, strict=True)
        ]
        claimed += sentence(*rows, controls=list(names[:3])).startswith("RoCLIP defends")
    assert claimed <= 1


def test_one_training_of_a_control_that_is_a_little_less_accurate_by_chance_still_counts():
    """Accuracies of trainings spread by three points; roclip is nothing but the control that it is said to beat."""
    rng, claimed = np.random.default_rng(0), 0
    for _ in range(100):
        accuracies = {"half": rng.normal(0.6, 0.03), "random": 0.6, "roclip": rng.normal(0.6, 0.03)}
        hits = {"half": rng.binomial(16, 0.1), "random": 15, "roclip": rng.binomial(16, 0.1)}
        rows = [trained(defence=name, hits=[int(hits[name])], zero_shot=[share]) for name, share in accuracies.items()]
        claimed += sentence(*rows, controls=["half", "random"]).startswith("RoCLIP defends")
    assert claimed <= 5


def test_random_removal_of_as_many_pairs_is_the_control_of_a_filter_and_the_oracle_is_not_judged():
    """As the config sets them side by side."""
    keep, train = {"keep": 0.9}, {"train": {"kind": "clip"}}
    recipes = {
        "slof90": {"filter": {"kind": "slof", "scored_by": {"kind": "clip"}, **keep}, **train},
        "random90": {"filter": {"kind": "random", **keep}, **train},
        "oracle": {"filter": {"kind": "oracle"}, **train},
    }
    config = CONFIG | {"attacks": ["targeted"], "defences": ["clip", *recipes], "controls": ["random90"]}
    _, plan = check(config | {"defence": {**CONFIG["defence"], **recipes}}, ATTACKS)
    assert plan.filters["slof90"].settings["keep"] == plan.filters["random90"].settings["keep"]
    hits = {"clip": 16, "slof90": 0, "random90": 15, "oracle": 0}
    rows = [trained(defence=name, hits=[count], zero_shot=[0.9]) for name, count in hits.items()]
    text = sentence(*rows, controls=["random90"], filters=plan.filters, models=plan.models)
    assert text.startswith("slof90 defends beyond the best control, random90: targeted attack success (ASR) is 93.8% ")
