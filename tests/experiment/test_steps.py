"""Steps of recipes: equal ones are one, under the name of the recipe that they end."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attacks import ATTACKS
from roclip.core.errors import UserError
from roclip.experiment.config import complete
from roclip.experiment.steps import Steps
from tests.fixtures.configs import CONFIG
from tests.fixtures.targets import targets

CLIP, LONG = {"kind": "clip"}, {"kind": "clip", "epochs": 9}
FINETUNE = {"kind": "finetune"}
COSINE = {"kind": "cosine", "scored_by": CLIP}


def steps_of(recipes: dict, preferred=()) -> tuple[dict, dict]:
    whole = complete(CONFIG | {"defence": recipes}, ATTACKS)["defence"]
    return Steps(whole, preferred).named()


def edges(recipes: dict) -> dict[str, tuple]:
    """By name: stage, filter and start of each step."""
    models, filters = steps_of(recipes)
    return {
        **{name: (step.stage, step.filter, step.start_from) for name, step in models.items()},
        **{f"filters/{name}": (step.stage, step.filter, step.start_from) for name, step in filters.items()},
    }


def test_a_repair_starts_from_the_training_that_another_recipe_is():
    found = edges({"cleaned": {"train": CLIP, "repair": FINETUNE}, "plain": {"train": CLIP}})
    assert found == {"plain": ("train", None, None), "cleaned": ("repair", None, "plain")}


def test_a_training_that_is_no_recipe_is_called_after_the_first_that_has_it():
    found = edges({"a": {"train": LONG, "repair": FINETUNE}, "b": {"train": LONG, "repair": FINETUNE | {"epochs": 5}}})
    assert found == {"a.train": ("train", None, None), "a": ("repair", None, "a.train"), "b": ("repair", None, "a.train")}


def test_a_filter_asks_a_model_and_the_training_reads_its_rows():
    found = edges({"kept": {"filter": COSINE, "train": CLIP}})
    assert found == {
        "kept.scored_by": ("train", None, None),
        "filters/kept": ("filter", None, "kept.scored_by"),
        "kept": ("train", "kept", None),
    }
    found = edges({"kept": {"filter": COSINE, "train": CLIP}, "clip": {"train": CLIP}})
    assert found["filters/kept"] == ("filter", None, "clip")


def test_equal_filters_are_one_and_trainings_on_other_rows_are_others():
    half = {"kind": "random", "keep": 0.5}
    found = edges({
        "clip": {"train": CLIP}, "a": {"filter": half, "train": CLIP}, "b": {"filter": half, "train": LONG},
        "c": {"filter": half, "train": CLIP, "repair": FINETUNE},
    })  # fmt: skip
    assert found == {
        "clip": ("train", None, None), "filters/a": ("filter", None, None), "a": ("train", "a", None),
        "b": ("train", "a", None), "c": ("repair", None, "a"),
    }  # fmt: skip


def test_a_training_starts_from_the_end_of_another_recipe():
    recipes = {"next": {"train": CLIP | {"start_from": "cleaned"}}, "cleaned": {"train": CLIP, "repair": FINETUNE}}
    models, _ = steps_of(recipes)
    assert list(models) == ["cleaned.train", "cleaned", "next"]  # what others build on comes first
    assert models["next"].start_from == "cleaned"
    assert "start_from" not in models["next"].settings
    models, _ = steps_of({"next": {"train": CLIP | {"start_from": "README.md"}}, "clip": {"train": CLIP}})
    assert (models["next"].start_from, models["next"].settings["start_from"]) == (None, "README.md")
    assert "start_from" not in models["clip"].settings


def test_settings_are_complete_but_for_what_other_steps_are():
    models, filters = steps_of({"kept": {"filter": COSINE, "train": CLIP | {"warmup_steps": 3}}})
    assert models["kept"].settings == {
        "kind": "clip", "augment_images": False, "augment_captions": "never", "epochs": 8, "learning_rate": 0.001,
        "warmup_steps": 3, "model": "config/models/small.json", "pixels": "model",
    }  # fmt: skip
    assert filters["kept"].settings == {"kind": "cosine", "keep": 0.95}


@pytest.mark.parametrize("value", [1, 1.0])
def test_numbers_are_equal_whatever_their_form(value):
    recipes = {"a": {"train": CLIP | {"learning_rate": 1.0}}, "b": {"train": CLIP | {"learning_rate": value}}}
    assert len(steps_of(recipes)[0]) == 1


def test_a_truth_value_is_no_number():
    models, _ = steps_of({"a": {"train": CLIP | {"augment_images": True}}, "b": {"train": CLIP | {"augment_images": 1}}})
    assert len(models) == 2


def test_of_equal_recipes_the_preferred_one_gives_the_name():
    recipes = {"a": {"train": CLIP}, "b": {"train": CLIP}}
    assert list(steps_of(recipes)[0]) == ["a"]
    assert list(steps_of(recipes, ["b"])[0]) == ["b"]


def test_without_a_matching_epoch_it_is_the_plain_training():
    never = {"kind": "roclip", "match_every": 0, "pool_size": 3}
    recipes = {
        "never": {"train": never},
        "augmented": {"train": CLIP | {"augment_images": True, "augment_captions": "each_epoch"}},
    }
    models, _ = steps_of(recipes)
    assert list(models) == ["never"]
    assert models["never"].settings["kind"] == "clip"
    assert "pool_size" not in models["never"].settings


def test_many_paths_to_one_recipe_take_no_time():
    """Each recipe builds on the next in two ways: 2^40 paths."""
    recipes = {
        f"r{n}": {
            "filter": {"kind": "cosine", "scored_by": CLIP | {"start_from": f"r{n + 1}"}},
            "train": LONG | {"start_from": f"r{n + 1}"},
        }
        for n in range(40)
    }
    models, filters = steps_of(recipes | {"r40": {"train": CLIP}})
    assert (len(models), len(filters)) == (81, 40)


NAMES = st.sampled_from(["a", "b", "c"])
TRAIN = st.builds(lambda epochs, start: CLIP | {"epochs": epochs, "start_from": start}, st.integers(1, 2), st.none() | NAMES)
SCORED = st.builds(lambda train: COSINE | {"scored_by": train}, TRAIN)
RECIPE = st.fixed_dictionaries(
    {"train": TRAIN}, optional={"repair": st.just(FINETUNE), "filter": SCORED | st.just({"kind": "random"})}
)


def unfolded(name: str, models: dict, filters: dict) -> tuple:
    """A step with all that it builds on in place of names."""
    step = models[name]
    rows = filters[step.filter] if step.filter else None
    return (
        step.stage, sorted(map(str, step.settings.items())),
        rows and (sorted(map(str, rows.settings.items())), rows.start_from and unfolded(rows.start_from, models, filters)),
        step.start_from and unfolded(step.start_from, models, filters),
    )  # fmt: skip


def expanded(name: str, recipes: dict) -> tuple:
    """The same of a recipe, by walking through the recipes themselves."""

    def train(given: dict, rows: tuple | None) -> tuple:
        kept = sorted(str(item) for item in given.items() if item[0] != "start_from")
        return "train", kept, rows, given["start_from"] and expanded(given["start_from"], recipes)

    recipe, rows = recipes[name], None
    if chosen := recipe.get("filter"):
        asked = train(chosen["scored_by"], None) if "scored_by" in chosen else None
        rows = sorted(str(item) for item in chosen.items() if item[0] != "scored_by"), asked
    last = train(recipe["train"], rows)
    return ("repair", sorted(map(str, recipe["repair"].items())), None, last) if "repair" in recipe else last


def has_circle(recipes: dict) -> bool:
    """Whether recipes build on themselves: by taking away, again and again, those that build on none that is left."""
    builds_on = {name: {train.get("start_from") for train in trainings(recipe)} for name, recipe in recipes.items()}
    while free := [name for name, others in builds_on.items() if not others & builds_on.keys()]:
        builds_on = {name: others for name, others in builds_on.items() if name not in free}
    return bool(builds_on)


def trainings(recipe: dict) -> list[dict]:
    return [recipe["train"], recipe.get("filter", {}).get("scored_by", {})]


@given(st.fixed_dictionaries(dict.fromkeys("abc", RECIPE)))
@settings(max_examples=200, deadline=None)
def test_steps_unfold_to_their_recipes_and_no_two_are_the_same(recipes):
    whole = complete(CONFIG | {"defence": recipes}, ATTACKS)["defence"]
    if has_circle(whole):
        with pytest.raises(UserError, match="a circle"):
            Steps(whole)
        return
    steps = Steps(whole)
    models, filters = steps.named()
    for name in whole:
        known = steps.ends[steps.end(whole[name], name)]
        assert unfolded(known, models, filters) == expanded(name, whole)
    assert len({str(unfolded(name, models, filters)) for name in models}) == len(models)


def test_a_training_may_start_from_a_model_of_another_attack():
    clip, tuned = {"train": CLIP}, {"train": CLIP | {"start_from": "clean/clip"}}
    plan = targets(
        {"experiment": "x", "attacks": ["patch", "tint"], "defences": ["tuned", "again"], "seeds": [1, 2],
         "defence": {"tuned": tuned, "again": {"train": LONG | {"start_from": "tuned"}}, "clip": clip}}
    ).plan  # fmt: skip
    assert (plan.models["tuned"].start_from, plan.models["tuned"].start_attack) == ("clip", "clean")
    assert (plan.models["again"].start_from, plan.models["again"].start_attack) == ("tuned", None)
    assert plan.steps()[:3] == ["clean/clip/seed1", "patch/tuned/seed1", "patch/again/seed1"]
    assert len(plan.steps()) == 2 * (1 + 2 * 2)
    assert plan.attack_folders() == [f"{attack}/seed{seed}" for seed in (1, 2) for attack in ("clean", "patch", "tint")]


def test_starts_from_different_attacks_are_different_steps_and_a_circle_is_one_across_attacks():
    start = {name: {"train": CLIP | {"start_from": f"{name}/clip"}} for name in ("clean", "patch")}
    models, _ = Steps(complete(CONFIG | {"defence": {"clip": {"train": CLIP}, **start}}, ATTACKS)["defence"], (), start).named()
    assert [models[name].start_attack for name in start] == ["clean", "patch"]
    with pytest.raises(UserError, match=r"^defence\.a\.train\.start_from: a circle, a -> a"):
        Steps(complete(CONFIG | {"defence": {"a": {"train": CLIP | {"start_from": "clean/a"}}}}, ATTACKS)["defence"], (), start)


@pytest.mark.parametrize("start", ["nowhere/clip", "clean/nobody", "clean/clip/clip", "/clip", "clean/"])
def test_what_names_no_model_of_another_attack_is_one_line(start):
    with pytest.raises(
        UserError, match=rf"^defence\.b\.train\.start_from: '{start}' is neither a defence .*, nor ATTACK/DEFENCE, nor"
    ):
        targets(
            {"experiment": "x", "defences": ["b"], "baseline": "b", "defence": {"b": {"train": CLIP | {"start_from": start}}}}
        )
