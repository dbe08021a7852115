"""The top level of the config: which attacks meet which defences, with which seeds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from roclip.core.options import SEEDS, option
from roclip.evaluation import OPTIONAL

NAME = r"[a-z0-9][a-z0-9_]{0,59}"  # of an attack, a defence or a sweep
_CHOICE = {"type": "object", "additionalProperties": {"$ref": "#/$defs/axis"}}
_SWEEP = {
    "type": "object",
    "additionalProperties": False,
    "required": ["attacks", "defences"],
    "properties": {
        "attacks": {"$ref": "#/properties/attacks"},
        "defences": {"$ref": "#/properties/defences"},
        "seeds": {"$ref": "#/properties/seeds"},
        "axes": {**_CHOICE, "description": "settings of the attacks or defences, each with a list of values"},
    },
}


@dataclass(frozen=True, kw_only=True)
class ExperimentSettings:
    experiment: str = option(
        "name of the folder under results/: small letters, digits, _ and -, at most 60", pattern=r"[a-z0-9][a-z0-9_-]{0,59}"
    )
    attacks: tuple[str, ...] = option("attacks to run, by their names under `attack`", fewest=1, pattern=NAME)
    defences: tuple[str, ...] = option("defences to run, by their names under `defence`", fewest=1, pattern=NAME)
    baseline: str = option(
        "the defence that the others are compared with, one of `defences`; where `clip` is none of them, nothing is claimed of "
        "differences",
        "clip",
        pattern=NAME,
    )
    controls: tuple[str, ...] = option(
        "defences that only train less, or without what the others add, by their names under `defence`: the report says that a "
        "defence defends only where it is attacked less than every control of no lower accuracy. Those that are not in "
        "`defences` are not run",
        (),
        pattern=NAME,
    )
    detectors: tuple[str, ...] = option(
        "detectors whose scores are compared with the truth on the features of every model that was trained on an attack, by "
        "their names under `detector` or, with the defaults, by their kinds: filters that need a model",
        (),
        pattern=NAME,
    )
    seeds: tuple[int, ...] = option(
        "seeds: each is another attack, initialisation and order of the pairs", (10,), fewest=1, **SEEDS
    )
    measures: tuple[str, ...] = option(
        "measures that take time of their own, beside those that every model has. retrieval: recall at 1, 5 and 10 from images "
        "to captions and back, on the split validation, of all models that are no variants",
        (),
        choices=OPTIONAL,
    )
    sweeps: Mapping[str, Any] | None = option(
        "tables of runs beside attacks x defences, by name: { attacks: [...], defences: [...], seeds: [...], axes: "
        "{ pool_size: [200, 400] } }. An axis is a setting of the attack or of the one step that has it; `train.epochs`, "
        "`repair.epochs` or `filter.keep` say of which. A value that is a mapping changes several settings together. null: "
        "none, as in `--config sweeps=null`, which leaves out those of a config file",
        {},
        schema={"type": ["object", "null"], "propertyNames": {"$ref": "#/$defs/name"}, "additionalProperties": _SWEEP},
    )
