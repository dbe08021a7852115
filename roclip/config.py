"""Checking a workflow's config before any job starts: against the schema, then for combinations that cannot work."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError

from roclip.errors import UserError
from roclip.plan import plan
from roclip.tables import read_json, read_lines, read_table


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


def check_schema(config: Mapping[str, Any], schema: Path) -> None:
    """Raises UserError that names the key and what is legal for the first entry that the schema refuses."""
    validator = Draft202012Validator(yaml.safe_load(schema.read_text(encoding="utf-8")))
    errors = sorted(validator.iter_errors(config), key=lambda error: (len(error.absolute_path), str(error.absolute_path)))
    for error in errors:
        raise UserError(_readable(error))


def pair_count(config: Mapping[str, Any]) -> int:
    """The training pairs of the data set, before any is lost in the download."""
    data = config["data"]
    if not data["url_list"]:
        return data["train_scenes"]
    return sum(row["split"] == "train" for row in read_table(Path(data["url_list"]), ("split", "url", "caption", "label")))


def _impossible(config: Mapping[str, Any]) -> Iterator[str]:
    data, train, planned = config["data"], config["train"], plan(config)
    classes = read_lines(Path(data["classes"]))
    for template in read_lines(Path(data["templates"])):
        if template.count("{}") != 1:
            yield f"data.templates: '{template}' must hold {{}} once, for the class name"
    if len(set(classes)) < len(classes):
        yield f"data.classes: {data['classes']} lists a class twice"
    pairs = pair_count(config)

    side = None
    if train["model"].endswith(".json"):
        try:
            side = read_json(Path(train["model"]))["vision_cfg"]["image_size"]
        except UserError as error:
            yield f"train.model: {error}"
        except (KeyError, TypeError):
            yield f"train.model: {train['model']} has no vision_cfg.image_size; it must be in open_clip's model format"
    if train["batch_size"] > pairs:
        yield f"train.batch_size: {train['batch_size']} is more than the {pairs} training pairs"
    for name in planned.methods():
        method = planned.method[name]
        steps = method["epochs"] * (pairs // train["batch_size"])
        if train["warmup_steps"] >= steps:
            yield f"train.warmup_steps: {train['warmup_steps']} is not less than the {steps} steps of method '{name}'"
        if method["match_every"] and method["pool_size"] > pairs:
            yield f"method.{name}.pool_size: {method['pool_size']} is more than the {pairs} training pairs"
        for key in ("match_every", "match_from"):
            if method[key] > method["epochs"]:
                yield f"method.{name}.{key}: {method[key]} is more than the {method['epochs']} epochs"
    for name in planned.attacks():
        attack = planned.attack[name]
        if attack["kind"] == "backdoor":
            if attack["target_class"] not in classes:
                yield f"attack.{name}.target_class: '{attack['target_class']}' is not in {data['classes']}"
            if attack["poisons"] > pairs:
                yield f"attack.{name}.poisons: {attack['poisons']} is more than the {pairs} training pairs"
            if round(attack["patch_size"] * attack["image_size"]) < 1:
                yield f"attack.{name}.patch_size: {attack['patch_size']} of {attack['image_size']} pixels is less than a pixel"
            if side and attack["image_size"] != side:
                yield f"attack.{name}.image_size: {attack['image_size']} is not the {side} pixels of {train['model']}"
        if attack["kind"] == "targeted" and attack["targets"] > len(classes):
            yield f"attack.{name}.targets: {attack['targets']} is more than the {len(classes)} classes"


def check(config: Mapping[str, Any], schema: Path) -> None:
    """Raises UserError, one line that names the key, for the first thing that is wrong with a config."""
    check_schema(config, schema)
    for problem in _impossible(config):
        raise UserError(problem)
