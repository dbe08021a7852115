"""The checks of defences before a run: recipes of filter, train and repair."""

import pytest

from attacks import ATTACKS
from roclip.core.errors import UserError
from roclip.experiment.config import check
from tests.fixtures.configs import changed


def trained(**step) -> dict:
    return {"train": step}


def cleaned(**step) -> dict:
    return {"train": {"kind": "clip"}, "repair": step}


def filtered(**step) -> dict:
    return {"filter": step, "train": {"kind": "clip"}}


def with_defence(recipe: dict, left_over: int = 4000) -> dict:
    """config/easy.yaml with one more defence, `mine`, which is run; some of its 40,000 pairs are left to repairs."""
    config = changed("data.held_out", left_over, changed("defence.mine", recipe))
    return changed("defences", ["clip", "mine"], config)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({}, "defence.mine: a recipe needs the step `train`; its steps are filter, train, repair"),
        ({"repair": {"kind": "finetune"}}, "defence.mine: a recipe needs the step `train`"),
        ({"train": {}}, "defence.mine.train: 'kind' is a required property; kinds are clip, roclip, given"),
        (trained(kind="finetune"), "mine.train.kind: kind 'finetune' is a repair, not a train step; kinds here are clip,"),
        (cleaned(kind="clip"), "mine.repair.kind: kind 'clip' is a train step, not a repair; kinds here are finetune"),
        (filtered(kind="cosine"), "defence.mine.filter: say by which training the pairs are scored, as in scored_by: "),
        (filtered(kind="cosine", scored_by={"kind": "random"}), "mine.filter.scored_by.kind: kind 'random' is a filter"),
        (filtered(kind="random", keep=0), "defence.mine.filter.keep: 0 is less than or equal to the minimum"),
        (filtered(kind="random", keep=1e-5), "defence.mine.filter.keep: 0 of 36000 pairs are fewer than a batch of 64"),
        (filtered(kind="random", keep=0.002), "train.warmup_steps: 50 is not less than the 8 steps of defence 'mine'"),
        (filtered(kind="random") | trained(kind="given", weights="README.md"), "mine.filter: a step `train` of kind given"),
        (trained(kind="given", weights="absent.pt"), "defence.mine.train.weights: 'absent.pt' is not there"),
        (trained(kind="given", weights="README.md", epochs=2), "train.epochs: unknown key; legal here: model, pixels, weights"),
        (trained(kind="clip", start_from="absent"), r"mine.train.start_from: 'absent' is neither a defence .*\(clip, roclip"),
        (trained(kind="clip", start_from="mine"), "defence.mine.train.start_from: a circle, mine -> mine"),
        (cleaned(kind="finetune", clean_pairs=4001), "repair.clean_pairs: 4001 is more than the 4000 pairs that no training"),
        (cleaned(kind="finetune", clean_pairs=63), "train.batch_size: 64 is more than the 63 training pairs"),
        (cleaned(kind="finetune", warmup_steps=124), "mine.repair.warmup_steps: 124 is not less than the 124 steps of def"),
        (cleaned(kind="finetune", clean_pairs=64, poisoned_pairs=65), "mine.repair.poisoned_pairs: 65 is more than the 64 of"),
        (trained(kind="clip"), "defences: 'clip' and 'mine' are equal in all steps; leave one of them out"),
        (trained(kind="roclip", match_every=0, augment_images=False, augment_captions="never"), "'clip' and 'mine' are equal"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_recipe_is_one_line_that_names_the_step(recipe, message):
    with pytest.raises(UserError, match=message) as caught:
        check(with_defence(recipe), ATTACKS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "recipe",
    [
        cleaned(kind="finetune"),
        filtered(kind="cosine", scored_by={"kind": "clip"}),
        trained(kind="given", weights="README.md"),
        cleaned(kind="finetune") | filtered(kind="random"),
    ],
)
def test_a_recipe_of_every_form_is_legal(recipe):
    check(with_defence(recipe), ATTACKS)


def test_a_repair_needs_pairs_that_no_training_sees():
    with pytest.raises(UserError, match=r"mine\.repair\.clean_pairs: 4000 is more than the 0 pairs that no training uses"):
        check(with_defence(cleaned(kind="finetune"), left_over=0), ATTACKS)


def test_a_circle_over_several_recipes_is_shown():
    config = changed("defence.a", trained(kind="clip", start_from="b"))
    config = changed("defence.b", filtered(kind="cosine", scored_by={"kind": "clip", "start_from": "a"}), config)
    with pytest.raises(UserError, match=r"defence\.b\.filter.scored_by.start_from: a circle, a -> b -> a"):
        check(config, ATTACKS)
