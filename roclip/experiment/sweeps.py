"""From a complete config to its plan: runs, and the variants that sweeps ask for."""

import copy
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from roclip.core.errors import UserError
from roclip.core.provenance import fingerprint
from roclip.defences.detectors import DETECTORS
from roclip.defences.filters import FILTERS
from roclip.experiment.plan import VARIANT, Plan, Point
from roclip.experiment.steps import Steps, equal, same

LONGEST = 200  # of a file system's 255 bytes a name
MOST = 10_000  # runs of attacks x defences, and of a sweep
ALL = 20_000  # runs of an experiment, of which Snakemake plans some 50 a second

Way = tuple[str, ...]  # keys that lead to a setting: ("attack", "poisons"), ("train", "pool_size")


def _ways(settings: Mapping[str, Any], above: Way = ()) -> Iterator[Way]:
    """The ways to all settings but `kind`."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _ways(value, (*above, key))
        elif key != "kind":
            yield (*above, key)


def _at(settings: Mapping[str, Any], way: Way) -> Any:
    for key in way:
        settings = settings[key]
    return settings


def _changed(settings: Mapping[str, Any], changes: Mapping[Way, Any]) -> dict[str, Any]:
    """A copy with other values."""
    new = copy.deepcopy(dict(settings))
    for way, value in changes.items():
        _at(new, way[:-1])[way[-1]] = value
    return new


def _grid(axes: Mapping[str, Sequence[Any]], where: str) -> Iterable[dict[str, Any]]:
    """The changes of every point of a grid."""
    for values in product(*axes.values()):
        point: dict[str, Any] = {}
        for axis, value in zip(axes, values, strict=True):
            changes = value if isinstance(value, Mapping) else {axis: value}
            if twice := sorted(map(str, point.keys() & changes.keys())):
                raise UserError(f"{where}.axes: two of them set '{twice[0]}'; take it out of one")
            point |= changes
        yield point


class _Planner:
    """The attacks and defences of a config, to which sweeps add variants."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self.attack = {name: dict(settings) for name, settings in config["attack"].items()}
        self.defence = {name: dict(recipe) for name, recipe in config["defence"].items()}
        self.steps = Steps(dict(self.defence), self._selected(), config["attack"])
        self.attacks = {fingerprint(same(settings)): name for name, settings in reversed(self.attack.items())}

    def _selected(self) -> list[str]:
        """The defences that are run, but for variants."""
        lists = [self.config["defences"], *(sweep["defences"] for sweep in self.config["sweeps"].values())]
        return list(dict.fromkeys(name for names in lists for name in names if name in self.defence))

    def pairs(self, where: str, names: Mapping[str, Any]) -> list[tuple[str, str]]:
        """The attacks x defences of the experiment or of a sweep. Raises UserError for a name that is not defined."""
        for key, section in (("attacks", "attack"), ("defences", "defence")):
            for name in names[key]:
                if name not in self.config[section]:
                    legal = ", ".join(self.config[section])
                    raise UserError(f"{where}{key}: '{name}' is not defined under '{section}'; defined are {legal}")
        return list(product(names["attacks"], names["defences"]))

    def ways_of(self, key: str, attack: str, defence: str) -> Way | None:
        """The way to the setting that a key of an axis means, from the attack and the recipe; None where neither has it."""
        found = [way for way in _ways({"attack": self.attack[attack], **self.defence[defence]}) if _means(key, way)]
        exact = [way for way in found if ".".join(way) == key]
        if len(found) > 1 and not exact:
            raise UserError(f"'{key}' may be any of {', '.join(map('.'.join, found))}; write which")
        return next(iter(exact or found), None)

    def run_of(self, attack: str, defence: str, changes: Mapping[str, Any]) -> tuple[str, str]:
        """The names under which an attack and a defence are run with some changes."""
        ways = {key: self.ways_of(key, attack, defence) for key in changes}
        for way in filter(None, ways.values()):
            if len(names := [key for key in ways if ways[key] == way]) > 1:
                raise UserError(f"'{names[0]}' and '{names[1]}' are one setting, {'.'.join(way)}; take it out of one")
        attacks = {key: way[1:] for key, way in ways.items() if way and way[0] == "attack"}
        steps = {key: way for key, way in ways.items() if way and way[0] != "attack"}
        return (
            self._attack_variant(attack, {key: (way, changes[key]) for key, way in attacks.items()}),
            self._defence_variant(defence, {key: (way, changes[key]) for key, way in steps.items()}),
        )

    def _attack_variant(self, name: str, changes: Mapping[str, tuple[Way, Any]]) -> str:
        changed = _differing(self.attack[name], changes)
        if not changed:
            return name
        settings = _changed(self.attack[name], dict(changed.values()))
        identity = fingerprint(same(settings))
        if identity not in self.attacks:
            self.attacks[identity] = _define(self.attack, name, changed, settings)
        return self.attacks[identity]

    def _defence_variant(self, name: str, changes: Mapping[str, tuple[Way, Any]]) -> str:
        changed = _differing(self.defence[name], changes)
        if not changed:
            return name
        recipe = _changed(self.defence[name], dict(changed.values()))
        end = self.steps.end(recipe, name)
        if end not in self.steps.ends:
            self.steps.add(_define(self.defence, name, changed, recipe), recipe)
        return self.steps.ends[end]


def _means(key: str, way: Way) -> bool:
    return f".{'.'.join(way)}".endswith(f".{key}")


def _differing(settings: Mapping[str, Any], changes: Mapping[str, tuple[Way, Any]]) -> dict[str, tuple[Way, Any]]:
    """The changes that change something."""
    return {key: (way, value) for key, (way, value) in changes.items() if not equal(_at(settings, way), value)}


def _define(defined: dict[str, Any], name: str, changed: Mapping[str, tuple[Way, Any]], settings: dict[str, Any]) -> str:
    """Define a variant; its name."""
    variant = "~".join([name, *(f"{key}~{str(value).lower()}" for key, (_, value) in changed.items())])
    if not re.fullmatch(VARIANT, variant) or len(variant) > LONGEST:
        raise UserError(
            f"'{variant}' is to be the name of a folder: it may hold small letters, digits and _.~-, at most {LONGEST} in all"
        )
    if variant in defined:
        raise UserError(f"'{variant}' is the name of other settings already")
    defined[variant] = settings
    return variant


def _points(planner: _Planner, where: str, sweep: Mapping[str, Any]) -> Iterator[Point]:
    """The points of a sweep. Raises UserError for a setting that nobody has, and for too many."""
    pairs, axes = planner.pairs(f"{where}.", sweep), sweep.get("axes", {})
    seeds = sweep.get("seeds", planner.config["seeds"])
    if (count := len(pairs) * len(seeds) * math.prod(map(len, axes.values()))) > MOST:
        raise UserError(f"{where}.axes: {count} runs; at most {MOST} are made. Take values out, or make several sweeps of them")
    grid = list(_grid(axes, where))
    try:
        for key in dict.fromkeys(key for changes in grid for key in changes):
            if not any(planner.ways_of(str(key), *pair) for pair in pairs):
                attack, defence = pairs[0]
                raise UserError(f"neither attack '{attack}' nor defence '{defence}' has '{key}'")
        for pair, changes in product(pairs, grid):
            yield Point(changes, *pair, *planner.run_of(*pair, changes))
    except UserError as error:
        raise UserError(f"{where}.axes: {error}") from None


def _detectors(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the detectors that are chosen. Raises UserError for a name that is neither defined nor a kind."""
    defined = config["detector"]
    for name in config["detectors"]:
        if name not in defined:
            why = (
                "a filter that needs no model, so no detector"
                if name in FILTERS
                else "neither defined under 'detector' nor a kind"
            )
            raise UserError(f"detectors: '{name}' is {why}; there are {', '.join(dict.fromkeys([*DETECTORS, *defined]))}")
    return {name: defined[name] for name in config["detectors"]}


def plan(config: Mapping[str, Any], attacks: Mapping[str, type], image_size: int, sets: Sequence[str] = ()) -> Plan:
    """The plan of a complete config. Raises UserError for an unknown name or a setting that nobody has.

    attacks: the registry; image_size: side of the model's images; sets: the downstream sets that are there.
    """
    planner = _Planner(config)
    pairs = planner.pairs("", config)
    if (count := len(pairs) * len(config["seeds"])) > MOST:
        raise UserError(f"seeds: {count} runs of attacks x defences; at most {MOST} are made. Take some out")
    runs = dict.fromkeys((*pair, seed) for seed in config["seeds"] for pair in pairs)
    sweeps: dict[str, list[Point]] = {}
    for name, sweep in config["sweeps"].items():
        sweeps[name] = list(_points(planner, f"sweeps.{name}", sweep))
        seeds = sweep.get("seeds", config["seeds"])
        runs |= dict.fromkeys((point.attack, point.defence, seed) for point in sweeps[name] for seed in seeds)
        if len(runs) > ALL:
            raise UserError(f"sweeps.{name}: more than {ALL} runs with those before it; make an experiment of its own for it")
    models, filters = planner.steps.named()
    for defence in dict.fromkeys(run[1] for run in runs):
        if defence not in models:
            other = planner.steps.ends[planner.steps.end(planner.defence[defence], defence)]
            raise UserError(f"defences: '{other}' and '{defence}' are equal in all steps; leave one of them out")
    return Plan(
        experiment=config["experiment"], baseline=config["baseline"],
        model=config["train"]["model"], image_size=image_size,
        attack=planner.attack, family={name: attacks[each["kind"]].family for name, each in planner.attack.items()},
        defence=planner.defence, models=models, filters=filters,
        runs=list(runs), sweeps=sweeps, sets=list(sets), controls=list(config["controls"]), detectors=_detectors(config),
        of_captions=[name for name, each in planner.attack.items() if attacks[each["kind"]].judged_on == "captions"],
        measures=list(config["measures"]),
    )  # fmt: skip
