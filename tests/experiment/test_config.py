"""One name a setting: config key, schema property, dataclass field. A mistake is one line that names the key."""

import copy
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from attacks.blended import BlendedOptions
from attacks.patch import PatchOptions
from attacks.poisoned import AttackOptions
from attacks.sinusoid import SinusoidOptions
from attacks.targeted import TargetedOptions
from attacks.warped import WarpedOptions
from roclip.core.errors import UserError
from roclip.core.files import write_table
from roclip.data.downstream import DownstreamOptions
from roclip.experiment.config import check, check_duplicates
from roclip.experiment.plan import Plan
from roclip.training.trainer import TrainOptions
from tests.conftest import ROOT

SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())
KINDS = {
    "clean": AttackOptions, "targeted": TargetedOptions, "patch": PatchOptions, "blended": BlendedOptions,
    "sinusoid": SinusoidOptions, "warped": WarpedOptions,
}  # fmt: skip


GIVEN_TO_ATTACKS = {"train", "validation", "test", "classes", "templates", "out", "roots", "seed"}  # by the rule


def fields(options_class) -> set[str]:
    return {field.name for field in dataclasses.fields(options_class)}


def changed(key: str, value) -> dict:
    config = copy.deepcopy(CONFIG)
    *sections, last = key.split(".")
    place = config
    for section in sections:
        place = place[section]
    place[last] = value
    return config


def merge(base: dict, extra: dict) -> dict:
    """Two config files as Snakemake merges them: mappings key by key, the rest replaced."""
    for key, value in extra.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = value
    return base


def sweep(**changes) -> dict:
    return {"attacks": ["targeted"], "methods": ["roclip"]} | changes


def test_the_default_config_is_legal_and_complete():
    check(CONFIG, SCHEMA)
    schema = yaml.safe_load(SCHEMA.read_text())
    assert set(CONFIG) == set(schema["properties"])
    for section in ("data", "downstream", "train"):
        assert set(CONFIG[section]) == set(schema["properties"][section]["properties"])


def test_every_property_has_a_description():
    def walk(node, name):
        if isinstance(node, dict):
            for key, value in node.get("properties", {}).items():
                assert value == {} or {"description", "const", "properties", "$ref"} & set(value), f"{name}.{key}"
                walk(value, f"{name}.{key}")
            for key, value in node.items():
                if key != "properties":
                    walk(value, name)

    walk(yaml.safe_load(SCHEMA.read_text()), "config")


def test_train_and_method_keys_are_the_fields_of_train_options():
    given_by_rule = {"pairs", "targets", "validation", "classes", "templates", "out", "seed", "roots", "max_bad_fraction"}
    assert set(CONFIG["train"]) | set(CONFIG["method"]["roclip"]) == fields(TrainOptions) - given_by_rule


def test_downstream_keys_are_fields_of_its_options_or_the_workflow_s_own():
    given_by_rule = {"set", "out", "max_bad_fraction"}
    assert set(CONFIG["downstream"]) - {"sets", "require_all"} == fields(DownstreamOptions) - given_by_rule


@pytest.mark.parametrize("name", CONFIG["attack"])
def test_attack_keys_are_the_fields_of_their_options(name):
    settings = CONFIG["attack"][name]
    assert set(settings) - {"kind"} == fields(KINDS[settings["kind"]]) - GIVEN_TO_ATTACKS


def test_every_kind_is_a_stage_and_its_schema_requires_and_allows_its_options():
    attack = yaml.safe_load(SCHEMA.read_text())["properties"]["attack"]["additionalProperties"]
    assert attack["properties"]["kind"]["enum"] == list(KINDS)
    for kind, branch in zip(KINDS, attack["allOf"], strict=True):
        assert branch["if"]["properties"]["kind"]["const"] == kind
        assert set(branch["then"]["properties"]) - {"kind"} == fields(KINDS[kind]) - GIVEN_TO_ATTACKS
        assert (ROOT / f"attacks/{kind}.py").exists()


@pytest.mark.parametrize(
    ("name", "key"), [(name, key) for name in ("targeted", *list(KINDS)[2:]) for key in CONFIG["attack"][name]]
)
def test_every_key_of_an_attack_is_required(name, key):
    config = copy.deepcopy(CONFIG)
    del config["attack"][name][key]
    with pytest.raises(UserError, match=rf"^attack\.{name}: '{key}' is a required property"):
        check(config, SCHEMA)


@pytest.mark.parametrize("name", ["config", "test", "ablations", "faithful_release"])  # others: test_paper_scale.py
def test_every_config_is_legal_on_top_of_the_default(name):
    check(merge(copy.deepcopy(CONFIG), yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())), SCHEMA)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.epoch", 8, "train.epoch: unknown key; legal here: batch_size, beta1"),
        ("colour", 1, "colour: unknown key; legal here: attack, attacks"),
        ("method.roclip.match", 1, "method.roclip.match: unknown key"),
        ("attack.patch.targets", 1, "attack.patch.targets: unknown key"),
        ("train.epochs", "8", "train.epochs: '8' is not of type 'integer'"),
        ("train.epochs", 0, "train.epochs: 0 is less than the minimum of 1"),
        ("train.precision", "fp8", r"train.precision: 'fp8' is not one of \['bf16', 'float32'\]"),
        ("attacks", ["targeted", "sneaky"], "attacks: 'sneaky' is not defined under 'attack'; defined are clean, targeted"),
        ("methods", [], "methods: "),
        ("seeds", [1, 1], "seeds: "),
        ("method.roclip.pool_size", 40001, "method.roclip.pool_size: 40001 is more than the 40000 training pairs"),
        ("train.batch_size", 50000, "train.batch_size: 50000 is more than the 40000 training pairs"),
        ("method.roclip.match_every", 9, "method.roclip.match_every: none of the 8 epochs is a multiple of 9 from epoch 1 on"),
        ("train.warmup_steps", 10**6, "train.warmup_steps: 1000000 is not less than"),
        (
            "attack.patch.kind",
            "backdoor",
            r"attack.patch.kind: 'backdoor' is not one of \['clean', 'targeted', 'patch', 'blended'",
        ),
        (
            "attack.warped.blend_share",
            1,
            "attack.warped.blend_share: unknown key; legal here: captions, clean_pairs, exam_images",
        ),
        ("attack.blended.blend_share", 1.5, "attack.blended.blend_share: 1.5 is greater than the maximum of 1"),
        ("attack.blended.pattern", "stripes", r"attack.blended.pattern: 'stripes' is not one of \['fixed', 'per_image'\]"),
        ("attack.sinusoid.amplitude", 0, "attack.sinusoid.amplitude: 0 is less than or equal to the minimum of 0"),
        ("attack.warped.warp_grid", 1, "attack.warped.warp_grid: 1 is less than the minimum of 2"),
        ("attack.patch.captions", "none", "attack.patch.captions: 'none' is not one of"),
        ("attack.patch.poisons", 40001, "attack.patch.poisons: 40001 is more than the 40000 training pairs"),
        ("attack.targeted.captions_per_target", 2501, "captions_per_target: 40016 for all targets is more than the 40000"),
        ("attack.patch.target_class", "dragon", "attack.patch.target_class: 'dragon' is not in config/scenes/classes.txt"),
        ("attack.patch.patch_size", 0.001, "attack.patch.patch_size: .* is less than a pixel"),
        ("attack.patch.image_size", 64, "attack.patch.image_size: 64 is not the 32"),
        ("attack.targeted.adversary_classes", ["dragon"] * 1, "attack.targeted.targets: 16 is more than the 1 classes"),
        ("data.url_list", {"train": "a.tsv"}, "data.url_list: the split 'validation' is neither listed nor in data.tables"),
        ("data.tables", {"train": "absent.csv"}, "absent.csv: no such file"),
        ("attack.targeted.targets", 51, "attack.targeted.targets: 51 is more than the 50 classes"),
        ("attack.targeted.captions_per_target", 0, "attack.targeted.captions_per_target: 0 is less than the minimum of 1"),
        ("train.model", "config/models/absent.json", "train.model: config/models/absent.json: no such file"),
        ("data.url_list", "absent.tsv", "absent.tsv: no such file"),
        ("data.url_list", "tests", "tests: is a directory"),
        ("data.url_list", dict.fromkeys(("train", "validation", "test", "probe"), "tests"), "tests: is a directory"),
        ("data.classes", "absent.txt", "absent.txt: no such file"),
        ("data.max_bad_fraction", 2, "data.max_bad_fraction: 2 is greater than the maximum of 1"),
        ("experiment", "../up", "experiment: "),
        ("train.epochs", 10**400, "train.epochs: 1000.* is not of type 'integer'"),
        ("train.eps", 10**400, "train.eps: 1000.* is not of type 'number'"),
        ("train.model", "a" * 5000, "train.model: 'aaa.*' is neither the name"),
        ("data.roots", [], r"data.roots: \[\] should be non-empty"),
        ("data.roots", ["-x"], "data.roots.0: '-x' does not match"),
        ("data.roots", ["a\0b"], "data.roots: .*null"),
        ("data.classes", "/dev/zero", "/dev/zero: is a pipe or device, no file"),
        ("data.classes", "a\0b", "null"),
        ("train.batch_size", 64.0, "train.batch_size: 64.0 is not of type 'integer'"),
        ("train.learning_rate", float("nan"), "train.learning_rate: nan is not of type 'number'"),
        ("seeds", [10.0], "seeds.0: 10.0 is not of type 'integer'"),
        ("seeds", [10**22], "seeds.0: .* is greater than the maximum"),
        ("train.model", "RN5O", "train.model: 'RN5O' is neither the name of an open_clip model nor a .json file"),
        ("train.model", "RN50", "attack.patch.image_size: 32 is not the 224 pixels of RN50"),
        ("data.validation_scenes", 15, "attack.targeted.targets: 16 is more than the 15 validation scenes"),
        ("sweeps.pool", sweep(axes={"pool_size": []}), r"sweeps.pool.axes.pool_size: \[\] should be non-empty"),
        ("sweeps.pool", sweep(axes={"pool_size": [400, 400]}), r"sweeps.pool.axes.pool_size: .* non-unique"),
        (
            "sweeps.pool",
            sweep(axes={"pool": [400]}),
            "sweeps.pool.axes: neither attack 'targeted' nor method 'roclip' has 'pool'",
        ),
        ("sweeps.pool", sweep(attacks=["sneaky"]), "sweeps.pool.attacks: 'sneaky' is not defined under 'attack'"),
        ("sweeps.pool", sweep(seeds=[]), r"sweeps.pool.seeds: \[\] should be non-empty"),
        ("sweeps.pool", sweep(axis={}), "sweeps.pool.axis: unknown key; legal here: attacks, axes, methods, seeds"),
        ("sweeps.pool", sweep(axes={"pool_size": [40001]}), "method.roclip~pool_size~40001.pool_size: 40001 is more than"),
        ("sweeps.pool", sweep(axes={"pool_size": ["many"]}), "method.roclip~pool_size~many.pool_size: 'many' is not of type"),
        ("sweeps.pool", sweep(axes={"pool_size": [-1]}), "method.roclip~pool_size~-1.pool_size: -1 is less than the minimum"),
        ("sweeps.pool", sweep(axes={"pool_fill": ["A b"]}), "sweeps.pool.axes: 'roclip~pool_fill~a b' is to be the name"),
        ("sweeps.pool", sweep(axes={"captions_per_target": [2501]}), "attack.targeted~captions_per_target~2501.captions_per"),
        ("attack.targeted.clean_pairs", 700, "method.roclip.pool_size: 800 is more than the 700 training pairs"),
        ("attack.targeted.clean_pairs", 63, "attack.targeted.captions_per_target: 240 for all targets is more than the 63"),
        ("attack.targeted.clean_pairs", 40001, "attack.targeted.clean_pairs: 40001 is more than the 40000 training pairs"),
        ("method.roclip.match_from", 9, "method.roclip.match_every: none of the 8 epochs is a multiple of 2 from epoch 9"),
        ("downstream.sets", ["mnist"], "downstream.sets.0: 'mnist' is not one of"),
        ("downstream.sets", ["dtd", "dtd"], r"downstream.sets: \['dtd', 'dtd'\] has non-unique elements"),
        ("downstream", {"root": "absent", "sets": ["dtd"], "require_all": True}, "no folder absent/dtd for 'dtd'; put the set"),
        ("downstream.folder", "x", "downstream.folder: unknown key; legal here: require_all, root, sets"),
        ("method.roclip.pool_fill", "never", "method.roclip.pool_fill: 'never' is not one of"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(key, value, message):
    with pytest.raises(UserError, match=message) as caught:
        check(changed(key, value), SCHEMA)
    assert "\n" not in str(caught.value)


def test_matching_epochs_are_looked_for_without_counting_up():
    config = changed("method.roclip.epochs", 10**18)
    config["method"]["roclip"]["match_every"] = 10**18 + 1
    with pytest.raises(UserError, match=r"method.roclip.match_every: none of the 10+ epochs is a multiple"):
        check(config, SCHEMA)


def test_a_downstream_set_outside_the_data_roots_is_named_before_the_run(tmp_path):
    (tmp_path / "disk/dtd").mkdir(parents=True)
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets/dtd").symlink_to(tmp_path / "disk/dtd")
    config = changed("downstream", {"root": str(tmp_path / "sets"), "sets": ["dtd"], "require_all": False})
    outside = rf"downstream.sets: dtd is outside the data roots \(results, data\): add {tmp_path}/disk/dtd to data.roots"
    with pytest.raises(UserError, match=outside):
        check(config, SCHEMA)
    config["data"]["roots"] = ["results", str(tmp_path / "disk")]
    check(config, SCHEMA)


@pytest.mark.parametrize("name", [name for name in CONFIG["attack"] if name not in ("clean", "targeted")])
def test_every_backdoor_is_checked_whatever_its_trigger(name):
    config = changed("attacks", [name])
    check(config, SCHEMA)
    for key, value in (("target_class", "dragon"), ("poisons", 40001), ("image_size", 64)):
        wrong = copy.deepcopy(config)
        wrong["attack"][name][key] = value
        with pytest.raises(UserError, match=rf"^attack\.{name}\.{key}: "):
            check(wrong, SCHEMA)


def test_a_wave_that_pixels_cannot_show_is_refused():
    config = changed("attack.sinusoid.frequency", 17)
    config["attacks"] = ["sinusoid"]
    with pytest.raises(UserError, match=r"attack\.sinusoid\.frequency: 17 periods are too many for 32 pixels"):
        check(config, SCHEMA)


@pytest.mark.parametrize("form", ["header", "four lists"])
def test_the_pairs_of_a_url_list_are_counted_before_the_run(tmp_path, form):
    """Of the train split only; a list with a header may hold line breaks in cells, one without may end without."""
    rows = [{"split": "train", "url": "file:x", "caption": "two\nlines", "label": ""}] * 100
    rows += [{"split": "test", "url": "file:x", "caption": "", "label": "mushroom"}] * 9
    write_table(tmp_path / "urls.tsv", ("split", "url", "caption", "label"), rows)
    (tmp_path / "train.tsv").write_text("\n".join(["a caption\tfile:x"] * 100))
    four = {split: str(tmp_path / "train.tsv") for split in ("train", "validation", "test", "probe")}
    config = changed("data.url_list", str(tmp_path / "urls.tsv") if form == "header" else four)
    config["attacks"], config["methods"], config["train"]["warmup_steps"] = ["patch"], ["clip"], 1
    check(config | {"train": config["train"] | {"batch_size": 100}}, SCHEMA)
    with pytest.raises(UserError, match=r"train\.batch_size: 101 is more than the 100 training pairs"):
        check(config | {"train": config["train"] | {"batch_size": 101}}, SCHEMA)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("attack:\n  a: {kind: clean}\n  b: {kind: clean}\n  a: {kind: targeted}\n", "line 4: 'a' stands twice"),
        ("seeds: [1]\nseeds: [2]\n", "line 2: 'seeds' stands twice"),
        ("attack:\n  a: {poisons: 1, poisons: 2}\n", "line 2: 'poisons' stands twice"),
        ("x: [{a: 1}, {b: 1, b: 1}]\n", "line 1: 'b' stands twice"),
        ("x: &x {a: 1, b: 2}\ny: {<<: *x, a: 2}\nz: {<<: &z {a: 1}, a: 2, c: 1, c: 2}\n", "line 3: 'c' stands twice"),
        ("a: [1\n", "not YAML"),
    ],
)
def test_a_key_that_stands_twice_is_named_with_file_and_line(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"mine\.yaml.*{message}") as caught:
        check_duplicates([tmp_path / "mine.yaml"])
    assert "\n" not in str(caught.value)


def test_merge_keys_and_the_project_s_own_configs_have_no_duplicates(tmp_path):
    (tmp_path / "mine.yaml").write_text("x: &x {a: 1}\ny: &y {<<: *x, a: 2}\nz: {<<: *x, <<: *y, a: 3}\n")
    (tmp_path / "empty.yaml").write_text("")
    check_duplicates([tmp_path / "mine.yaml", str(tmp_path / "empty.yaml"), *ROOT.glob("config/*.yaml")])


def test_the_workflow_checks_every_config_file_for_duplicates(tmp_path):
    (tmp_path / "mine.yaml").write_text("attack:\n  mine: {kind: clean}\n  mine: {kind: clean}\n")
    snakemake = str(Path(sys.executable).parent / "snakemake")
    command = [snakemake, "--dry-run", "--configfile", "config/test.yaml", str(tmp_path / "mine.yaml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "mine.yaml, line 3: 'mine' stands twice" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_workflow_shows_it_without_a_traceback_and_starts_no_job():
    snakemake = str(Path(sys.executable).parent / "snakemake")
    done = subprocess.run([snakemake, "--cores", "1", "--config", "train={pool: 1}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "config: train.pool: unknown key" in done.stderr
    assert "Traceback" not in done.stderr
    assert "rule" not in done.stdout + done.stderr.replace("workflow/rules", "")


def test_an_attack_cannot_take_the_place_of_the_test_set():
    config = changed("attacks", ["test"])
    config["attack"]["test"] = config["attack"]["targeted"]
    with pytest.raises(UserError, match="attacks: 'test' is the name of a set of clean images"):
        check(config, SCHEMA)


def paths_of(node, path=()) -> list[tuple]:
    """The way to every value of a config: keys and places in lists."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(way for key, value in inner for way in paths_of(value, (*path, key)))]


ODD = [
    None, True, False, 0, 1, -1, 2, 10**6, 10**400, 0.5, -0.0, 1e308, float("inf"), float("nan"), b"a", (1, 2),
    "", " ", "a", "..", "/", ".", "-x", "/dev/zero", "/proc/self/mem", "results/../..", "config/config.yaml",
    "config/scenes/classes.txt", "config/models/small.json", "a" * 5000, "a\nb", "\0", "\ud800", "{}", "$(touch x)", "é",
    [], [[]], ["a", "a"], [None], {}, {"a": {}}, {"": 1}, {"a b": [1, 2]}, {1: 2}, {"train": "tests"},
    {"root": ".", "sets": ["dtd"]}, "targeted", "patch", "clip", "roclip",
]  # fmt: skip
NESTED = st.recursive(
    st.sampled_from(ODD),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
VALUES = st.one_of(st.sampled_from(ODD), st.integers(), st.floats(), st.text(max_size=8), NESTED)
AXES = st.sampled_from(["pool_size", "match_every", "targets", "epochs", "kind", "x"])
SWEEP = st.fixed_dictionaries(
    {"attacks": st.just(["targeted"]), "methods": st.just(["roclip"])},
    optional={"axes": st.dictionaries(AXES, VALUES, max_size=2), "seeds": VALUES},
)


@st.composite
def mutated(draw) -> dict:
    """The default config with up to 3 values replaced, removed or added, in a sweep too."""
    config = copy.deepcopy(CONFIG)
    if draw(st.booleans()):
        config["sweeps"] = {"x": copy.deepcopy(draw(SWEEP))}
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(paths_of(config)[1:]))
        place = config
        for key in way:
            place = place[key]
        match draw(st.sampled_from(["replace", "replace", "remove", "add"])):
            case "replace":
                place[last] = copy.deepcopy(draw(VALUES))
            case "remove":
                del place[last]
            case "add" if isinstance(place, dict):
                place[draw(st.text(max_size=5))] = copy.deepcopy(draw(VALUES))
    return config


@given(mutated())
@settings(max_examples=50, deadline=None)
def test_any_config_is_a_plan_or_one_line(config):
    try:
        assert isinstance(check(config, SCHEMA), Plan)
    except UserError as error:
        message = str(error)
        assert message.isprintable()
        message.encode()
