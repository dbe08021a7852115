"""Checking a config against its schema: for the first thing that is wrong, one line that names the key and what is legal."""

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from roclip.core.errors import UserError
from roclip.core.options import CONTROL, PATH, whole
from roclip.core.words import nearest
from roclip.core.yaml_files import DEEPEST, LARGEST
from roclip.defences.detectors import DETECTORS
from roclip.experiment.schema import STEPS

LONGEST = 400  # characters of a message
RENAMED = {  # keys of version 1, by where they stood, and what to write now
    (): {
        "methods": "called `defences` since version 2",
        "method": "called `defence` since version 2, each a recipe such as `clip: { train: { kind: clip, epochs: 8 } }`",
    },
    ("sweeps",): {"methods": "called `defences` since version 2"},
    ("attack",): {
        "image_size": "gone since version 2; triggers are put on images of the model's size. Take the line out",
        "exam_images": "called `evaluation_images` since version 2",
    },
}
NOUNS = {
    "attack": "an attack", "filter": "a filter", "train": "a train step", "repair": "a repair", "detector": "a detector",
}  # fmt: skip


def _is_number(_: Any, value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return False


def _identity(value: Any) -> Any:
    """What equal values of JSON have in common, and no others: 1 and 1.0, but not true."""
    if isinstance(value, Mapping):
        return frozenset((key, _identity(item)) for key, item in value.items())
    if isinstance(value, (set, list, tuple)):  # YAML has sets and pairs too, which the schema refuses
        return frozenset(map(_identity, value)) if isinstance(value, set) else tuple(map(_identity, value))
    return isinstance(value, bool), value


def _unique(checker: Any, wanted: bool, value: Any, _: Any) -> Iterator[ValidationError]:
    """As jsonschema's own, which compares each with each where they cannot be sorted: minutes for thousands."""
    if wanted and checker.is_type(value, "array") and len(set(map(_identity, value))) < len(value):
        yield ValidationError(f"{value!r} has non-unique elements")


def _is_for_a_shell(path: str) -> bool:
    """Whether a path begins with what only a shell would put another in place of: ~, or $NAME where nothing is called so."""
    named = re.match(r"\$\{?[A-Za-z_]", path)
    return bool(re.match(r"~(/|\Z)", path) or (named and not os.path.exists(path)))  # noqa: PTH110 (as in files.py)


def _pattern(checker: Any, pattern: str, value: Any, rules: Mapping[str, Any]) -> Iterator[ValidationError]:
    """As jsonschema's own; and no path is one that only a shell would find."""
    yield from Draft202012Validator.VALIDATORS["pattern"](checker, pattern, value, rules)
    if pattern == whole(PATH) and isinstance(value, str) and _is_for_a_shell(value):
        yield ValidationError(f"{value!r} is no path but to a shell")


# as Python and the flags see it, 64.0 is no integer, and nan no number between bounds
Validator = extend(
    Draft202012Validator,
    {"uniqueItems": _unique, "pattern": _pattern},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("number", _is_number).redefine(
        "integer", lambda checker, value: isinstance(value, int) and _is_number(checker, value)
    ),
)


def check_size(config: Any) -> None:
    """Raises UserError for a config that would keep everything after it busy: aliases of aliases, and one that holds itself.

    And for texts that no command line can hold, with their key: NUL, and the word `--`, which argparse takes away; and for
    what a terminal would act on, for jobs' commands are shown.
    """
    waiting, count = [((), config)], 0
    while waiting:
        way, value = waiting.pop()
        is_list = isinstance(value, (list, tuple))
        inner = list(value.items() if isinstance(value, Mapping) else enumerate(value) if is_list else ())
        count += 1 + len(inner)
        if len(way) > DEEPEST:
            raise UserError(f"config: more than {DEEPEST} mappings or lists in one another; does an alias hold itself?")
        if count > LARGEST:
            raise UserError(f"config: more than {LARGEST} values; are there aliases of aliases in it?")
        if isinstance(value, str) and (value == "--" or "\0" in value):
            raise UserError(
                f"{'.'.join(map(str, way))}: {value[:LONGEST]!r} is not legal here: no command line holds it; call it otherwise"
            )
        if isinstance(value, str) and re.search(f"[{CONTROL}]", value):
            said = f"{'.'.join(map(str, way))}: {value[:LONGEST]!r} is not legal here"
            raise UserError(f"{said}: it holds a character that a terminal would act on; take it out")
        waiting += [((*way, key), item) for key, item in inner]


def _family(path: Sequence[Any]) -> str | None:
    """What a mapping at this place of a config is: `attack`, `recipe`, or a step of a recipe."""
    if len(path) == 2:
        return {"attack": "attack", "detector": "detector", "defence": "recipe"}.get(path[0])
    if path and path[0] == "defence":
        return "train" if path[-1] == "scored_by" else path[-1]
    return None


def _options(kind: type) -> set[str]:
    return set(kind.Settings.__dataclass_fields__)


class _Messages:
    """What is said of the errors of a schema."""

    def __init__(self, attacks: Mapping[str, type]) -> None:
        self.registries = {"attack": attacks, **STEPS, "detector": DETECTORS}

    def of(self, error: ValidationError) -> str:
        """One line that names the key."""
        path = list(error.absolute_path)
        key = ".".join(map(str, path)) or "config"
        special = {
            "additionalProperties": self._unknown_key, "required": self._missing, "pattern": self._illegal_text,
            "enum": self._other_family, "type": self._of_other_type,
        }.get(error.validator)  # fmt: skip
        message = special(error, path) if special else None
        if message is None:
            described = "description" in error.schema and error.validator not in ("enum", "type")
            message = f"{key}: {error.message}" + (f" ({error.schema['description']})" if described else "")
        return message if len(message) <= LONGEST else f"{message[: LONGEST // 2]} ... {message[-LONGEST // 3 :]}"

    def _unknown_key(self, error: ValidationError, path: list) -> str:
        legal = set(error.schema["properties"])
        unknown = sorted(set(error.instance) - legal, key=str)
        place = tuple(path[:1]) if len(path) == 2 else tuple(path)
        renamed = RENAMED.get(place, {})
        name = next((name for name in unknown if name in renamed), unknown[0])
        key = ".".join(map(str, [*path, name]))
        if name in renamed:
            return f"{key}: {renamed[name]}"
        if _family(path) == "recipe" and (step := self._step_with(name)):
            return f"{key}: belongs to a step of the recipe since version 2: write defence.{path[1]}.{step}.{name}"
        kinds = self._kinds_with(name, _family(path))
        why = f"an option of kind {' and '.join(kinds)}, not of '{error.instance['kind']}'" if kinds else "unknown key"
        like = nearest(str(name), () if kinds else sorted(legal))
        meant = f"; did you mean '{like}'?" if like else ";"
        return f"{key}: {why}{meant} legal here: {', '.join(sorted(legal - {'kind'}))}"

    def _kinds_with(self, name: Any, family: str | None) -> list[str]:
        return [kind for kind, owner in self.registries.get(family, {}).items() if name in _options(owner)]

    def _step_with(self, name: Any) -> str | None:
        """The first step of a recipe that has such an option, training first, for that is what version 1 had."""
        return next((step for step in ("train", "filter", "repair") if name == "kind" or self._kinds_with(name, step)), None)

    def _missing(self, error: ValidationError, path: list) -> str | None:
        key, name = ".".join(map(str, path)) or "config", re.match("'(.*)' is a", error.message)
        if _family(path) == "recipe":
            return f"{key}: a recipe needs the step `train`; its steps are {', '.join(STEPS)}"
        if name and name[1] == "kind" and _family(path) in self.registries:
            return f"{key}: 'kind' is a required property; kinds are {', '.join(self.registries[_family(path)])}"
        if name and name[1] == "scored_by":
            return f"{key}: say by which training the pairs are scored, as in scored_by: {{ kind: clip }}"
        return f"{key}: {error.message}"

    def _illegal_text(self, error: ValidationError, path: list) -> str:
        key, pattern = ".".join(map(str, path)) or "config", error.schema["pattern"]
        if pattern == whole(PATH) and _is_for_a_shell(error.instance):
            return f"{key}: {error.instance!r} is not legal here (neither ~ nor $NAME is filled in); write the whole path"
        why = (
            "a path may not begin with -, nor hold braces or line breaks"
            if pattern == whole(PATH)
            else error.schema.get("description", f"expected {pattern}")
        )
        return f"{key}: {error.instance!r} is not legal here ({why})"

    def _other_family(self, error: ValidationError, path: list) -> str | None:
        """For a kind that is one of something else."""
        here = _family(path[:-1])
        if path[-1] != "kind" or here not in NOUNS or not isinstance(error.instance, str):
            return None
        key, legal = ".".join(map(str, path)), ", ".join(self.registries[here])
        for family, registry in self.registries.items():
            if family != here and error.instance in registry:
                return f"{key}: kind '{error.instance}' is {NOUNS[family]}, not {NOUNS[here]}; kinds here are {legal}"
        return None

    def _of_other_type(self, error: ValidationError, path: list) -> str | None:
        """For what YAML reads as something else than was meant."""
        key, found = ".".join(map(str, path)), error.instance
        if found is None:
            return f"{key}: is empty; take the line out, or give it a value"
        if error.validator_value == "string" and isinstance(found, (bool, int, float, date)):
            return f"{key}: YAML reads {str(found)[:100]!r} as a {type(found).__name__}; put it in quotation marks"
        return self._text_for_number(error, path)

    def _text_for_number(self, error: ValidationError, path: list) -> str | None:
        """For a number that YAML reads as a text: its own have a point and a signed exponent."""
        number = isinstance(error.instance, str) and re.fullmatch(r"([+-]?\d+)(\.\d*)?[eE]([+-]?)(\d+)", error.instance)
        if not number:
            return None
        value = float(error.instance)
        key = ".".join(map(str, path))
        if value == 0 and re.search("[1-9]", re.split("[eE]", error.instance)[0]):
            return f"{key}: '{error.instance}' is too small for a number, and would be 0; write a larger one"
        if error.validator_value == "integer":
            mended = str(int(value)) if value.is_integer() and abs(value) < 1e15 else None
        else:
            mended = f"{number[1]}{number[2] or '.0'}e{number[3] or '+'}{number[4]}" if math.isfinite(value) else None
        if mended is None:
            return None
        return f"{key}: '{error.instance}' is a text to YAML; write {mended}"


def check_schema(config: Mapping[str, Any], schema: Mapping[str, Any], attacks: Mapping[str, type]) -> None:
    """Raises UserError that names the key and what is legal for the first entry that the schema refuses."""

    def rank(error: ValidationError) -> tuple[int, bool, str]:  # an unknown key says more than one that is missing for it
        return len(error.absolute_path), error.validator != "additionalProperties", str(error.absolute_path)

    for error in sorted(Validator(schema).iter_errors(config), key=rank):
        raise UserError(_Messages(attacks).of(error))
