"""The plan: every run once, variants named after what differs, shared stages shared."""

import dataclasses
import hashlib
import json
import os

import pytest

from attacks import ATTACKS
from roclip.core.errors import UserError
from roclip.experiment import sweeps as planning
from roclip.experiment.config import check, complete
from roclip.experiment.plan import Plan, Point, Step, base, read_plan, write_plan
from tests.fixtures.configs import CONFIG, changed

RECIPES = {
    "clip": {"train": {"kind": "clip"}},
    "roclip": {"train": {"kind": "roclip"}},
    "cleaned": {"train": {"kind": "clip"}, "repair": {"kind": "finetune"}},
    "kept": {"filter": {"kind": "cosine", "scored_by": {"kind": "clip", "epochs": 3}}, "train": {"kind": "clip"}},
}


def planned(sweeps: dict, **changes) -> Plan:
    config = CONFIG | {"experiment": "x", "seeds": [3], "defence": RECIPES, "sweeps": sweeps} | changes
    return planning.plan(complete(config, ATTACKS), ATTACKS, 32)


def sweep(axes: dict, attacks=("targeted",), defences=("roclip",), **more) -> dict:
    return {"attacks": list(attacks), "defences": list(defences), "axes": axes} | more


def added(sweeps: dict, **changes) -> list[tuple]:
    """The runs beside attacks x defences."""
    return planned(sweeps, **changes).runs[4:]


def test_without_sweeps_every_attack_meets_every_defence():
    plan = planned({})
    pairs = [("targeted", "clip"), ("targeted", "roclip"), ("patch", "clip"), ("patch", "roclip")]
    assert plan.runs == [(*pair, 3) for pair in pairs]
    assert plan.attacks() == ["targeted", "patch"]
    assert plan.defences() == ["clip", "roclip"]
    assert plan.family["patch"] == plan.family["label_consistent"] == "backdoor"
    assert (plan.family["targeted"], plan.family["clean"]) == ("targeted", "clean")


def test_the_sweeps_of_a_config_can_be_left_out():
    config, plan = check(changed("sweeps", None), ATTACKS)
    assert config["sweeps"] == plan.sweeps == {}
    assert plan.runs == check(CONFIG, ATTACKS)[1].runs


def test_a_value_of_the_base_is_the_base_and_no_run_is_made_twice():
    axes = {"pool_size": [400, 800]}
    plan = planned({name: sweep(axes) for name in ("a", "b")})
    assert plan.runs[4:] == [("targeted", "roclip~pool_size~400", 3)]
    changed = plan.defence["roclip~pool_size~400"]["train"]
    assert changed == plan.defence["roclip"]["train"] | {"pool_size": 400}
    settings = {key: value for key, value in changed.items() if key != "start_from"}
    assert plan.models["roclip~pool_size~400"].settings == settings
    assert plan.defence["roclip"]["train"]["pool_size"] == 800


def test_a_variant_that_has_a_name_already_goes_by_it():
    augmented = {"train": {"kind": "clip", "augment_images": True, "augment_captions": "each_epoch"}}
    plan = planned({"s": sweep({"match_every": [0, 1]})}, defence=RECIPES | {"augmented": augmented})
    assert plan.runs[4:] == [("targeted", "augmented", 3), ("targeted", "roclip~match_every~1", 3)]
    assert [(point.changes, point.base_defence, point.defence) for point in plan.sweeps["s"]] == [
        ({"match_every": 0}, "roclip", "augmented"),
        ({"match_every": 1}, "roclip", "roclip~match_every~1"),
    ]
    assert added({"s": sweep({"epochs": [3]}, defences=["clip"])}, defence=RECIPES | {
        "short": {"train": {"kind": "clip", "epochs": 3}}
    }) == [("targeted", "short", 3)]  # fmt: skip
    assert added({"s": sweep({"patch_size": [0.375]}, ["patch"], ["clip"])}) == [("patch_large", "clip", 3)]


@pytest.mark.parametrize("where", ["defences", "sweep"])
def test_two_selected_defences_that_are_equal_are_refused(where):
    recipes = RECIPES | {"second": {"train": {"kind": "clip"}}}
    with pytest.raises(UserError, match=r"^defences: 'clip' and 'second' are equal in all steps; leave one of them out$"):
        if where == "defences":
            planned({}, defence=recipes, defences=["clip", "second"])
        else:
            planned({"s": sweep({}, defences=["second"])}, defence=recipes)
    plan = planned({"s": sweep({}, defences=["second"])}, defence=recipes, defences=["roclip"])
    assert plan.models["second"].settings["kind"] == "clip"  # of equal ones, that which is run gives the name
    assert "clip" not in plan.models


def test_a_grid_is_a_product_and_attacks_keep_their_settings():
    axes = {"captions_per_target": [5, 15], "match_every": [1, 2]}
    plan = planned({"grid": sweep(axes)})
    assert plan.runs[4:] == [
        ("targeted~captions_per_target~5", "roclip~match_every~1", 3),
        ("targeted~captions_per_target~5", "roclip", 3),
        ("targeted", "roclip~match_every~1", 3),
    ]
    assert plan.attack["targeted~captions_per_target~5"] == plan.attack["targeted"] | {"captions_per_target": 5}
    assert plan.family["targeted~captions_per_target~5"] == "targeted"


def test_a_mapping_sets_several_keys_together_and_epochs_can_be_swept():
    axes = {"size": [{"captions_per_target": 3, "epochs": 32}, {"epochs": 8}]}
    assert added({"size": sweep(axes, defences=["clip"])}) == [("targeted~captions_per_target~3", "clip~epochs~32", 3)]


def test_a_setting_that_some_defences_lack_changes_the_others():
    axes = {"size": [{"epochs": 32, "pool_size": 200}]}
    runs = added({"size": sweep(axes, defences=["clip", "roclip"])})
    assert runs == [("targeted", "clip~epochs~32", 3), ("targeted", "roclip~epochs~32~pool_size~200", 3)]


def test_an_axis_says_of_which_step_it_is():
    axes = {"train.epochs": [8, 3], "repair.epochs": [2, 5], "clean_pairs": [None]} | {"clean_pairs": [100]}
    with pytest.raises(
        UserError, match=r"s.axes: 'clean_pairs' may be any of attack.clean_pairs, repair.clean_pairs; write wh"
    ):
        planned({"s": sweep(axes, defences=["cleaned"])})
    with pytest.raises(UserError, match=r"s.axes: 'epochs' may be any of train.epochs, repair.epochs; write which"):
        planned({"s": sweep({"epochs": [3]}, defences=["cleaned"])})
    del axes["clean_pairs"]
    plan = planned({"s": sweep(axes, defences=["cleaned"])})
    assert [run[1] for run in plan.runs[4:]] == [
        "cleaned", "cleaned~repair.epochs~5", "cleaned~train.epochs~3", "cleaned~train.epochs~3~repair.epochs~5",
    ]  # fmt: skip
    assert plan.defence["cleaned~train.epochs~3~repair.epochs~5"]["repair"]["epochs"] == 5
    assert plan.models["cleaned~repair.epochs~5"].start_from == "clip"
    assert plan.models["cleaned~train.epochs~3"].start_from == "kept.scored_by"  # which is trained for 3 epochs as well
    runs = added({"s": sweep({"filter.keep": [0.5], "scored_by.epochs": [8], "attack.clean_pairs": [9]}, defences=["kept"])})
    assert runs == [("targeted~attack.clean_pairs~9", "kept~filter.keep~0.5~scored_by.epochs~8", 3)]


def test_a_sweep_without_axes_adds_runs():
    assert added({"more": {"attacks": ["clean"], "defences": ["clip"]}}) == [("clean", "clip", 3)]


def test_a_sweep_may_name_other_seeds():
    plan = planned({"s": sweep({"epochs": [4, 8]}, defences=["clip"], seeds=[4, 3])})
    assert plan.runs[4:] == [
        ("targeted", "clip~epochs~4", 4),
        ("targeted", "clip~epochs~4", 3),
        ("targeted", "clip", 4),  # seed 3 is in the grid already
    ]
    assert plan.seeds() == [3, 4]
    assert (plan.attacks(), plan.attacks(3), plan.attacks(4)) == (["targeted", "patch"],) * 2 + (["targeted"],)
    assert plan.attack_folders() == ["targeted/seed3", "patch/seed3", "targeted/seed4"]
    assert plan.model_folders()[-1] == "targeted/clip/seed4"


def test_what_must_be_trained_on_the_way_is_listed_with_what_is_judged():
    plan = planned({}, attacks=["patch"], defences=["cleaned", "kept"])
    assert plan.model_folders() == ["patch/cleaned/seed3", "patch/kept/seed3"]
    assert set(plan.steps()) == {f"patch/{name}/seed3" for name in ("cleaned", "clip", "kept", "kept.scored_by")}
    assert [(step.stage, step.name) for step in plan.chain("kept")] == [
        ("train", "kept.scored_by"), ("filter", "kept"), ("train", "kept"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (sweep({}, ["gone"]), "^sweeps.s.attacks: 'gone' is not defined under 'attack'; defined are clean, targ"),
        (sweep({}, ["patch"], ["gone"]), "^sweeps.s.defences: 'gone' is not defined"),
        (sweep({"targets": [1]}, ["patch"]), "^sweeps.s.axes: neither attack 'patch' nor defence 'roclip' has 'targets'"),
        (sweep({"size": [400]}), "^sweeps.s.axes: neither attack 'targeted' nor defence 'roclip' has 'size'"),
        (sweep({"kind": ["clip"]}), "^sweeps.s.axes: neither attack 'targeted' nor defence 'roclip' has 'kind'"),
        (sweep({"epochs": [1], "a": [{"epochs": 2}]}), "^sweeps.s.axes: two of them set 'epochs'; take it out of one"),
        (sweep({"pool_size": [200, 400], "train.pool_size": [3]}), "^sweeps.s.axes: 'pool_size' and 'train.pool_size' are one"),
        (
            sweep({"a": [{"attack.targets": 1, "targets": 2}]}),
            "^sweeps.s.axes: .* are one setting, attack.targets; take",
        ),
        (sweep({"a": [{1: 2}]}), "^sweeps.s.axes: neither .* has '1'"),
        (sweep({name: list(range(1, 40)) for name in "abcdef"}), "^sweeps.s.axes: 3518743761 runs; at most 10000"),
        (sweep({"start_from": ["roclip"]}), "^sweeps.s.axes: defence.roclip.train.start_from: a circle, roclip -> roclip"),
        (sweep({"epochs": [4, "4"]}), "^sweeps.s.axes: 'roclip~epochs~4' is the name of other settings already"),
    ],
)
def test_a_mistake_names_the_sweep(wrong, message):
    with pytest.raises(UserError, match=message):
        planned({"s": wrong})


def test_many_variants_take_no_time():
    plan = planned({"s": sweep({"pool_size": list(range(1, 100)), "epochs": list(range(1, 100))})})
    assert len(plan.defence) == len(RECIPES) + 99 * 99


def test_the_base_of_a_variant():
    assert base("roclip~pool_size~400") == "roclip"
    assert base("roclip") == "roclip"


def test_a_setting_is_readable():
    (point, _) = planned({"s": sweep({"augment_images": [True], "pool_size": [400, 800]})}).sweeps["s"]
    assert point.setting() == "augment_images true, pool_size 400"
    assert point.setting(" and ") == "augment_images true and pool_size 400"
    assert Point({}, "a", "b", "a", "b").setting() == ""
    assert Point({"target_class": "a, b"}, "a", "b", "a", "b").setting(" and ") == "target_class a, b"


def test_a_plan_survives_its_file(tmp_path):
    plan = planned({"b": sweep({"pool_size": [400]}), "a": sweep({}, ["clean"])})
    path = tmp_path / "plan.json"
    write_plan(path, plan)
    read = read_plan(path)
    assert read == plan
    assert isinstance(read.models["clip"], Step)
    for field in dataclasses.fields(Plan):  # tables list things in the order of the config
        if isinstance(getattr(plan, field.name), dict):
            assert list(getattr(read, field.name)) == list(getattr(plan, field.name))


def test_a_plan_that_says_the_same_is_not_written_again(tmp_path):
    path = tmp_path / "plan.json"
    write_plan(path, planned({}))
    os.utime(path, (1, 1))
    write_plan(path, planned({}))
    assert path.stat().st_mtime == 1
    write_plan(path, planned({}, seeds=[4]))
    assert path.stat().st_mtime != 1


EMPTY = {"models": {}, "filters": {}, "sweeps": {}, "runs": []}
WRONG = [[], {}, {"models": 3}, None, EMPTY | {"models": {"a": {}}}]


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_file_that_is_no_plan_is_one_line(tmp_path, wrong, signed):
    path = tmp_path / "plan.json"
    digest = hashlib.sha256(json.dumps(wrong).encode()).hexdigest()
    path.write_text(json.dumps({**wrong, "sha256": digest} if signed and isinstance(wrong, dict) else wrong))
    with pytest.raises(UserError, match=r"plan.json: not a plan of this version, or changed by hand; remove it and start"):
        read_plan(path)
