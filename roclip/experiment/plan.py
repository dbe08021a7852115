"""The plan of an experiment: which attacks and methods are run together, the variants that sweeps make of them included.

A sweep is a table of runs, the product of its attacks, methods, axes and seeds, which are the experiment's where it names none.
An axis is a setting with the values that it takes; a value that is a mapping changes several settings together. A variant is
named after what differs from its base, such as `roclip~pool_size~400`; one whose settings already have a name goes by that
name, so no run is made twice.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from roclip.core.errors import UserError

VARIANT = r"[a-z0-9_.~-]+"
LONGEST = 200  # of a file system's 255 bytes a name


@dataclass(frozen=True)
class Point:
    """A run of a sweep: what it changes, of which attack and method, and under which names it is run."""

    changes: dict[str, Any]
    base_attack: str
    base_method: str
    attack: str
    method: str

    def setting(self) -> str:
        """What it changes, readable: `augment_images true, augment_captions never`."""
        return ", ".join(f"{key} {'all' if value is None else str(value).lower()}" for key, value in self.changes.items())


@dataclass(frozen=True)
class Plan:
    """Settings of every attack and method by name; the runs (attack, method, seed), each once; the sweeps' points."""

    attack: dict[str, dict[str, Any]]
    method: dict[str, dict[str, Any]]
    runs: list[tuple[str, str, int]]
    sweeps: dict[str, list[Point]]

    def attacks(self, seed: int | None = None) -> list[str]:
        """The attacks that are run, with any seed or with this one."""
        return list(dict.fromkeys(attack for attack, _, its in self.runs if seed in (None, its)))

    def methods(self) -> list[str]:
        return list(dict.fromkeys(method for _, method, _ in self.runs))

    def seeds(self) -> list[int]:
        return sorted({seed for _, _, seed in self.runs})

    def attack_folders(self) -> list[str]:
        """`ATTACK/seedN` of every attack and seed."""
        return list(dict.fromkeys(f"{attack}/seed{seed}" for attack, _, seed in self.runs))

    def model_folders(self) -> list[str]:
        """`ATTACK/METHOD/seedN` of every run."""
        return [f"{attack}/{method}/seed{seed}" for attack, method, seed in self.runs]

    def points(self) -> list[str]:
        """The points of all sweeps as words for a flag: `sweep|setting|base attack|base method|attack|method`."""
        return [
            "|".join([name, point.setting(), point.base_attack, point.base_method, point.attack, point.method])
            for name, points in self.sweeps.items()
            for point in points
        ]


def base(name: str) -> str:
    """The attack or method that a variant was made of; of any other its own name."""
    return name.partition("~")[0]


def settings_of(setting: str) -> dict[str, str]:
    """The keys and values of a point's readable setting."""
    return dict(part.split(" ", 1) for part in setting.split(", ") if part)


def _variant(defined: dict[str, dict[str, Any]], name: str, changes: Mapping[str, Any]) -> str:
    """The name of what `changes` make of an attack or method; it is defined when it is not yet."""
    changed = {key: value for key, value in changes.items() if key in defined[name] and defined[name][key] != value}
    if not changed:
        return name
    settings = defined[name] | changed
    for known, others in defined.items():
        if settings == others:
            return known
    variant = "~".join([name, *(f"{key}~{str(value).lower()}" for key, value in changed.items())])
    if not re.fullmatch(VARIANT, variant) or len(variant) > LONGEST:
        raise UserError(
            f"'{variant}' is to be the name of a folder: it may hold small letters, digits and _.~-, at most {LONGEST} in all"
        )
    if variant in defined:
        raise UserError(f"'{variant}' is the name of other settings already")
    defined[variant] = settings
    return variant


def _points(axes: Mapping[str, Iterable[Any]]) -> Iterable[dict[str, Any]]:
    """The settings of every point of a grid."""
    for values in product(*axes.values()):
        point: dict[str, Any] = {}
        for axis, value in zip(axes, values, strict=True):
            point |= value if isinstance(value, Mapping) else {axis: value}
        yield point


def plan(config: Mapping[str, Any]) -> Plan:
    """The plan of a config that the schema has accepted. Raises UserError for an unknown name or a setting nobody has."""
    attack = {name: dict(settings) for name, settings in config["attack"].items()}
    # a method may name its own epochs, so the sweeps compare with what it would be trained for
    method = {name: {"epochs": config["train"]["epochs"], **settings} for name, settings in config["method"].items()}
    pairs = _product(config, "attacks", "methods", config["attacks"], config["methods"])
    runs = dict.fromkeys((*pair, seed) for seed in config["seeds"] for pair in pairs)
    sweeps: dict[str, list[Point]] = {}
    for name, sweep in config["sweeps"].items():
        where = f"sweeps.{name}"
        pairs = _product(config, f"{where}.attacks", f"{where}.methods", sweep["attacks"], sweep["methods"])
        sweeps[name] = []
        for (base_attack, base_method), changes in product(pairs, list(_points(sweep.get("axes", {})))):
            for key in changes:
                if key not in attack[base_attack] and key not in method[base_method]:
                    raise UserError(f"{where}.axes: neither attack '{base_attack}' nor method '{base_method}' has '{key}'")
            try:
                run = _variant(attack, base_attack, changes), _variant(method, base_method, changes)
            except UserError as error:
                raise UserError(f"{where}.axes: {error}") from None
            sweeps[name].append(Point(changes, base_attack, base_method, *run))
            runs |= dict.fromkeys((*run, seed) for seed in sweep.get("seeds", config["seeds"]))
    return Plan(attack, method, list(runs), sweeps)


def _product(config: Mapping[str, Any], attacks_key: str, methods_key: str, attacks, methods) -> list[tuple[str, str]]:
    for key, kind, names in ((attacks_key, "attack", attacks), (methods_key, "method", methods)):
        for name in names:
            if name not in config[kind]:
                raise UserError(f"{key}: '{name}' is not defined under '{kind}'; defined are {', '.join(config[kind])}")
    return list(product(attacks, methods))
