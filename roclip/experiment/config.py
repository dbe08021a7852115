"""Checking a workflow's config before any job starts: against the schema, then for combinations that cannot work."""

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from roclip.core.errors import UserError
from roclip.core.files import read_json, read_lines
from roclip.data.downstream_sets import FOLDERS, present_sets
from roclip.data.images import BadImage, Roots
from roclip.data.pairs import count_pairs
from roclip.data.url_list import SPLITS, count_rows, words
from roclip.evaluation.features import NOT_ATTACKS
from roclip.experiment.plan import Plan, plan
from roclip.training.schedule import is_matching


def _readable(error: ValidationError) -> str:
    key = ".".join(map(str, error.absolute_path)) or "config"
    if error.validator == "additionalProperties":
        legal = sorted(error.schema.get("properties", {}))
        unknown = sorted(set(error.instance) - set(legal))[0]
        where = f"{'.'.join(map(str, error.absolute_path))}." if error.absolute_path else ""
        return f"{where}{unknown}: unknown key; legal here: {', '.join(legal)}"
    if error.validator == "required":
        return f"{key}: {error.message}"
    description = error.schema.get("description", "")
    return f"{key}: {error.message}" + (f" ({description})" if description else "")


def _repeated(node: yaml.Node) -> Iterator[yaml.Node]:
    """The keys that stand twice in one mapping of a YAML tree. The merge key is free to: each `<<` adds to the others."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen and key.tag != "tag:yaml.org,2002:merge":
                yield key
            seen.add(name)
            yield from _repeated(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated(value)


def check_duplicates(paths: Iterable[str | Path]) -> None:
    """Raises UserError with file, line and key for a key that stands twice in one mapping: YAML drops all but the last."""
    for path in paths:
        try:
            tree = yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
        for key in _repeated(tree):
            raise UserError(f"{path}, line {key.start_mark.line + 1}: '{key.value}' stands twice in one mapping; rename one")


def _is_number(_: Any, value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return False


# as Python and the flags see it, 64.0 is no integer, and nan no number between bounds
Validator = extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("number", _is_number).redefine(
        "integer", lambda checker, value: isinstance(value, int) and _is_number(checker, value)
    ),
)


def check_schema(config: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Raises UserError that names the key and what is legal for the first entry that the schema refuses."""
    validator = Validator(schema)
    errors = sorted(validator.iter_errors(config), key=lambda error: (len(error.absolute_path), str(error.absolute_path)))
    for error in errors:
        raise UserError(_readable(error))


def image_side(model: str) -> int:
    """The side in pixels of a model's images. Raises UserError for a model that is not known.

    Reads open_clip's own files, for importing it takes seconds.
    """
    path = Path(model)
    if path.suffix != ".json":
        (package,) = find_spec("open_clip").submodule_search_locations
        path = Path(package, "model_configs", f"{model}.json")
        if not os.path.exists(path):  # noqa: PTH110 (Path.exists raises for a name that is too long)
            raise UserError(f"train.model: '{model}' is neither the name of an open_clip model nor a .json file")
    try:
        size = read_json(path)["vision_cfg"]["image_size"]
    except UserError as error:
        raise UserError(f"train.model: {error}") from None
    except (KeyError, TypeError):
        raise UserError(f"train.model: {model} has no vision_cfg.image_size; it must be in open_clip's model format") from None
    return max(size) if isinstance(size, list) else size


def pair_count(config: Mapping[str, Any]) -> int:
    """The training pairs of the data set, before any is lost in the download."""
    data = config["data"]
    if "train" in data["tables"]:
        return count_pairs(Path(data["tables"]["train"]))
    return count_rows(words(data["url_list"]), "train") if data["url_list"] else data["train_scenes"]


def _impossible(config: Mapping[str, Any], planned: Plan) -> Iterator[str]:
    data, train = config["data"], config["train"]
    classes = read_lines(Path(data["classes"]))
    for template in read_lines(Path(data["templates"])):
        if template.count("{}") != 1:
            yield f"data.templates: '{template}' must hold {{}} once, for the class name"
    if len(set(classes)) < len(classes):
        yield f"data.classes: {data['classes']} lists a class twice"
    if isinstance(data["url_list"], Mapping):
        for split in SPLITS:
            if split not in data["url_list"] and split not in data["tables"]:
                yield f"data.url_list: the split '{split}' is neither listed nor in data.tables; name it in one of them"
    try:
        roots = Roots(data["roots"])
    except ValueError as error:  # no path can be called so
        raise UserError(f"data.roots: {error}") from None
    for name in present_sets(config["downstream"]):
        folder = os.path.join(config["downstream"]["root"], FOLDERS[name])  # noqa: PTH118 (as an image's path)
        try:
            roots.check(folder)
        except BadImage as error:
            yield f"downstream.sets: {name} is {error}: add {os.path.realpath(folder)} to data.roots"
    pairs = pair_count(config)

    side = image_side(train["model"])
    for name in planned.attacks():
        attack, available = planned.attack[name], pairs
        if name in NOT_ATTACKS:
            yield f"attacks: '{name}' is the name of a set of clean images; call the attack something else"
        if attack["clean_pairs"]:
            available = attack["clean_pairs"]
            if available > pairs:
                yield f"attack.{name}.clean_pairs: {available} is more than the {pairs} training pairs"
        if attack["kind"] == "targeted":
            chosen = attack["adversary_classes"] or classes
            if attack["targets"] > len(chosen):
                yield f"attack.{name}.targets: {attack['targets']} is more than the {len(chosen)} classes"
            if unknown := sorted(set(chosen) - set(classes)):
                yield f"attack.{name}.adversary_classes: '{unknown[0]}' is not in {data['classes']}"
            images = data["validation_scenes"]
            embedded = not data["url_list"] and "validation" not in data["tables"]
            if embedded and attack["targets"] > images:
                yield f"attack.{name}.targets: {attack['targets']} is more than the {images} validation scenes"
            count = attack["targets"] * attack["captions_per_target"]
            if count > available:
                yield f"attack.{name}.captions_per_target: {count} for all targets is more than the {available} training pairs"
        if "target_class" not in attack:
            continue
        # a backdoor, whatever its trigger
        target_class, poisons, pixels = attack["target_class"], attack["poisons"], attack["image_size"]
        if target_class not in classes:
            yield f"attack.{name}.target_class: '{target_class}' is not in {data['classes']}"
        if poisons > available:
            yield f"attack.{name}.poisons: {poisons} is more than the {available} training pairs"
        if pixels != side:
            yield f"attack.{name}.image_size: {pixels} is not the {side} pixels of {train['model']}"
        if round(attack.get("patch_size", 1) * pixels) < 1:
            yield f"attack.{name}.patch_size: {attack['patch_size']} of {pixels} pixels is less than a pixel"
        if 2 * attack.get("frequency", 0) > pixels:
            yield f"attack.{name}.frequency: {attack['frequency']} periods are too many for {pixels} pixels, at least 2 each"
    for attack_name, name in dict.fromkeys(run[:2] for run in planned.runs):
        available, method = planned.attack[attack_name]["clean_pairs"] or pairs, planned.method[name]
        if train["batch_size"] > available:
            yield f"train.batch_size: {train['batch_size']} is more than the {available} training pairs"
        steps = method["epochs"] * (available // train["batch_size"])
        if train["warmup_steps"] >= steps:
            yield f"train.warmup_steps: {train['warmup_steps']} is not less than the {steps} steps of method '{name}'"
        if method["match_every"] and method["pool_size"] > available:
            yield f"method.{name}.pool_size: {method['pool_size']} is more than the {available} training pairs"
        last = method["epochs"] - method["epochs"] % max(1, method["match_every"])  # that may be a matching epoch
        if method["match_every"] and not is_matching(last, method["match_every"], method["match_from"]):
            yield (
                f"method.{name}.match_every: none of the {method['epochs']} epochs is a multiple of {method['match_every']} "
                f"from epoch {method['match_from']} on"
            )


def check(config: Mapping[str, Any], schema: Path) -> Plan:
    """The plan of a config. Raises UserError, one line that names the key, for the first thing that is wrong with it."""
    rules = yaml.safe_load(schema.read_text(encoding="utf-8"))
    check_schema(config, rules)
    planned = plan(config)
    for kind in ("attack", "method"):
        del rules["properties"][kind]["propertyNames"]  # a variant's name is made, not chosen
    check_schema({**config, "attack": planned.attack, "method": planned.method}, rules)
    present_sets(config["downstream"])
    for problem in _impossible(config, planned):
        raise UserError(problem)
    return planned
