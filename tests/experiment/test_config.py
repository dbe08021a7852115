"""The checks before a run: a mistake is one line that names the key."""

import copy

import pytest
import yaml

from attacks import ATTACKS
from roclip.core.errors import UserError
from roclip.core.files import write_table
from roclip.core.options import flags
from roclip.experiment.config import check, complete
from tests.conftest import ROOT
from tests.fixtures.configs import COMPLETE, CONFIG, changed, on_top

BACKDOORS = [name for name, given in CONFIG["attack"].items() if ATTACKS[given["kind"]].family == "backdoor"]


def sweep(**changes) -> dict:
    return {"attacks": ["targeted"], "defences": ["roclip"]} | changes


@pytest.mark.parametrize("name", ["config", "test", "ablations", "faithful_release"])
def test_every_config_is_legal_on_top_of_the_default(name):
    check(on_top(name), ATTACKS)


def test_a_complete_config_has_every_key_and_is_its_own_completion():
    whole, plan = check(CONFIG, ATTACKS)
    assert whole == COMPLETE
    assert check(yaml.safe_load(yaml.safe_dump(whole)), ATTACKS) == (whole, plan)
    assert whole["data"]["train_scenes"] == 40000
    assert whole["attack"]["patch_large"] == whole["attack"]["patch"] | {"patch_size": 0.375}
    assert whole["defence"]["roclip"]["train"]["pool_size"] == 800


def test_a_step_may_have_epochs_and_rates_beside_those_of_the_section():
    config = changed(
        "defence.clip.train", {"kind": "clip", "epochs": 3, "warmup_steps": 2}, changed("train.learning_rate", 0.5)
    )
    train = complete(config, ATTACKS)["defence"]["clip"]["train"]
    assert (train["epochs"], train["warmup_steps"], train["learning_rate"]) == (3, 2, 0.5)


MISTAKES = [
    ("train.epoch", 8, r"train.epoch: unknown key; did you mean 'epochs'\? legal here: batch_norm, batch_size"),
    ("colour", 1, "colour: unknown key; legal here: attack, attacks"),
    ("defence.roclip.train.match", 1, r"train.match: unknown key; did you mean 'match_with'\? legal here: augment_captions"),
    (
        "attack.patch.targets",
        1,
        "attack.patch.targets: an option of kind targeted and .*, not of 'patch'; legal here: captions, clean",
    ),
    (
        "attack.warped.blend_share",
        1,
        "attack.warped.blend_share: an option of kind blended and .*, not of 'warped'; legal here: cap",
    ),
    (
        "defence.clip.train.pool_size",
        1,
        "defence.clip.train.pool_size: an option of kind roclip and safeclip, not of 'clip'; legal here: aug",
    ),
    ("train", {1: 2, "foo": 3}, "train.1: unknown key"),
    ("attack.A b", {"kind": "clean"}, r"attack: 'A b' is not legal here \(a name: small letters"),
    ("attack", {1: {"kind": "clean"}}, "attack: YAML reads '1' as a int; put it in quotation marks"),
    ("train.epochs", "8", "train.epochs: '8' is not of type 'integer'"),
    ("train.epochs", 0, "train.epochs: 0 is less than the minimum of 1"),
    ("train.precision", "fp8", r"train.precision: 'fp8' is not one of \['auto', 'bf16', 'float32'\]"),
    ("attacks", ["targeted", "sneaky"], "attacks: 'sneaky' is not defined under 'attack'; defined are clean, targeted"),
    ("defences", ["sneaky"], "defences: 'sneaky' is not defined under 'defence'; defined are clip, roclip"),
    ("defences", [], "defences: "),
    ("seeds", [1, 1], "seeds: "),
    ("defence.roclip.train.pool_size", 40001, "defence.roclip.train.pool_size: 40001 is more than the 40000 training pairs"),
    ("train.micro_batch", 48, "train.micro_batch: 48 does not divide the 64 pairs of train.batch_size"),
    ("train.batch_size", 50000, "train.batch_size: 50000 is more than the 40000 training pairs"),
    ("defence.roclip.train.match_every", 9, "train.match_every: none of the 8 epochs is a multiple of 9 from epoch 1 on"),
    ("train.warmup_steps", 10**6, "train.warmup_steps: 1000000 is not less than the 5000 steps of defence 'clip'"),
    ("defence.roclip.train.warmup_steps", 10**6, "defence.roclip.train.warmup_steps: 1000000 is not less than the 5000"),
    ("attack.patch.kind", "backdoor", r"attack.patch.kind: 'backdoor' is not one of \['clean', 'targeted', 'patch', 'blended'"),
    ("attack.patch.kind", "roclip", "attack.patch.kind: kind 'roclip' is a train step, not an attack; kinds here are clean"),
    ("attack.blended.blend_share", 1.5, "attack.blended.blend_share: 1.5 is greater than the maximum of 1"),
    (
        "attack.blended.pattern",
        "stripes",
        r"attack.blended.pattern: 'stripes' is not one of \['fixed', 'per_image', 'picture'\]",
    ),
    ("attack.sinusoid.amplitude", 0, "attack.sinusoid.amplitude: 0 is less than the minimum of 0.004"),
    ("attack.warped.warp_grid", 1, "attack.warped.warp_grid: 1 is less than the minimum of 2"),
    ("attack.patch.captions", "none", "attack.patch.captions: 'none' is not one of"),
    ("attack.patch.poisons", 40001, "attack.patch.poisons: 40001 is more than the 40000 training pairs"),
    ("attack.targeted.captions_per_target", 2501, "captions_per_target: 40016 for all targets is more than the 40000"),
    ("attack.patch.target_class", "dragon", "attack.patch.target_class: 'dragon' is not in config/scenes/classes.txt"),
    ("attack.patch.patch_size", 0.001, "attack.patch.patch_size: .* is less than a pixel"),
    ("attack.targeted.adversary_classes", ["dragon"], "attack.targeted.targets: 16 is more than the 1 classes"),
    ("data.url_list", {"train": "a.tsv"}, "data.url_list: the split 'validation' is neither listed nor in data.tables"),
    ("data.url_list", "test=x.tsv", "data.url_list: 'test=x.tsv' is a flag's form; write { test: x.tsv }"),
    ("data.tables", {"train": "absent.csv"}, "absent.csv: no such file"),
    (
        "data.tables",
        {"training": "a.csv"},
        r"data.tables.training: unknown key; did you mean 'train'\? legal here: probe, test, train, validation",
    ),
    ("attack.targeted.targets", 51, "attack.targeted.targets: 51 is more than the 50 classes"),
    ("attack.targeted.captions_per_target", 0, "attack.targeted.captions_per_target: 0 is less than the minimum of 1"),
    ("train.model", "config/models/absent.json", "train.model: config/models/absent.json: no such file"),
    ("data.url_list", "absent.tsv", "absent.tsv: no such file"),
    ("data.url_list", "tests", "tests: is a directory"),
    ("data.url_list", dict.fromkeys(("train", "validation", "test", "probe"), "tests"), "tests: is a directory"),
    ("data.classes", "absent.txt", "absent.txt: no such file"),
    ("data.max_bad_fraction", 2, "data.max_bad_fraction: 2 is greater than the maximum of 1"),
    ("experiment", "../up", "experiment: '../up' is not legal here"),
    ("experiment", "mine\n", r"experiment: 'mine\\n' is not legal here"),
    ("attacks", ["patch\n"], r"attacks.0: 'patch\\n' is not legal here"),
    ("train.epochs", 10**400, "train.epochs: 1000.* is not of type 'integer'"),
    ("train.eps", 10**400, "train.eps: 1000.* is not of type 'number'"),
    ("train.model", "a" * 5000, "train.model: 'aaa.*' is neither the name"),
    ("data.roots", [], r"data.roots: \[\] should be non-empty"),
    ("data.roots", ["-x"], "data.roots.0: '-x' is not legal here .a path may not begin with -"),
    ("data.roots", ["a\0b"], "data.roots.0: .*is not legal here"),
    ("data.roots", ["data"], r"data.roots: results/\w+, where .* own images lie, is outside the .*data.: add /.*/results"),
    ("attack.patch.target_class", "--", "attack.patch.target_class: '--' is not legal here: no command line holds it"),
    ("attack.targeted.adversary_classes", ["a\0"], "attack.targeted.adversary_classes.0: .* no command line holds it"),
    ("defence.clip.train.start_from", "/dev/zero", "defence.clip.train.start_from: '/dev/zero' is a pipe or device"),
    ("data.image_size", 10**9, "data.image_size: 1000000000 is greater than the maximum of 4096"),
    ("data.train_scenes", 10**12, "data.train_scenes: 1000000000000 is greater than the maximum of 100000000"),
    ("train.workers", 10**9, "train.workers: 1000000000 is greater than the maximum"),
    ("train.threads", 10**11, "train.threads: 100000000000 is greater than the maximum of 1024"),
    ("train.epochs", 10**200, "train.epochs: 1000.* is greater than the maximum of 100000"),
    ("detector.f", {"kind": "isolation_forest", "trees": 10**200}, "detector.f.trees: 1000.* is greater than the maximum"),
    ("downstream", {"root": "a" * 300, "sets": ["dtd"], "require_all": True}, "there is no folder a*/dtd for 'dtd'"),
    ("experiment", "leaderboard", "experiment: results/leaderboard is not for an experiment; give this one another name"),
    ("experiment", "benchmarks", "experiment: results/benchmarks is not for an experiment"),
    ("seeds", [{1}], "seeds.0: .1. is not of type 'integer'"),
    ("seeds", [("a", [1]), {(1, 2)}], "seeds.[01]: .* is not of type 'integer'"),
    ("train.device", "mps", r"train.device: 'mps' is not one of \['auto', 'cpu', 'cuda'\]"),
    ("seeds", list(range(5001)), "seeds: 20004 runs of attacks x defences; at most 10000 are made"),
    (
        "sweeps",
        {f"s{n}": sweep(seeds=[*range(100 * n, 100 * n + 100)], axes={"pool_size": [*range(100, 200)]}) for n in range(2)},
        "sweeps.s1: more than 20000 runs with those before it",
    ),
    ("sweeps.x", sweep(axes={"pool_size": [{"pool_size": n} for n in range(20_000)]}), "sweeps.x.axes: 20000 runs; at most"),
    ("sweeps.x", sweep(axes={k: list(range(1, 40)) for k in "abcdef"}), "sweeps.x.axes: 3518743761 runs; at most 10000"),
    ("sweeps.x", sweep(axes={"pool_size": [{"a": 1}, 400, {"a": 1.0}]}), "sweeps.x.axes.pool_size: .* non-unique"),
    ("data.classes", "{x}", "data.classes: '{x}' is not legal here .a path may not begin with -, nor hold braces"),
    ("train.model", "{x}.json", "train.model: '{x}.json' is not legal here"),
    ("data.classes", "/dev/zero", "/dev/zero: is a pipe or device, no file"),
    ("train.batch_size", 64.0, "train.batch_size: 64.0 is not of type 'integer'"),
    ("train.learning_rate", float("nan"), "train.learning_rate: nan is not of type 'number'"),
    ("train.learning_rate", "5e-4", "train.learning_rate: '5e-4' is a text to YAML; write 5.0e-4"),
    ("train.learning_rate", "1.5e3", r"train.learning_rate: '1.5e3' is a text to YAML; write 1.5e\+3"),
    ("seeds", [10.0], "seeds.0: 10.0 is not of type 'integer'"),
    ("seeds", [10**22], "seeds.0: .* is greater than the maximum"),
    ("train.model", "RN5O", "train.model: 'RN5O' is neither the name of an open_clip model nor a .json file"),
    ("data.validation_scenes", 15, "attack.targeted.targets: 16 is more than the 15 validation scenes"),
    ("sweeps.pool", sweep(axes={"pool_size": []}), r"sweeps.pool.axes.pool_size: \[\] should be non-empty"),
    ("sweeps.pool", sweep(axes={"pool_size": [400, 400]}), r"sweeps.pool.axes.pool_size: .* non-unique"),
    ("sweeps.pool", sweep(axes={"pool": [400]}), "sweeps.pool.axes: neither attack 'targeted' nor defence 'roclip' has 'pool'"),
    ("sweeps.pool", sweep(attacks=["sneaky"]), "sweeps.pool.attacks: 'sneaky' is not defined under 'attack'"),
    ("sweeps.pool", sweep(seeds=[]), r"sweeps.pool.seeds: \[\] should be non-empty"),
    (
        "sweeps.pool",
        sweep(axis={}),
        r"sweeps.pool.axis: unknown key; did you mean 'axes'\? legal here: attacks, axes, defences, seeds",
    ),
    ("sweeps.pool", sweep(axes={"pool_size": [40001]}), "defence.roclip~pool_size~40001.train.pool_size: 40001 is more than"),
    (
        "sweeps.pool",
        sweep(axes={"pool_size": ["many"]}),
        "defence.roclip~pool_size~many.train.pool_size: 'many' is not of type",
    ),
    (
        "sweeps.pool",
        sweep(axes={"pool_size": [-1]}),
        "defence.roclip~pool_size~-1.train.pool_size: -1 is less than the minimum",
    ),
    ("sweeps.x", sweep(axes={"augment_images": [1]}), "defence.roclip~augment_images~1.train.augment_images: 1 is not of type"),
    ("sweeps.pool", sweep(axes={"pool_fill": ["A b"]}), "sweeps.pool.axes: 'roclip~pool_fill~a b' is to be the name"),
    ("sweeps.pool", sweep(axes={"captions_per_target": [2501]}), "attack.targeted~captions_per_target~2501.captions_per"),
    ("attack.targeted.clean_pairs", 700, "defence.roclip.train.pool_size: 800 is more than the 700 training pairs"),
    ("attack.targeted.clean_pairs", 63, "attack.targeted.captions_per_target: 240 for all targets is more than the 63"),
    ("attack.targeted.clean_pairs", 40001, "attack.targeted.clean_pairs: 40001 is more than the 40000 training pairs"),
    ("defence.roclip.train.match_from", 9, "roclip.train.match_every: none of the 8 epochs is a multiple of 2 from epoch 9"),
    ("downstream.sets", ["mnist"], "downstream.sets.0: 'mnist' is not one of"),
    ("downstream.sets", ["dtd", "dtd"], r"downstream.sets: \['dtd', 'dtd'\] has non-unique elements"),
    ("downstream", {"root": "absent", "sets": ["dtd"], "require_all": True}, "no folder absent/dtd for 'dtd'; put the set"),
    ("downstream.folder", "x", "downstream.folder: unknown key; legal here: require_all, root, sets"),
    ("defence.roclip.train.pool_fill", "never", "defence.roclip.train.pool_fill: 'never' is not one of"),
    ("baseline", "roclip_unaugmented", "baseline: 'roclip_unaugmented' is not among defences: clip, roclip"),
    ("controls", ["hafl"], "controls: 'hafl' is not defined under 'defence'; defined are clip, roclip, half"),
    # what version 1 called otherwise
    ("methods", ["clip"], "methods: called `defences` since version 2"),
    ("method", {}, "method: called `defence` since version 2"),
    ("attack.patch.image_size", 32, "attack.patch.image_size: gone since version 2"),
    ("attack.patch.exam_images", 32, "attack.patch.exam_images: called `evaluation_images` since version 2"),
    ("sweeps.pool", {"methods": ["clip"]}, "sweeps.pool.methods: called `defences` since version 2"),
    ("defence.roclip.match_every", 2, "defence.roclip.match_every: .* write defence.roclip.train.match_every"),
    ("defence.roclip.keep", 1, "defence.roclip.keep: .* write defence.roclip.filter.keep"),
]


@pytest.mark.parametrize(("key", "value", "message"), MISTAKES)
def test_a_mistake_is_one_line_that_names_the_key(key, value, message):
    with pytest.raises(UserError, match=message) as caught:
        check(changed(key, value), ATTACKS)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 6000


def test_controls_need_not_be_run_but_the_plan_knows_them():
    planned = check(changed("controls", ["half", "clip_augmented"]), ATTACKS)[1]
    assert planned.controls == ["half", "clip_augmented"]
    assert planned.defences() == ["clip", "roclip"]


def test_the_usual_baseline_need_not_be_run():
    assert check(changed("defences", ["roclip"]), ATTACKS)[1].baseline == "clip"


def test_matching_epochs_are_looked_for_without_counting_up():
    train = {"kind": "roclip", "epochs": 100_000, "match_every": 100_001}
    with pytest.raises(UserError, match=r"defence.roclip.train.match_every: none of the 100000 epochs is a multiple"):
        check(changed("defence.roclip.train", train), ATTACKS)


def test_a_downstream_set_outside_the_data_roots_is_named_before_the_run(tmp_path):
    (tmp_path / "disk/dtd").mkdir(parents=True)
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets/dtd").symlink_to(tmp_path / "disk/dtd")
    config = changed("downstream", {"root": str(tmp_path / "sets"), "sets": ["dtd"]})
    outside = rf"downstream.sets: dtd is outside the data roots \(results, data\): add {tmp_path}/disk/dtd to data.roots"
    with pytest.raises(UserError, match=outside):
        check(config, ATTACKS)
    _, plan = check(changed("data.roots", ["results", str(tmp_path / "disk")], config), ATTACKS)
    assert plan.sets == ["dtd"]


@pytest.mark.parametrize("name", BACKDOORS)
def test_every_backdoor_is_checked_whatever_its_trigger(name):
    config = changed("attacks", [name])
    check(config, ATTACKS)
    for key, value in (("target_class", "dragon"), ("poisons", 40001)):
        with pytest.raises(UserError, match=rf"^attack\.{name}\.{key}: "):
            check(changed(f"attack.{name}.{key}", value, config), ATTACKS)


def test_a_wave_that_pixels_cannot_show_is_refused():
    config = changed("attack.sinusoid.frequency", 17, changed("attacks", ["sinusoid"]))
    with pytest.raises(UserError, match=r"attack\.sinusoid\.frequency: 17 periods are too many for 32 pixels"):
        check(config, ATTACKS)


@pytest.mark.parametrize("form", ["header", "four lists"])
def test_the_pairs_of_a_url_list_are_counted_before_the_run(tmp_path, form):
    """Of the train split only; a list with a header may hold line breaks in cells, one without may end without."""
    rows = [{"split": "train", "url": "file:x", "caption": "two\nlines", "label": ""}] * 100
    rows += [{"split": "test", "url": "file:x", "caption": "", "label": "mushroom"}] * 9
    write_table(tmp_path / "urls.tsv", ("split", "url", "caption", "label"), rows)
    (tmp_path / "train.tsv").write_text("\n".join(["a caption\tfile:x"] * 100))
    four = {split: str(tmp_path / "train.tsv") for split in ("train", "validation", "test", "probe")}
    config = changed("data.url_list", str(tmp_path / "urls.tsv") if form == "header" else four)
    config |= {"attacks": ["patch"], "defences": ["clip"], "train": {"batch_size": 100, "warmup_steps": 1}}
    check(config, ATTACKS)
    with pytest.raises(UserError, match=r"train\.batch_size: 101 is more than the 100 training pairs"):
        check(changed("train.batch_size", 101, config), ATTACKS)


@pytest.mark.parametrize(
    "pattern", ["a {foo}", "a {0}", "a {object", "{object.__class__}", "{object:>30000000}", "{object!r}", "{}"]
)
def test_a_sentence_pattern_holds_plain_names_alone(tmp_path, pattern):
    (tmp_path / "captions.txt").write_text(f"a {{object}} on {{ground}}\n{pattern}\n")
    with pytest.raises(UserError, match=r"data\.captions: .*captions\.txt, pattern 2: "):
        check(changed("data.captions", str(tmp_path / "captions.txt")), ATTACKS)


def test_the_given_config_is_left_as_it_is():
    config = copy.deepcopy(CONFIG)
    check(config, ATTACKS)
    assert config == CONFIG


@pytest.mark.parametrize("section", ["train", "data"])
def test_every_number_of_the_config_survives_as_a_flag(section):
    numbers = {key: value for key, value in COMPLETE[section].items() if isinstance(value, (int, float))}  # truth values too
    words = flags(numbers).split()
    assert words == [word for key, value in numbers.items() for word in (f"--{key}", str(value).lower())]


def test_every_key_of_version_1_s_default_is_a_default_still():
    """config/config.yaml as it was in version 1, by the hand of its author."""
    data, train = COMPLETE["data"], COMPLETE["train"]
    assert (data["image_size"], data["validation_scenes"], data["test_scenes"], data["probe_scenes"]) == (32, 1000, 2500, 4000)
    assert (train["epochs"], train["batch_size"], train["learning_rate"], train["warmup_steps"]) == (8, 64, 0.001, 50)
    assert (train["beta1"], train["beta2"], train["eps"], train["weight_decay"]) == (0.9, 0.999, 1e-8, 0.1)
    assert COMPLETE["attack"]["sinusoid"]["frequency"] == 6
    assert (ROOT / data["classes"]).is_file()
