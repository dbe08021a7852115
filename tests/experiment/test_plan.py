"""The plan: every run once, variants named after what differs, shared stages shared."""

import pytest

from roclip.core.errors import UserError
from roclip.experiment.plan import base, plan, settings_of


def config(sweeps: dict) -> dict:
    return {
        "attacks": ["targeted", "patch"],
        "methods": ["clip", "roclip"],
        "seeds": [3],
        "train": {"epochs": 8},
        "attack": {"targeted": {"kind": "targeted", "captions": 10}, "patch": {"kind": "patch"}, "other": {"kind": "clean"}},
        "method": {"clip": {"match_every": 0, "pool_size": 800}, "roclip": {"match_every": 2, "pool_size": 800}},
        "sweeps": sweeps,
    }


def test_without_sweeps_every_attack_meets_every_method():
    planned = plan(config({}))
    pairs = [("targeted", "clip"), ("targeted", "roclip"), ("patch", "clip"), ("patch", "roclip")]
    assert planned.runs == [(*pair, 3) for pair in pairs]
    assert planned.attacks() == ["targeted", "patch"]
    assert planned.methods() == ["clip", "roclip"]


def test_a_value_of_the_base_is_the_base_and_no_run_is_made_twice():
    axes = {"pool_size": [400, 800]}
    planned = plan(config({n: {"attacks": ["targeted"], "methods": ["roclip"], "axes": axes} for n in ("a", "b")}))
    assert planned.runs[4:] == [("targeted", "roclip~pool_size~400", 3)]
    assert planned.method["roclip~pool_size~400"] == {"match_every": 2, "pool_size": 400, "epochs": 8}
    assert planned.method["roclip"]["pool_size"] == 800


def test_a_variant_that_has_a_name_already_goes_by_it():
    settings = config({"s": {"attacks": ["targeted"], "methods": ["roclip"], "axes": {"match_every": [0, 1]}}})
    settings["method"]["clip_by_another_name"] = {"match_every": 0, "pool_size": 800}
    planned = plan(settings)
    assert planned.runs[4:] == [("targeted", "roclip~match_every~1", 3)]
    assert [(point.changes, point.base_method, point.method) for point in planned.sweeps["s"]] == [
        ({"match_every": 0}, "roclip", "clip"),
        ({"match_every": 1}, "roclip", "roclip~match_every~1"),
    ]


def test_two_names_for_the_same_settings_stay_two():
    settings = config({"s": {"attacks": ["targeted"], "methods": ["second"]}})
    settings["method"]["second"] = settings["method"]["clip"]
    assert plan(settings).runs[4:] == [("targeted", "second", 3)]


def test_a_grid_is_a_product_and_attacks_keep_their_own_settings():
    axes = {"captions": [5, 10], "match_every": [1, 2]}
    planned = plan(config({"grid": {"attacks": ["targeted"], "methods": ["roclip"], "axes": axes}}))
    assert planned.runs[4:] == [
        ("targeted~captions~5", "roclip~match_every~1", 3),
        ("targeted~captions~5", "roclip", 3),
        ("targeted", "roclip~match_every~1", 3),
    ]
    assert planned.attack["targeted~captions~5"] == {"kind": "targeted", "captions": 5}


def test_a_mapping_sets_several_keys_together_and_epochs_can_be_swept():
    axes = {"size": [{"captions": 3, "epochs": 32}, {"epochs": 8}]}
    planned = plan(config({"size": {"attacks": ["targeted"], "methods": ["clip"], "axes": axes}}))
    assert planned.runs[4:] == [("targeted~captions~3", "clip~epochs~32", 3)]


def test_a_sweep_without_axes_adds_runs():
    assert plan(config({"more": {"attacks": ["other"], "methods": ["clip"]}})).runs[4:] == [("other", "clip", 3)]


def test_a_sweep_may_name_seeds_of_its_own():
    sweep = {"attacks": ["targeted"], "methods": ["clip"], "seeds": [4, 3], "axes": {"pool_size": [400, 800]}}
    planned = plan(config({"s": sweep}))
    assert planned.runs[4:] == [
        ("targeted", "clip~pool_size~400", 4),
        ("targeted", "clip~pool_size~400", 3),
        ("targeted", "clip", 4),  # seed 3 is in the grid already
    ]
    assert planned.seeds() == [3, 4]
    assert (planned.attacks(), planned.attacks(3), planned.attacks(4)) == (["targeted", "patch"],) * 2 + (["targeted"],)
    assert planned.attack_folders() == ["targeted/seed3", "patch/seed3", "targeted/seed4"]
    assert planned.model_folders()[-1] == "targeted/clip/seed4"


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        (
            {"attacks": ["gone"], "methods": ["clip"]},
            "sweeps.s.attacks: 'gone' is not defined under 'attack'; defined are targ",
        ),
        ({"attacks": ["patch"], "methods": ["gone"]}, "sweeps.s.methods: 'gone' is not defined"),
        (
            {"attacks": ["patch"], "methods": ["clip"], "axes": {"captions": [1]}},
            "sweeps.s.axes: neither attack 'patch' nor method 'clip' has 'captions'",
        ),
    ],
)
def test_a_mistake_names_the_sweep(sweep, message):
    with pytest.raises(UserError, match=message):
        plan(config({"s": sweep}))


def test_the_base_of_a_variant():
    assert base("roclip~pool_size~400") == "roclip"
    assert base("roclip") == "roclip"


def test_the_points_of_sweeps_as_words():
    axes = {"pool_size": [400, 800], "augment": [True]}
    settings = config(
        {
            "pool": {"attacks": ["targeted"], "methods": ["roclip"], "axes": axes},
            "more": {"attacks": ["other"], "methods": ["clip"]},
        }
    )
    settings["method"]["roclip"]["augment"] = True
    assert plan(settings).points() == [
        "pool|pool_size 400, augment true|targeted|roclip|targeted|roclip~pool_size~400",
        "pool|pool_size 800, augment true|targeted|roclip|targeted|roclip",
        "more||other|clip|other|clip",
    ]
    assert plan(config({})).points() == []


def test_a_readable_setting_can_be_read():
    assert settings_of("augment_images true, pool_size 400") == {"augment_images": "true", "pool_size": "400"}
    assert settings_of("") == {}
