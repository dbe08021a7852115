"""The JSON schema (2020-12) of the whole config, made of the dataclasses and registries on which its options are written."""

import inspect
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from roclip.core.columns import HISTORY, PACE
from roclip.core.errors import UserError
from roclip.core.options import default_of, kind_and_item, whole
from roclip.data.settings import DataSettings, DownstreamSettings
from roclip.defences import TRAININGS
from roclip.defences.detectors import DETECTORS
from roclip.defences.filters import FILTERS
from roclip.defences.repair import REPAIRS
from roclip.experiment.settings import NAME, ExperimentSettings
from roclip.training.settings import TrainSettings, per_step

SECTIONS = {"data": DataSettings, "downstream": DownstreamSettings, "train": TrainSettings}
STEPS = {"filter": FILTERS, "train": TRAININGS, "repair": REPAIRS}  # of a recipe, in their order
STEP_MEANING = {
    "filter": "before the training: which pairs are kept",
    "train": "the training itself",
    "repair": "after the training: what is done to its weights",
}
FAMILIES = ("clean", "targeted", "backdoor")  # of attacks
_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string", Path: "string"}
_BOUNDS = {"minimum": "minimum", "maximum": "maximum", "above": "exclusiveMinimum", "below": "exclusiveMaximum"}


def summary_of(owner: type) -> str:
    """What a class says of itself in a sentence or two: the first paragraph of its docstring."""
    return " ".join((inspect.getdoc(owner) or "").partition("\n\n")[0].split())


def plain(value: Any) -> Any:
    """A default as YAML holds it."""
    if isinstance(value, Path):
        return str(value)
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def hints_of(settings: type) -> list[tuple[Field, Any]]:
    """The options of a dataclass with their types."""
    hints = typing.get_type_hints(settings)
    return [(field, hints[field.name]) for field in fields(settings)]


def check_entry(owner: type) -> None:
    """Raises UserError, with class and field, for an entry of a registry that lacks what the config is made of."""
    name, settings = f"{owner.__module__}.{owner.__qualname__}", owner.Settings
    if not owner.__doc__:
        if sys.flags.optimize > 1:
            raise UserError("PYTHONOPTIMIZE is 2 or more, or python runs with -OO, without the texts that are shown; unset it")
        raise UserError(f"{name}: has no docstring; write one, its first line is shown beside the name")
    if "__dataclass_fields__" not in vars(settings):
        raise UserError(f"{name}.Settings: is no dataclass; write @dataclass(frozen=True, kw_only=True) above it")
    for field, hint in hints_of(settings):
        if "schema" not in field.metadata:
            raise UserError(f"{name}.Settings.{field.name}: write it as in `size: int = option('what it means', 3)`")
        if not field.metadata["schema"] and kind_and_item(hint)[0] not in _TYPES:
            raise UserError(
                f"{name}.Settings.{field.name}: {hint} is no type of an option; {', '.join(t.__name__ for t in _TYPES)} are"
            )
    if taken := [column for column in getattr(owner, "telemetry_columns", ()) if column in (*HISTORY, *PACE)]:
        raise UserError(f"{name}.telemetry_columns: every training has a column '{taken[0]}' already; call it otherwise")


def _value(meta: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """What one value must be."""
    if meta["choices"]:
        return {"enum": list(meta["choices"])}
    bounds = {_BOUNDS[name]: bound for name, bound in meta["bounds"].items()}
    return {"type": _TYPES[kind], **bounds, **({"pattern": whole(meta["pattern"])} if meta["pattern"] else {})}


def _or_null(rules: Mapping[str, Any]) -> dict[str, Any]:
    if "enum" in rules:
        return {**rules, "enum": [*rules["enum"], None]}
    return {**rules, "type": [rules["type"], "null"]}


def option_schema(field: Field, hint: Any) -> dict[str, Any]:
    """The schema of an option, with its meaning and default."""
    meta, default = field.metadata, default_of(field)
    kind, number = kind_and_item(hint)
    if meta["schema"]:
        rules = dict(meta["schema"])
    elif number == "many":
        rules = {"type": "array", "uniqueItems": True, "minItems": meta["fewest"] or 0, "items": _value(meta, kind)}
    else:
        rules = _value(meta, kind)
    if not meta["schema"] and isinstance(hint, types.UnionType) and type(None) in typing.get_args(hint):
        rules = _or_null(rules)
    return {**rules, "description": meta["help"], **({} if default is MISSING else {"default": plain(default)})}


def properties(settings: type) -> dict[str, Any]:
    """The schemas of the options of a dataclass by their names."""
    return {field.name: option_schema(field, hint) for field, hint in hints_of(settings)}


def section(settings: type) -> dict[str, Any]:
    """A mapping that holds options of a dataclass and nothing else."""
    needed = [field.name for field in fields(settings) if default_of(field) is MISSING]
    return {"type": "object", "additionalProperties": False, "required": needed, "properties": properties(settings)}


def own_settings(kind: type) -> dict[str, Any]:
    """What a step `train` of this kind may set in place of the section `train`; the default is what that holds."""
    options = properties(TrainSettings)
    return {name: {key: rule for key, rule in options[name].items() if key != "default"} for name in per_step(kind)}


def by_kind(name: str, registry: Mapping[str, type]) -> dict[str, Any]:
    """A mapping with `kind`, and the options of that kind."""
    branches = []
    for kind, owner in registry.items():
        check_entry(owner)
        rules = section(owner.Settings)
        rules["properties"] = {"kind": {}, **rules["properties"], **(own_settings(owner) if name == "train" else {})}
        branches.append({"if": {"required": ["kind"], "properties": {"kind": {"const": kind}}}, "then": rules})
    kinds = {
        "enum": list(registry),
        "description": "; ".join(f"{kind}: {summary_of(owner)}" for kind, owner in registry.items()),
    }
    return {"type": "object", "required": ["kind"], "properties": {"kind": kinds}, "allOf": branches}


def config_schema(attacks: Mapping[str, type]) -> dict[str, Any]:
    """The schema of a config. attacks: the registry of attacks."""
    for owner in attacks.values():
        if getattr(owner, "family", None) not in FAMILIES:
            raise UserError(f"{owner.__module__}.{owner.__qualname__}: `family` must be one of {', '.join(FAMILIES)}")
    top = section(ExperimentSettings)
    name = {"type": "string", "pattern": whole(NAME), "description": "a name: small letters, digits and _, at most 60"}
    axis = {
        "type": "array", "minItems": 1, "uniqueItems": True, "description": "values of an axis, at least one",
        "items": {"type": ["integer", "number", "string", "boolean", "object"], "minProperties": 1},
    }  # fmt: skip
    recipe = {
        "type": "object", "additionalProperties": False, "required": ["train"],
        "properties": {step: {"$ref": f"#/$defs/{step}", "description": meaning} for step, meaning in STEP_MEANING.items()},
    }  # fmt: skip
    named, detector = {"type": "object", "propertyNames": {"$ref": "#/$defs/name"}}, by_kind("detector", DETECTORS)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of an experiment",
        **top,
        "required": [*top["required"], "attack", "defence"],
        "$defs": {"name": name, "axis": axis, **{step: by_kind(step, registry) for step, registry in STEPS.items()}},
        "properties": {
            **top["properties"],
            **{key: section(settings) for key, settings in SECTIONS.items()},
            "attack": {**named, "description": "attacks by name", "additionalProperties": by_kind("attack", attacks)},
            "detector": {**named, "description": "detectors by name", "additionalProperties": detector},
            "defence": {**named, "description": "defences by name, each a recipe", "additionalProperties": recipe},
        },
    }
