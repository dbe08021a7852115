"""Sentences about the ends of sweeps."""

import pytest

from roclip.reporting.planned import ordered
from tests.fixtures.claims import models, said, texts
from tests.fixtures.plans import point
from tests.fixtures.results import trained


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ([{"pool_size": 200}, {"pool_size": 400}], True),
        ([{"match_every": 0}, {"match_every": 5}, {"match_every": 1}], True),
        ([{"clean_pairs": 10, "epochs": 4}, {"clean_pairs": None, "epochs": 2}], True),
        ([{"rate": 1e-05}, {"rate": 0.1}], True),
        ([{"augment": True}, {"augment": False}], False),
        ([{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 1}, {"a": 2, "b": 2}], False),
        ([{"pool_size": 200}], False),
        ([{}, {}], False),
    ],
)
def test_a_sweep_is_ordered_by_a_number_that_differs_at_every_point(changes, answer):
    assert ordered([point(change) for change in changes]) == answer


def test_a_sweep_from_its_first_to_its_last_point():
    variants = [f"targeted~captions_per_target~{n}" for n in (2, 25)]
    sweep = [
        ("poisons", point({"captions_per_target": n}, attack, defence, base_defence=defence))
        for defence in ("clip", "roclip")
        for n, attack in zip((2, 10, 25), (variants[0], "targeted", variants[1]), strict=True)
    ]
    rows = models(
        trained(variants[0], hits=[0]), trained(hits=[9]), trained(variants[1], hits=[16]),
        trained(variants[0], "roclip", hits=[0], zero_shot=[0.9]), trained(variants[1], "roclip", hits=[1], zero_shot=[0.8]),
    )  # fmt: skip
    assert texts("sweep poisons", rows, sweeps=sweep) == [
        "In the sweep poisons, targeted attack success (ASR) with CLIP rises from 0.0% [0.0, 20.6] at captions_per_target 2 to "
        "100.0% [79.4, 100.0] at captions_per_target 25 at the last CLIP epoch (n = 16, 1 seed; p < 0.0001, Holm-corrected "
        "over 2 comparisons).",
        "In the sweep poisons, the data do not show a difference in targeted attack success (ASR) with RoCLIP: 0.0% [0.0, "
        "20.6] at captions_per_target 2 and 6.2% [0.2, 30.2] at captions_per_target 25 at the last CLIP epoch (n = 16, 1 seed; "
        "p = 1, Holm-corrected over 2 comparisons).",
        "In the sweep poisons, mean zero-shot accuracy with RoCLIP under the targeted attack is 90.0% at captions_per_target 2 "
        "and 80.0% at captions_per_target 25 at the last CLIP epoch (1 seed, so no significance is claimed).",
    ]


def test_a_sweep_of_one_training_of_a_backdoor_each():
    ends = (("patch~poisons~5", 5, 100), ("patch", 90, 900))
    sweep = [("s", point({"poisons": n}, attack, "clip", "patch", "clip")) for attack, n, _ in ends]
    rows = models(*(trained(attack, hits=[hits], n=1000) for attack, _, hits in ends))
    assert texts("sweep s", rows, sweeps=sweep) == [
        "In the sweep s, patch attack success (ASR) with CLIP is 10.0% (1 training) at poisons 5 and 90.0% (1 training) at "
        "poisons 90 at the last CLIP epoch (n = 1000, 1 seed); of so few trainings no difference is claimed."
    ]


@pytest.mark.parametrize("name", ["defence", "others", "controls", "took", "price", "equal_accuracy", "best_control"])
def test_a_sweep_may_have_any_name(name):
    """Its sentences stand beside those that are called so, and in the place of none."""
    rows = models(trained(hits=[16]), trained(defence="roclip", hits=[0]), trained(defence="roclip~match_every~1", hits=[0]))
    ends = [point({"match_every": 0}, defence="clip"), point({"match_every": 1}, defence="roclip~match_every~1")]
    usual, found = said(rows, [("k", end) for end in ends]), said(rows, [(name, end) for end in ends])
    assert set(found) - {f"sweep {name}"} == set(usual) - {"sweep k"}
    assert all(found[about] == usual[about] for about in found if about != f"sweep {name}")
    assert len(found[f"sweep {name}"]) == 1


def test_ends_of_a_sweep_without_a_common_checkpoint():
    rows = models(
        trained(defence="clip_augmented", hits=[16]),
        trained(defence="roclip~match_every~1", checkpoint="last_matching", hits=[0]),
    )
    sweep = [
        ("k", point({"match_every": 0}, defence="clip_augmented")),
        ("k", point({"match_every": 1}, defence="roclip~match_every~1")),
    ]
    assert texts("sweep k", rows, sweeps=sweep) == [
        "In the sweep k, targeted attack success (ASR) with RoCLIP falls from 100.0% [79.4, 100.0] at match_every 0 at the "
        "last CLIP epoch to 0.0% [0.0, 20.6] at match_every 1 at the last matching epoch (n = 16, 1 seed; p < 0.0001, "
        "Holm-corrected over 1 comparison)."
    ]
