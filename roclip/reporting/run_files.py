"""What a run wrote of itself, as the report, the contact sheet and the leaderboard read it: config, manifests, claims."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roclip.core.errors import UserError
from roclip.core.files import read_json
from roclip.core.yaml_files import read_mapping
from roclip.experiment.schema import SECTIONS, config_schema, section
from roclip.experiment.validation import check_schema

COUNT = {"type": "integer", "minimum": 0}
MANIFEST = {
    "type": "object",
    "required": ["kind", "clean_pairs", "poisons", "evaluation_images", "rate"],
    "properties": {
        "kind": {"type": "string"}, "clean_pairs": {**COUNT, "minimum": 1}, "poisons": COUNT, "evaluation_images": COUNT,
        "rate": {"type": "number", "minimum": 0}, "rate_per_target": {"type": "number", "minimum": 0},
    },
    "if": {"properties": {"poisons": {"const": 0}}},
    "else": {"properties": {"evaluation_images": {"minimum": 1}}},
}  # fmt: skip
CLAIM = {"type": "object", "required": ["about", "text"], "additionalProperties": {"type": "string"}}


def _whole(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a mapping in which no default is left out."""
    return {**schema, "required": list(schema["properties"])}


def _checked(path: Path, content: Any, schema: Mapping[str, Any], advice: str) -> Any:
    """The content, if it fits. Raises UserError."""
    try:
        check_schema(content, schema, {})
    except UserError as error:
        fault = str(error).removeprefix("config: ").removeprefix(": ")  # as the whole of a config is called
        raise UserError(f"{path}: not as this version writes it ({fault}); {advice}") from None
    return content


def read_config(results: Path) -> dict[str, Any]:
    """The config of the run, every default filled in, which the workflow writes when it starts.

    Raises UserError when it is missing, broken or of another version. Attacks, detectors and defences are not looked at: the
    plan has those that were run.
    """
    path, schema = results / "config.yaml", config_schema({})
    known = {name: rules for name, rules in schema["properties"].items() if name not in ("attack", "detector", "defence")}
    known |= {name: _whole(section(settings)) for name, settings in SECTIONS.items()}
    known["sweeps"] = {**known["sweeps"], "type": "object"}  # null is what may be given, and is written as {}
    schema = _whole({**schema, "properties": known, "additionalProperties": True})
    return _checked(path, read_mapping(path), schema, "start the workflow, which writes it")


def read_manifest(folder: Path) -> dict[str, Any]:
    """What an attack says of itself. Raises UserError when it is missing, or misses counts."""
    path = folder / "manifest.json"
    return _checked(path, read_json(path), MANIFEST, "make this attack again")


def read_claims(path: Path) -> list[dict[str, str]]:
    """The sentences of `claims`. Raises UserError when they are missing or broken."""
    return _checked(path, read_json(path), {"type": "array", "items": CLAIM}, "remove it and run the workflow, which writes it")
