"""The schema is made of the dataclasses: it is a schema, says what everything means, and accepts what the flags accept."""

import dataclasses
import shlex
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from attacks import ATTACKS
from roclip.core.errors import UserError
from roclip.core.options import flag_fields, flags, kind_and_item, option, parse, same_option
from roclip.defences.filters.base import Filter
from roclip.experiment.schema import SECTIONS, STEPS, config_schema, hints_of, option_schema, own_settings
from roclip.experiment.settings import ExperimentSettings
from roclip.experiment.validation import Validator
from roclip.training.settings import per_step

SCHEMA = config_schema(ATTACKS)
OWNERS = {
    "experiment": ExperimentSettings,
    **SECTIONS,
    **{f"attack {kind}": owner.Settings for kind, owner in ATTACKS.items()},
    **{f"{step} {kind}": owner.Settings for step, registry in STEPS.items() for kind, owner in registry.items()},
}
OPTIONS = {
    f"{owner}: {field.name}": (settings, field, hint)
    for owner, settings in OWNERS.items()
    for field, hint in hints_of(settings)
    if field in [flag[0] for flag in flag_fields(settings)]
}


def test_it_is_a_schema():
    Draft202012Validator.check_schema(SCHEMA)


def test_every_property_has_a_description():
    def walk(node, name):
        if isinstance(node, dict):
            for key, value in node.get("properties", {}).items():
                assert value == {} or {"description", "const", "$ref"} & set(value) or "properties" in value, f"{name}.{key}"
                walk(value, f"{name}.{key}")
            for key, value in node.items():
                if key != "properties":
                    walk(value, name)
        elif isinstance(node, list):
            for value in node:
                walk(value, name)

    walk(SCHEMA, "config")


def test_every_kind_has_a_branch_with_its_options():
    places = {"attack": (SCHEMA["properties"]["attack"]["additionalProperties"], ATTACKS)}
    places |= {step: (SCHEMA["$defs"][step], registry) for step, registry in STEPS.items()}
    for step, (place, registry) in places.items():
        assert place["properties"]["kind"]["enum"] == list(registry)
        for kind, branch in zip(registry, place["allOf"], strict=True):
            assert branch["if"]["properties"]["kind"]["const"] == kind
            own = {field.name for field in dataclasses.fields(registry[kind].Settings)}
            more = per_step(registry[kind]) if step == "train" else ()
            assert set(branch["then"]["properties"]) == {"kind", *own, *more}


def test_what_a_step_may_set_for_itself_is_bound_as_in_the_section():
    (training, other) = (next(k for k in STEPS["train"].values() if k.trains is flag) for flag in (True, False))
    assert own_settings(other).keys() == {"model", "pixels"}
    assert own_settings(training).keys() == {"model", "pixels", "epochs", "learning_rate", "warmup_steps"}
    for name, rules in own_settings(training).items():
        assert (
            rules | {"default": SCHEMA["properties"]["train"]["properties"][name]["default"]}
            == (SCHEMA["properties"]["train"]["properties"][name])
        )


def is_accepted(settings: type, name: str, hint, value) -> bool:
    """Whether a stage with this option takes the value as a flag."""
    one = dataclasses.make_dataclass("One", [(name, hint, same_option(settings, name))], kw_only=True)
    try:
        parse(one, shlex.split(flags({name: value})))
    except SystemExit:
        return False
    return True


NUMBERS = st.integers(-3, 3) | st.floats() | st.sampled_from([8, 0.1, 0.99, 1e-300, 2**32 - 1, 2**32])
SIMPLE = {int: NUMBERS, float: NUMBERS, bool: st.booleans() | st.just("yes"), str: st.none()}


@pytest.mark.parametrize("option", OPTIONS)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_the_schema_accepts_what_the_flags_accept(option, data):
    """Of numbers, truth values and legal words; what is no number at all, both refuse."""
    owner, field, hint = OPTIONS[option]
    kind, number = kind_and_item(hint)
    choices = field.metadata["choices"]
    values = st.sampled_from([*choices, "stripes"]) if choices else SIMPLE.get(kind, st.none())
    value = data.draw(st.lists(values, max_size=3, unique=True) if number == "many" else values)
    if value is None or (isinstance(value, list) and None in value):  # words and paths have patterns in the config alone
        return
    items = value if isinstance(value, list) else [value]
    if kind is int and any(isinstance(item, float) for item in items):
        assert not is_accepted(owner, field.name, hint, value)
    if kind is float and any(type(item) is int and abs(item) > 2**53 for item in items):
        return  # more digits than a float has
    accepted = Validator(option_schema(field, hint)).is_valid(value)
    assert accepted == is_accepted(owner, field.name, hint, value), value


@pytest.mark.parametrize("option", OPTIONS)
def test_every_default_is_legal(option):
    _, field, hint = OPTIONS[option]
    rules = option_schema(field, hint)
    if "default" in rules:
        Validator(rules).validate(rules["default"])


class Bare(Filter):
    pass


class Undecorated(Filter):
    """Whose settings are no dataclass."""

    class Settings(Filter.Settings):
        size: int = option("a size", 3)


class Plain(Filter):
    """Of which a setting has a default alone."""

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Settings(Filter.Settings):
        size: int = 3


class Mapped(Filter):
    """Of which a setting is of a type that no flag can have."""

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Settings(Filter.Settings):
        sizes: dict[str, float] = option("sizes", None)


class Shadowing(Filter):
    """Whose telemetry is called like what every training has."""

    telemetry_columns: ClassVar = {"spread": "of the features", "loss": "of the batch"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Bare, ": has no docstring; write one, its first line is shown beside the name"),
        (Undecorated, ".Settings: is no dataclass; write @dataclass(frozen=True, kw_only=True) above it"),
        (Plain, ".Settings.size: write it as in `size: int = option('what it means', 3)`"),
        (Shadowing, ".telemetry_columns: every training has a column 'loss' already; call it otherwise"),
        (Mapped, ".Settings.sizes: dict[str, float] is no type of an option; int, float, bool, str, Path are"),
    ],
)
def test_an_entry_that_lacks_what_the_config_is_made_of_is_one_line(monkeypatch, entry, message):
    monkeypatch.setitem(STEPS["filter"], "own", entry)
    with pytest.raises(UserError) as caught:
        config_schema(ATTACKS)
    assert str(caught.value) == f"tests.experiment.test_schema.{entry.__name__}{message}"


def test_an_attack_without_a_family_is_one_line():
    class Own(ATTACKS["patch"]):
        """An attack of somebody's own."""

        family = "physical"

    with pytest.raises(UserError, match=r"Own: `family` must be one of clean, targeted, backdoor$"):
        config_schema({**ATTACKS, "own": Own})
